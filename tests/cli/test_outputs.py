"""Output files and folders, checked before the work starts."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from distilpose.cli.outputs import (
    OUT_FILE,
    OUT_FOLDER,
    OUT_LINES,
    STANDARD_OUTPUT,
    ended_by_signals,
    files_in,
    text,
    writing,
)
from distilpose.model.files.manifest import NAME


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("kept")
    return path


def test_a_file_to_write_is_tried_and_left_as_it_was(tmp_path: Path, file: Path) -> None:
    for path in (file, tmp_path / "new"):
        assert OUT_FILE.convert(path, None, None) == path
    assert OUT_FILE.convert("/dev/null", None, None) == Path("/dev/null")
    assert OUT_LINES.convert("-", None, None) == STANDARD_OUTPUT
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
    with writing({"--a": tmp_path / "new", "--b": None, "--c": STANDARD_OUTPUT}, [tmp_path, None]):
        pass


def test_an_output_that_is_an_input_is_a_usage_error(file: Path) -> None:
    with (
        pytest.raises(click.UsageError, match=f"--out {file}: would replace what is read, {file}"),
        writing({"--out": file}, [file], overwrite=True),
    ):
        pass


def test_text_is_written_beside_and_moved(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with writing({"--lines": path}) as outputs, text(outputs, path) as file:
        file.write("line\n")
        file.flush()
        assert not path.exists()
    assert path.read_text() == "line\n"


def test_text_to_an_open_descriptor_is_appended_where_the_shell_appends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    with log.open("a") as opened:
        path = Path(f"/dev/fd/{opened.fileno()}")
        with writing({"--lines": path}) as outputs, text(outputs, path) as file:
            file.write("line\n")
    assert log.read_text() == "before\nline\n"
    assert [each.name for each in tmp_path.iterdir()] == ["log"]


def test_text_to_a_pipe_arrives_as_it_is_written(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with writing({"--lines": pipe}) as outputs, text(outputs, pipe) as file:
            file.write("line\n")
            file.flush()
            assert os.read(reader, 100) == b"line\n"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Signals as a shell leaves them, whatever runs the tests: nohup ignores some."""
    usual: dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_with_its_files_finished(tmp_path: Path, number: int) -> None:
    path = tmp_path / "x.jsonl"

    def run() -> None:
        with writing({"--lines": path}) as outputs, text(outputs, path, keeps_part=True) as file:
            file.write("line\n")
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), signal.SIGINT)  # in vain: it is ending

    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 128 + number
    assert path.read_text() == "line\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == [NAME, "x.jsonl"]
    assert signal.getsignal(number) is before


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_files_of_an_address_are_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    for address in (str(file), "file", f"file:{file}", "file:file", f"concat:x|{file}|y"):
        found = files_in(address)
        assert found, address
        assert all(path.samefile(file) for path in found)
    assert files_in("rtsp://host:8554/file") == []
    assert files_in("0") == []
