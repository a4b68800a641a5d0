"""Files that are replaced as a whole, never in place of what is read, and leave no litter."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from distilpose.model.files import (
    identity,
    replaced_by,
    replacing,
    scratch_folder,
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


def test_new_files_replace_nothing_and_devices_may_be_named_twice(
    tmp_path: Path, file: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    outputs = {"--a": folder / "new", "--b": file, "--c": None}
    assert replaced_by(outputs, [folder, None]) is None
    devices = {"--a": Path("/dev/null"), "--b": Path("/dev/null")}
    assert replaced_by(devices, [Path("/dev/null")]) is None


def test_what_an_output_would_replace_is_named(tmp_path: Path, file: Path) -> None:
    assert replaced_by({"--out": file}, [file]) == (
        f"--out {file}: would replace what is read, {file}"
    )
    in_folder = replaced_by({"--out": file}, [tmp_path])
    assert in_folder == f"--out {file}: would replace what is read, {tmp_path}"
    new = tmp_path / "new"
    twice = replaced_by({"--json": new, "--sheet": new}, [])
    assert twice == f"--sheet {new}: is the file of --json too"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder, for this process and those that it starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("YOLO_CONFIG_DIR", raising=False)  # this process may have its own folder
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


_HOLDS_A_FOLDER = """
from distilpose.model.files import scratch_folder
with scratch_folder() as folder:
    (folder / "sub").mkdir()
    (folder / "sub" / "settings.json").write_text("{}")
    print(folder, flush=True)
    input()
"""


def _holder() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _HOLDS_A_FOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _folder_of(holder: "subprocess.Popen[str]") -> Path:
    assert holder.stdout
    return Path(holder.stdout.readline().strip())


def test_a_scratch_folder_is_gone_after_its_block(temporary: Path) -> None:
    with scratch_folder() as folder:
        (folder / "weights.pt").write_bytes(b"x")
        assert folder.parent == temporary
    assert not list(temporary.iterdir())


def test_the_next_process_removes_the_folder_of_a_killed_one(temporary: Path) -> None:
    with _holder() as killed, _holder() as living:
        folders = [_folder_of(killed), _folder_of(living)]
        killed.kill()
        killed.wait()
        assert all(folder.exists() for folder in folders)
        with scratch_folder() as mine:
            assert sorted(temporary.iterdir()) == sorted([folders[1], mine])
        assert (folders[1] / "sub" / "settings.json").exists()
        living.communicate("\n")
    assert not list(temporary.iterdir())


def test_only_folders_of_ours_are_removed(temporary: Path) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (temporary / "distilpose-ultralytics-link").symlink_to(elsewhere)
    (temporary / "distilpose-ultralytics-file").write_text("mine")
    with scratch_folder():
        pass
    assert elsewhere.exists()
    assert len(list(temporary.iterdir())) == 3


def test_a_killed_process_leaves_nothing_that_the_next_does_not_remove(temporary: Path) -> None:
    child = "from distilpose.model.networks.offline import import_ultralytics as i; i('nn.tasks')"
    die = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", f"{child}; {die}"], check=False)
    assert len(list(temporary.iterdir())) == 1
    subprocess.run([sys.executable, "-c", child], check=True)
    assert not list(temporary.iterdir())
