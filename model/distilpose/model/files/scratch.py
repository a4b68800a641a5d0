"""Folders for what a library writes, which outlive no process for long."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_SCRATCH_PREFIX: Final = "distilpose-ultralytics-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder that is removed at the end, or by the next user if its owner is killed."""
    place = Path(tempfile.gettempdir())
    remove_abandoned(place, _SCRATCH_PREFIX)
    with owned_folder(place, _SCRATCH_PREFIX) as folder:
        yield folder


@contextmanager
def owned_folder(place: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `place`, whose name begins with `prefix`, and which is removed at the end.

    The owner holds a lock on the folder, which the system releases when the process dies.

    Raises:
        OSError: it cannot be made.
    """
    folder, lock = _locked_folder(place, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked_folder(place: Path, prefix: str) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        with suppress(FileNotFoundError):  # another process took it for abandoned
            opened = os.open(folder, os.O_RDONLY)
            with suppress(OSError):  # without locks on this file system, nobody removes it either
                fcntl.flock(opened, fcntl.LOCK_EX)
            if folder.exists():
                return folder, opened
            os.close(opened)


def remove_abandoned(place: Path, prefix: str) -> None:
    """Remove the folders in `place` whose owners were killed."""
    for folder in place.glob(f"{prefix}*"):
        with suppress(OSError), _open_folder(folder) as opened:
            if os.fstat(opened).st_uid == os.geteuid():
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _open_folder(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield opened
    finally:
        os.close(opened)
