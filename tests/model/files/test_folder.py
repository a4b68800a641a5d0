"""Folders whose files one run writes all together."""

from pathlib import Path

import pytest

from distilpose.model.files.folder import OutputFolder
from distilpose.model.files.manifest import NAME
from distilpose.model.files.outputs import OutputRefused


def folder_at(path: Path, *besides: Path) -> OutputFolder:
    return OutputFolder(path, "--pictures", "test --pictures", besides=besides)


def write(path: Path, *names: str) -> None:
    with folder_at(path).writing() as unfinished:
        for name in names:
            (unfinished / name).write_text(name)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_files_of_an_earlier_run_are_replaced(tmp_path: Path) -> None:
    write(tmp_path / "new", "a.png", "b.png")
    write(tmp_path / "new", "b.png", "c.png")
    assert names_in(tmp_path / "new") == {NAME, "b.png", "c.png"}


@pytest.mark.parametrize("changes_ours", [False, True])
def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(
    tmp_path: Path, changes_ours: bool
) -> None:
    write(tmp_path, "a.png")
    (tmp_path / ("a.png" if changes_ours else "mine.png")).write_text("mine")
    with pytest.raises(OutputRefused, match=f"--pictures {tmp_path}: is not empty"):
        folder_at(tmp_path)


def test_what_else_is_written_there_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("mine")
    folder_at(tmp_path, tmp_path / "report.json")


def test_after_an_error_the_files_of_the_earlier_run_are_there(tmp_path: Path) -> None:
    write(tmp_path, "a.png")

    def fail() -> None:
        with folder_at(tmp_path).writing() as unfinished:
            (unfinished / "b.png").write_text("half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert names_in(tmp_path) == {NAME, "a.png"}


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    with folder_at(tmp_path).writing() as unfinished:
        (unfinished / "a.png").write_text("ours")
        (tmp_path / "a.png").write_text("mine")
    assert (tmp_path / "a.png").read_text() == "mine"
    assert (tmp_path / "a-2.png").read_text() == "ours"
