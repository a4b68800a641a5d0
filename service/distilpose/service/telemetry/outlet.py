"""Standard error that nothing waits for: a bounded queue, and a thread that writes from it.

A pipe that nobody reads stops whoever writes to it. Here only the thread of the queue stops; what
finds no room is dropped and counted.
"""

import atexit
import io
import os
import select
import stat
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MOST_LINES: Final = 10_000
MOST_BYTES: Final = 8 * 1024 * 1024

_STDOUT, _STDERR = 1, 2
_EXIT_SECONDS: Final = 1.0
"""The time in which the last lines may leave before the process ends without them."""


@dataclass(slots=True)
class _Gap:
    """The place in the queue where lines are missing."""

    lines: int = 0


class Outlet:
    """Queues lines for a file descriptor. No method but `flush` ever waits.

    A queue that was full takes lines again when it is half empty, so that a slow reader meets a few
    long gaps and not one after each line.
    """

    def __init__(
        self, descriptor: int, *, most_lines: int = MOST_LINES, most_bytes: int = MOST_BYTES
    ) -> None:
        self.dropped_lines = 0
        self.describe_gap: Callable[[int], str] = "{} log lines were dropped".format
        """Makes the line that stands where that number of lines is missing."""
        self._descriptor = descriptor
        self._most_lines, self._most_bytes = most_lines, most_bytes
        self._lines, self._bytes = 0, 0
        self._gap: _Gap | None = None
        # The garbage collector can log at any point of the methods below, on the same thread.
        self._lock = threading.RLock()
        self._entries: SimpleQueue[bytes | _Gap | threading.Event] = SimpleQueue()
        threading.Thread(target=self._write_out, daemon=True, name="log").start()

    def put(self, text: bytes) -> None:
        """Queue one or several whole lines, or drop them."""
        lines = _lines_in(text)
        with self._lock:
            if not self._has_room(lines, len(text)):
                self._drop(lines)
                return
            self._gap = None
            self._lines += lines
            self._bytes += len(text)
            self._entries.put(text)

    def flush(self, seconds: float) -> None:
        """Wait until all that is queued is written, or the time is over."""
        written = threading.Event()
        self._entries.put(written)
        written.wait(seconds)

    def _has_room(self, lines: int, size_bytes: int) -> bool:
        parts = 2 if self._gap else 1
        return (self._lines + lines) * parts <= self._most_lines and (
            self._bytes + size_bytes
        ) * parts <= self._most_bytes

    def _drop(self, lines: int) -> None:
        if not self._gap:
            self._gap = _Gap()
            self._entries.put(self._gap)
        self._gap.lines += lines
        self.dropped_lines += lines

    def _write_out(self) -> None:
        untold_lines = 0
        while True:
            entry = self._entries.get()
            if isinstance(entry, _Gap):
                untold_lines += self._end(entry)
            if untold_lines and self._write(f"{self.describe_gap(untold_lines)}\n".encode()):
                untold_lines = 0
            if isinstance(entry, bytes):
                untold_lines += self._write_entry(entry)
            elif isinstance(entry, threading.Event):
                entry.set()

    def _end(self, gap: _Gap) -> int:
        """The lines of a gap, which grows no further."""
        with self._lock:
            if self._gap is gap:
                self._gap = None
            return gap.lines

    def _write_entry(self, text: bytes) -> int:
        """Write lines. Returns how many were lost because they could not be written."""
        lines = _lines_in(text)
        lost = 0 if self._write(text) else lines
        with self._lock:
            self._lines -= lines
            self._bytes -= len(text)
            self.dropped_lines += lost
        return lost

    def _write(self, text: bytes) -> bool:
        """Write all of the text, however long it takes. Returns False where that is impossible."""
        rest = memoryview(text)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                waiting = select.poll()
                waiting.register(self._descriptor, select.POLLOUT)
                waiting.poll()
            except OSError:  # nobody reads any more, or the disk is full
                return False
        return True


class _Raw(io.RawIOBase):
    """An outlet in the form in which a text stream writes to it."""

    name = "<stderr>"

    def __init__(self, outlet: Outlet, descriptor: int) -> None:
        self._outlet = outlet
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        text = bytes(data)
        self._outlet.put(text)
        return len(text)

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)


def queue_standard_error() -> Outlet:
    """Put a queue before standard error, for all that this process prints, until it has ended.

    Standard output, to which a service has nothing to say, goes the same way. Called once, first of
    all. What libraries write past Python into a pipe or a terminal that has no room is lost.
    """
    for descriptor in (_STDOUT, _STDERR):
        _open_if_closed(descriptor)
        _never_wait_for(descriptor)
    outlet = Outlet(_STDERR)
    stream = sys.stdout = sys.stderr = text_stream(outlet, _STDERR)

    @atexit.register
    def write_the_rest() -> None:
        stream.flush()
        outlet.flush(_EXIT_SECONDS)

    return outlet


def text_stream(outlet: Outlet, descriptor: int) -> io.TextIOWrapper:
    """A text stream whose lines go to the outlet; `descriptor` says what it is in the end."""
    return io.TextIOWrapper(
        _Raw(outlet, descriptor),  # raw is enough where nothing is read
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )


def _open_if_closed(descriptor: int) -> None:
    """Else the first socket would get this number, and whatever is printed to it."""
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        _move(null, descriptor)


def _never_wait_for(descriptor: int) -> None:
    """Make writes to a pipe or a terminal fail where they would wait.

    It is opened anew for that: the one that we were given is shared with other processes.
    """
    if not (stat.S_ISFIFO(os.fstat(descriptor).st_mode) or os.isatty(descriptor)):
        return
    try:
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:  # another user's, nobody reads it, or there is no /proc
        return
    _move(own, descriptor)


def _move(source: int, target: int) -> None:
    if source != target:
        os.dup2(source, target)
        os.close(source)


def _lines_in(text: bytes) -> int:
    return max(1, text.count(b"\n"))
