"""Files that are replaced as a whole, never in place of what is read, and leave no litter."""

from pathlib import Path

import pytest

from distilpose.model.files import (
    identity,
    replacing,
    trouble_of_file,
    trouble_of_folder,
)


def test_a_reader_finds_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    with replacing(path) as unfinished:
        unfinished.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert unfinished.suffix == ".bin"
    assert path.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["weights.bin"]


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path) as unfinished:
            unfinished.write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["weights.bin"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("kept")
    return path


def test_a_file_to_write_is_tried_and_left_as_it_was(tmp_path: Path, file: Path) -> None:
    for path in (file, tmp_path / "new", Path("/dev/null")):
        assert trouble_of_file(path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "kept"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nope/x", "nope is not a folder"),
        ("file/x", "file is not a folder"),
        ("/proc/x.json", "/proc cannot be written to"),
        ("", "is a folder"),
    ],
)
def test_a_file_that_cannot_be_written_has_a_reason(
    tmp_path: Path, file: Path, name: str, why: str
) -> None:
    assert why in str(trouble_of_file(tmp_path / name))


def test_a_folder_to_write_into_is_there_or_can_be_made(tmp_path: Path, file: Path) -> None:
    for path in (tmp_path, tmp_path / "new" / "newer"):
        assert trouble_of_folder(path) is None
    assert "file is not a folder" in str(trouble_of_folder(file / "x" / "y"))
    assert "/proc cannot be written to" in str(trouble_of_folder(Path("/proc/new/x")))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_two_paths_to_one_file_are_the_same(tmp_path: Path, file: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    (tmp_path / "same").hardlink_to(file)
    assert len({identity(tmp_path / name) for name in ("file", "link", "same")}) == 1
    assert identity(tmp_path / "new") == identity(tmp_path / "." / "new") != identity(file)
