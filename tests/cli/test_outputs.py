"""Output files and folders, checked before the work starts."""

from pathlib import Path

import click
import pytest

from distilpose.cli.outputs import OUT_FILE, OUT_FOLDER, refuse_replacing


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("kept")
    return path


def test_a_file_to_write_is_tried_and_left_as_it_was(tmp_path: Path, file: Path) -> None:
    for path in (file, tmp_path / "new"):
        assert OUT_FILE.convert(path, None, None) == path
    assert OUT_FILE.convert("/dev/null", None, None) == Path("/dev/null")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "kept"


@pytest.mark.parametrize("name", ["nope/x", "file/x", "/proc/x.json", ""])
def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path, file: Path, name: str) -> None:
    with pytest.raises(click.BadParameter, match=r"folder|cannot be written to|directory"):
        OUT_FILE.convert(tmp_path / name, None, None)


def test_a_folder_to_write_into_is_there_or_can_be_made(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "new" / "newer"):
        assert OUT_FOLDER.convert(path, None, None) == path
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["file", "file/x/y", "/proc/new/x"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, file: Path, name: str) -> None:
    with pytest.raises(click.BadParameter, match=r"folder|cannot be written to|is a file"):
        OUT_FOLDER.convert(tmp_path / name, None, None)


def test_an_output_may_be_a_new_file_in_an_input_folder(tmp_path: Path) -> None:
    refuse_replacing({"--a": tmp_path / "new", "--b": None}, [tmp_path, None])


def test_an_output_that_is_an_input_is_a_usage_error(file: Path) -> None:
    with pytest.raises(click.UsageError, match=f"--out {file}: would replace what is read"):
        refuse_replacing({"--out": file}, [file])
