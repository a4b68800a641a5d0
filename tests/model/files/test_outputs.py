"""Files that a run writes: refused before the work, moved to their place at the end."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from distilpose.model.errors import DataError
from distilpose.model.files.manifest import NAME
from distilpose.model.files.outputs import (
    Output,
    OutputRefused,
    Outputs,
    distinct,
    numbered,
)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.mp4"
    path.write_text("mine")
    return path


def outputs(*paths: Path, reads: Sequence[Path] = (), overwrite: bool = False) -> Outputs:
    planned = [Output(path, "--out", "test --out") for path in paths]
    return Outputs(planned, reads, overwrite=overwrite)


def write(path: Path, text: str, *, overwrite: bool = False) -> None:
    with outputs(path, overwrite=overwrite).writing(path) as unfinished:
        unfinished.write_text(text)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "spelling", ["mine.mp4", "./x/../mine.mp4", "link", "hard", "x/up/mine.mp4"]
)
def test_what_is_read_is_never_replaced_by_whatever_name(
    tmp_path: Path, mine: Path, spelling: str, overwrite: bool
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "up").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(mine)
    (tmp_path / "hard").hardlink_to(mine)
    with pytest.raises(OutputRefused, match=f"--out .*would replace what is read, {mine}"):
        outputs(tmp_path / spelling, reads=[mine], overwrite=overwrite)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_in_a_folder_that_is_read_is_never_replaced(
    tmp_path: Path, mine: Path, overwrite: bool
) -> None:
    with pytest.raises(OutputRefused, match="would replace what is read"):
        outputs(mine, reads=[tmp_path], overwrite=overwrite)
    outputs(tmp_path / "new", reads=[tmp_path])


def test_somebodys_file_is_replaced_only_if_that_was_asked_for(tmp_path: Path, mine: Path) -> None:
    with pytest.raises(OutputRefused, match=f"--out {mine}: is there already.*--overwrite"):
        write(mine, "ours")
    assert mine.read_text() == "mine"
    write(mine, "ours", overwrite=True)
    assert mine.read_text() == "ours"


def test_what_an_earlier_run_wrote_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for text in ("first", "second"):
        write(path, text)
        assert path.read_text() == text
    outputs(path, reads=[tmp_path])
    assert names_in(tmp_path) == [NAME, "x.json"]


def test_what_an_earlier_run_wrote_and_somebody_changed_is_not(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write(path, "first")
    path.write_text("by hand")
    with pytest.raises(OutputRefused, match="is there already"):
        write(path, "second")


def test_another_commands_file_is_somebody_elses(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write(path, "first")
    with pytest.raises(OutputRefused, match="is there already"):
        Outputs([Output(path, "--json", "other --json")])


@pytest.mark.parametrize("second", ["x.json", "./x.json", "X.JSON"])
def test_two_outputs_are_two_files_on_every_file_system(tmp_path: Path, second: str) -> None:
    planned = [Output(tmp_path / "x.json", "--a", "a"), Output(tmp_path / second, "--b", "b")]
    with pytest.raises(OutputRefused, match=r"--b .*: is the file of --a too"):
        Outputs(planned)


def test_devices_may_be_named_twice_and_are_written_straight() -> None:
    null = Path("/dev/null")
    planned = [Output(null, name, name) for name in ("--a", "--b")]
    with Outputs(planned, [null]).writing(null) as path:
        assert path == null


def test_a_pipe_is_written_straight(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with outputs(pipe).writing(pipe) as path:
        assert path == pipe
    assert names_in(tmp_path) == ["pipe"]


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    target, link = tmp_path / "there" / "x.json", tmp_path / "link.json"
    target.parent.mkdir()
    link.symlink_to(target)
    for text in ("first", "second"):
        write(link, text)
        assert link.is_symlink()
        assert target.read_text() == text


def fail(error: BaseException, path: Path, *, keeps_part: bool = False, text: str = "part") -> None:
    with outputs(path).writing(path, keeps_part=keeps_part) as unfinished:
        unfinished.write_text(text)
        raise error


@pytest.mark.parametrize(
    "error", [DataError("x"), OSError(28, "No space left"), KeyboardInterrupt()]
)
def test_after_an_error_the_earlier_file_is_as_it_was(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "x.json"
    write(path, "whole")
    with pytest.raises(type(error)):
        fail(error, path)
    assert path.read_text() == "whole"
    assert names_in(tmp_path) == [NAME, "x.json"]


def test_a_part_that_is_whole_is_kept_after_an_interruption(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with pytest.raises(KeyboardInterrupt):
        fail(KeyboardInterrupt(), path, keeps_part=True)
    assert path.read_text() == "part"
    write(path, "whole")
    assert path.read_text() == "whole"


def test_a_part_that_could_not_be_written_or_is_nothing_is_not(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    for error in (OSError(28, "No space left"), DataError("cannot be written")):
        with pytest.raises(type(error)):
            fail(error, path, keeps_part=True)
    with pytest.raises(KeyboardInterrupt):
        fail(KeyboardInterrupt(), path, keeps_part=True, text="")
    assert names_in(tmp_path) == []


def test_nothing_that_was_written_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    write(path, "earlier")
    with outputs(path).writing(path):
        pass
    assert path.read_text() == "earlier"


def test_a_file_that_came_meanwhile_is_kept_and_so_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"

    def run() -> None:
        with outputs(path).writing(path) as unfinished:
            unfinished.write_text("ours")
            path.write_text("mine")
            (tmp_path / "x-2.mp4").write_text("mine too")

    with pytest.raises(OutputRefused, match=r"is kept; the result is .*x-3\.mp4"):
        run()
    assert path.read_text() == "mine"
    assert (tmp_path / "x-2.mp4").read_text() == "mine too"
    assert (tmp_path / "x-3.mp4").read_text() == "ours"


def test_of_two_runs_at_once_the_last_to_end_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    first, second = outputs(path), outputs(path)
    with first.writing(path) as one, second.writing(path) as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert path.read_text() == "one"
    assert names_in(tmp_path) == [NAME, "x.mp4"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from distilpose.model.files.outputs import Output, Outputs
path = Path(sys.argv[1])
with Outputs([Output(path, "--out", "test --out")]).writing(path) as unfinished:
    unfinished.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_run_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False, timeout=60)
    assert len(names_in(tmp_path)) == 1
    living = outputs(tmp_path / "y.mp4")
    with living.writing(tmp_path / "y.mp4") as unfinished:
        write(path, "whole")
        unfinished.write_text("whole too")
    assert names_in(tmp_path) == [NAME, "x.mp4", "y.mp4"]


def test_errors_name_the_file_that_the_user_knows(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with pytest.raises(DataError) as caught, outputs(path).writing(path) as unfinished:
        raise DataError(f"{unfinished}: cannot be written")
    assert str(caught.value) == f"{path}: cannot be written"
    with (
        pytest.raises(OSError, match=r"x\.mp4") as failed,
        outputs(path).writing(path) as unfinished,
    ):
        raise OSError(28, "No space left", str(unfinished))
    assert failed.value.filename == str(path)


def test_a_number_makes_no_name_too_long(tmp_path: Path) -> None:
    assert numbered(Path("a/p.jpg"), 2) == Path("a/p-2.jpg")
    for stem in ("x" * 251, "é" * 125):
        name = numbered(tmp_path / f"{stem}.jpg", 12)
        assert name.name.endswith("-12.jpg")
        name.write_text("")


@pytest.mark.parametrize(
    ("wanted", "first", "got"),
    [
        ("p.jpg p.jpg", (True, False), "p.jpg p-2.jpg"),
        ("p.jpg p.jpg", (False, True), "p-2.jpg p.jpg"),
        ("p.jpg p.jpg p-2.jpg", (True, False, True), "p.jpg p-3.jpg p-2.jpg"),
        ("p.jpg p.jpg p-2.jpg", (False, False, False), "p.jpg p-3.jpg p-2.jpg"),
        ("P.JPG p.jpg", (True, True), "P.JPG p-2.jpg"),
        ("e\u0301.jpg \u00e9.jpg", (True, True), "e\u0301.jpg \u00e9-2.jpg"),
        ("A/x.jpg a/x.jpg b/x.jpg", (True, True, True), "A/x.jpg a/x-2.jpg b/x.jpg"),
        ("x.jpg/y.jpg x.jpg", (True, True), "x.jpg/y.jpg x-2.jpg"),
        ("p p p", (True, True, True), "p p-2 p-3"),
    ],
)
def test_names_are_distinct_on_every_file_system(
    wanted: str, first: tuple[bool, ...], got: str
) -> None:
    paths = [Path(name) for name in wanted.split()]
    assert distinct(paths, first) == [Path(name) for name in got.split()]
