"""The list of what earlier runs wrote into a folder: the next may replace that and nothing else.

A line of JSON for each file, appended in one write: runs at the same time lose no line of each
other, and what a crash left of the last line is passed over.
"""

import fcntl
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

from distilpose.model.files import UNFINISHED, identity, replacing

NAME: Final = ".distilpose-outputs.jsonl"
_OLD_LINES: Final = 200
"""More lines about files that were written again since are removed."""


class Mark(NamedTuple):
    """The look of a file when it was written. One that differs was changed by somebody since."""

    by: str
    """The command and the option that wrote it."""
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path, by: str) -> Self | None:
        """The mark of the file that is there now; None if there is no plain file."""
        try:
            status = path.stat()
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return cls(by, status.st_size, status.st_mtime_ns)


class Manifest:
    """The list of what was written into a folder, and into folders in it.

    One that cannot be read names nothing. One that cannot be written costs no output: the next run
    then takes the file for somebody else's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / NAME
        self._marks, lines = self._read()
        self._old_lines = lines - len(self._marks)

    def wrote(self, path: Path, by: str) -> bool:
        """Return True if an earlier run wrote the file by `by`, and it is as it was."""
        mark = Mark.of(path, by)
        return mark is not None and self._marks.get(self._name(path)) == mark

    def read_again(self) -> None:
        """Take in what other runs have written meanwhile."""
        self._marks, _ = self._read()

    def add(self, path: Path, mark: Mark) -> None:
        """Write down that `path` is written with this mark."""
        self._marks[self._name(path)] = mark
        line = {"file": self._name(path), **mark._asdict()}
        with suppress(OSError):
            if self._old_lines > _OLD_LINES:
                self._rewrite()
            with self._locked() as opened:
                os.write(opened, (_line_break(opened) + json.dumps(line) + "\n").encode())

    def files(self) -> Iterator[Path]:
        """The files that are there as they were written."""
        for name, mark in self._marks.items():
            path = self.folder / name
            if Mark.of(path, mark.by) == mark:
                yield path

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _read(self) -> tuple[dict[str, Mark], int]:
        """The last mark of each file, and the number of lines."""
        marks: dict[str, Mark] = {}
        try:
            if not stat.S_ISREG(self._path.lstat().st_mode):
                return marks, 0
            lines = self._path.read_bytes().splitlines()
        except OSError:
            return marks, 0
        for line in lines:
            if entry := _entry(line):
                marks[entry[0]] = entry[1]
        return marks, len(lines)

    def _rewrite(self) -> None:
        """Remove the lines that later ones have replaced."""
        self._old_lines = 0
        with self._locked(), replacing(self._path) as unfinished:
            marks, _ = self._read()
            lines = [{"file": name, **mark._asdict()} for name, mark in marks.items()]
            unfinished.write_text("".join(json.dumps(line) + "\n" for line in lines))

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, opened to append, while no other run writes into it."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        while True:
            opened = os.open(self._path, flags, 0o666)
            try:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(opened, fcntl.LOCK_EX)
                if os.fstat(opened).st_ino == self._path.stat().st_ino:  # else it was rewritten
                    yield opened
                    return
            finally:
                os.close(opened)


def _entry(line: bytes) -> tuple[str, Mark] | None:
    try:
        match json.loads(line):
            case {"file": str(name), "by": str(by), "size": int(size), "mtime_ns": int(time)}:
                return name, Mark(by, size, time)
    except (ValueError, RecursionError):
        pass
    return None


def _line_break(opened: int) -> str:
    """A line break where a crash left the last line without."""
    size = os.fstat(opened).st_size
    return "\n" if size and os.pread(opened, 1, size - 1) != b"\n" else ""


def without_outputs(paths: Iterable[Path]) -> tuple[list[Path], int]:
    """The paths of a folder without those that we wrote, and the number that were left out.

    The folders' manifests have to be among the paths. Unfinished files are left out uncounted.
    """
    given = [path for path in paths if not any(part.startswith(UNFINISHED) for part in path.parts)]
    manifests = [Manifest(path.parent) for path in given if path.name == NAME]
    written = {identity(path) for manifest in manifests for path in manifest.files()}
    kept = [path for path in given if not written or identity(path) not in written]
    return kept, len(given) - len(kept)
