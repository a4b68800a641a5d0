"""Standard error that nothing waits for."""

import fcntl
import os
import re
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from distilpose.service.telemetry.outlet import Outlet, text_stream

SCRIPT_LIMIT_SECONDS = 60


class Pipe:
    """A pipe with room for one page, and the outlets that write to it."""

    def __init__(self) -> None:
        self._outlets: list[Outlet] = []
        self.reading, self.writing = os.pipe()
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, 4096)

    def outlet(self, **limits: int) -> Outlet:
        """A new outlet that writes to this pipe."""
        self._outlets.append(Outlet(self.writing, **limits))
        return self._outlets[-1]

    def read_lines(self, last: str) -> list[str]:
        """All lines up to this one."""
        text = b""
        while not text.endswith(f"{last}\n".encode()):
            text += os.read(self.reading, 65536)
        return text.decode().splitlines()

    def wait_until_full(self) -> None:
        """Return when the pipe has no room for another line."""
        limit = time.monotonic() + 10
        while (
            int.from_bytes(fcntl.ioctl(self.reading, termios.FIONREAD, bytes(4)), "little") < 4000
        ):
            assert time.monotonic() < limit
            time.sleep(0.01)

    def stop_reading(self) -> None:
        os.close(self.reading)
        self.reading = -1

    def close(self) -> None:
        """Close both ends once no outlet writes, for their numbers will be others' then."""
        if self.reading >= 0:
            self.stop_reading()
        for outlet in self._outlets:
            outlet.flush(10)
        os.close(self.writing)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def line(number: int) -> bytes:
    """A line of exactly 100 bytes."""
    return b"%099d\n" % number


def filled(outlet: Outlet, pipe: Pipe) -> None:
    """Fill the pipe, and let the outlet's thread wait for room with a line in its hand."""
    os.set_blocking(pipe.writing, False)
    try:
        while True:
            os.write(pipe.writing, line(0))
    except BlockingIOError:
        os.set_blocking(pipe.writing, True)
    outlet.put(line(1))


def test_lines_are_written_in_their_order(pipe: Pipe) -> None:
    outlet = pipe.outlet()
    for number in range(20):
        outlet.put(line(number))
    assert pipe.read_lines(f"{19:099d}") == [f"{number:099d}" for number in range(20)]
    assert outlet.dropped_lines == 0


def test_where_nobody_reads_nothing_waits_and_what_has_no_room_is_counted(pipe: Pipe) -> None:
    outlet = pipe.outlet(most_lines=10)
    filled(outlet, pipe)
    for number in range(2, 101):
        outlet.put(line(number))
    assert outlet.dropped_lines == 90


def test_bytes_are_limited_too(pipe: Pipe) -> None:
    outlet = pipe.outlet(most_bytes=1000)
    filled(outlet, pipe)
    for number in range(2, 13):
        outlet.put(line(number))
    assert outlet.dropped_lines == 2
    outlet.put(b"x" * 1001 + b"\n")
    assert outlet.dropped_lines == 3


def test_every_line_of_a_text_is_counted(pipe: Pipe) -> None:
    outlet = pipe.outlet(most_lines=3)
    filled(outlet, pipe)
    outlet.put(b"a\nb\nc\n")
    assert outlet.dropped_lines == 3


def test_a_gap_is_told_where_the_lines_are_missing(pipe: Pipe) -> None:
    outlet = pipe.outlet(most_lines=10)
    outlet.describe_gap = "{} are missing".format
    filled(outlet, pipe)
    for number in range(2, 31):
        outlet.put(line(number))
    read = pipe.read_lines("20 are missing")
    assert read[-11:-1] == [f"{number:099d}" for number in range(1, 11)]
    outlet.put(b"later\n")
    assert pipe.read_lines("later") == ["later"]


def test_lines_are_taken_again_when_half_is_written(pipe: Pipe) -> None:
    outlet = pipe.outlet(most_lines=100)
    outlet.describe_gap = "{} are missing".format
    filled(outlet, pipe)
    for number in range(2, 111):
        outlet.put(line(number))
    assert outlet.dropped_lines == 10
    os.read(pipe.reading, 4096)  # room for 40 lines: more than half are still queued
    pipe.wait_until_full()
    outlet.put(b"too early\n")
    assert outlet.dropped_lines == 11
    os.read(pipe.reading, 4096)
    pipe.wait_until_full()
    outlet.put(b"in time\n")
    read = pipe.read_lines("in time")
    assert read[-2:] == ["11 are missing", "in time"]
    assert outlet.dropped_lines == 11


def test_lines_for_a_reader_who_has_gone_are_counted(pipe: Pipe) -> None:
    outlet = pipe.outlet()
    pipe.stop_reading()
    for number in range(5):
        outlet.put(line(number))
    outlet.flush(10)
    assert outlet.dropped_lines == 5


def test_lines_that_a_full_disk_swallowed_are_told_when_there_is_room(
    tmp_path: Path, pipe: Pipe
) -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    outlet = Outlet(descriptor)
    outlet.describe_gap = "{} are missing".format
    outlet.put(line(0))
    outlet.put(line(1))
    outlet.flush(10)
    os.dup2(pipe.writing, descriptor)
    outlet.put(b"later\n")
    assert pipe.read_lines("later") == ["2 are missing", "later"]
    os.close(descriptor)


def test_a_descriptor_that_does_not_block_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe.writing, False)
    outlet = pipe.outlet()
    for number in range(200):
        outlet.put(line(number))
    assert len(pipe.read_lines(f"{199:099d}")) == 200
    assert outlet.dropped_lines == 0


def test_a_flush_waits_for_what_is_queued(pipe: Pipe) -> None:
    outlet = pipe.outlet()
    outlet.put(line(0))
    outlet.flush(10)
    os.set_blocking(pipe.reading, False)
    assert os.read(pipe.reading, 4096) == line(0)


def test_a_flush_gives_up_where_nobody_reads(pipe: Pipe) -> None:
    outlet = pipe.outlet()
    filled(outlet, pipe)
    began = time.monotonic()
    outlet.flush(0.1)
    assert 0.1 <= time.monotonic() - began < 5


def test_lines_of_many_threads_arrive_whole(pipe: Pipe) -> None:
    outlet = pipe.outlet()
    stream = text_stream(outlet, pipe.writing)

    def write(letter: str) -> None:
        for _ in range(50):
            stream.write(letter * 50 + "\n")

    writers = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stream.write("end\n")
    lines = pipe.read_lines("end")[:-1]
    assert len(lines) == 200
    assert all(re.fullmatch(r"(.)\1{49}", each) for each in lines)


def test_a_text_stream_knows_what_it_writes_to_and_writes_any_text(pipe: Pipe) -> None:
    stream = text_stream(pipe.outlet(), pipe.writing)
    assert stream.fileno() == pipe.writing
    assert not stream.isatty()
    stream.write("no newline yet, ")
    stream.write("\ud800\n")
    assert pipe.read_lines(r"\ud800") == [r"no newline yet, \ud800"]


PRELUDE = """
import atexit, logging, os, sys, warnings
from distilpose.service.telemetry import logs
from distilpose.service.telemetry.outlet import queue_standard_error
outlet = queue_standard_error()
logs.configure(outlet, level="info", log_format="json")
"""
FLOOD = """
for number in range(12_000):
    logging.getLogger("x").info("line %d", number)
"""


def ran(script: str, **options: int) -> int:
    """The exit code of a process that runs the script with this standard error and output."""
    process = subprocess.Popen([sys.executable, "-c", PRELUDE + script], **options)  # type: ignore[call-overload]
    try:
        code: int = process.wait(SCRIPT_LIMIT_SECONDS)
        return code
    finally:
        process.kill()
        process.wait()


NOISE = """
for _ in range(2000):
    print('a library prints ' * 10)
for number in range(2000):
    warnings.warn_explicit('a library warns ' * 10, UserWarning, 'file', number)
for _ in range(2000):
    try: os.write(2, b'a library in C writes ' * 10)
    except OSError: pass
raise SystemExit('the reason of the end')
"""


@pytest.mark.parametrize("reads", [True, False], ids=["full", "gone"])
def test_a_process_ends_whether_or_not_anybody_reads(pipe: Pipe, reads: bool) -> None:
    if not reads:
        pipe.stop_reading()
    assert ran(FLOOD + NOISE, stdout=pipe.writing, stderr=pipe.writing) == 1


def test_the_pipe_of_other_processes_still_blocks(pipe: Pipe) -> None:
    ran("", stdout=pipe.writing, stderr=pipe.writing)
    assert os.get_blocking(pipe.writing)


def test_what_stands_on_the_last_line_is_written_without_a_line_break(pipe: Pipe) -> None:
    assert ran("sys.stderr.write('almost')", stderr=pipe.writing) == 0
    assert os.read(pipe.reading, 4096) == b"almost"


def test_a_process_without_standard_error_runs() -> None:
    script = PRELUDE + "logging.getLogger('x').info('hello'); os._exit(7)"
    closing = f"import os, sys; os.close(1); os.close(2); os.execv(sys.executable, {[script]!r})"
    closing = closing.replace("[", "[sys.executable, '-c', ", 1)
    done = subprocess.run(
        [sys.executable, "-c", closing], timeout=SCRIPT_LIMIT_SECONDS, check=False
    )
    assert done.returncode == 7


def test_all_that_a_process_prints_keeps_its_order_up_to_the_error_that_ends_it() -> None:
    script = """
print('first')
logging.getLogger('x').warning('second')
warnings.warn_explicit('third', UserWarning, 'f', 1)
raise RuntimeError('fourth')
"""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script],
        capture_output=True,
        text=True,
        timeout=SCRIPT_LIMIT_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    words = re.findall("first|second|third|fourth", done.stderr.split("Traceback")[0])
    assert words == ["first", "second", "third"]
    assert done.stderr.endswith("RuntimeError: fourth\n")
