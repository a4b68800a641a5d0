"""Scratch folders, which no process leaves for long."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from distilpose.model.files.scratch import scratch_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder, for this process and those that it starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("YOLO_CONFIG_DIR", raising=False)  # this process may have its own folder
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


_HOLDS_A_FOLDER = """
from distilpose.model.files.scratch import scratch_folder
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
