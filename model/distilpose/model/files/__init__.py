"""Check files before they are written, replace them atomically, and leave no temporary ones."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from distilpose.model.files.scratch import owned_folder

UNFINISHED: Final = ".distilpose-unfinished-"
"""The names of the folders in which files are written begin so."""
_DESCRIPTOR: Final = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")
_STANDARD: Final = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to, of the same name, which replaces `path` at the end.

    Links are followed. A pipe or a device cannot be replaced, and is given as it is. After an error
    `path` is unchanged; it is unchanged as well if nothing was written.
    """
    if is_straight(path):
        yield path
        return
    target = followed(path)
    with beside(target) as unfinished:
        yield unfinished
        if unfinished.exists():
            unfinished.replace(target)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path of the same name in a new folder beside `path`, which is removed at the end.

    A folder of its own, so that processes do not meet, and a file keeps its name and suffix. Only
    a killed process leaves it, until `Outputs` are written to the same place again.

    Raises:
        OSError: naming `path`, if there is no place for it.
    """
    with ExitStack() as opened:
        try:
            folder = opened.enter_context(owned_folder(path.parent, UNFINISHED))
        except OSError as err:
            raise OSError(err.errno, err.strerror, str(path)) from err
        yield folder / path.name


def followed(path: Path) -> Path:
    """The absolute path of the file that `path` leads to, by links too; it need not be there."""
    return Path(os.path.realpath(path))


def is_straight(path: Path) -> bool:
    """Return True for a pipe, a device or an open descriptor, which is written to as it is."""
    if descriptor(path) is not None:
        return True
    return path.exists() and not (path.is_file() or path.is_dir())


def descriptor(path: Path) -> int | None:
    """The open descriptor that a path such as /dev/stdout or /dev/fd/3 stands for, if any."""
    name = os.path.normpath(path)
    numbered = _DESCRIPTOR.fullmatch(name)
    return int(numbered[1]) if numbered else _STANDARD.get(name)


def trouble_of_file(path: Path) -> str | None:
    """Return why `path` cannot be written as a file, found by trying; None if it can be."""
    if path.is_dir():
        return f"{path} is a folder"
    if is_straight(path):  # opening a pipe may wait for whoever reads it
        return None
    target = followed(path)
    if target.exists():
        try:
            target.open("r+b").close()
        except OSError as err:
            return f"{path} cannot be written to: {err.strerror}"
    return _trouble_in(target.parent)


def _trouble_in(folder: Path) -> str | None:
    if not folder.is_dir():
        return f"{folder} is not a folder"
    try:
        with tempfile.NamedTemporaryFile(dir=folder):  # permissions say little: /proc has root's
            return None
    except OSError as err:
        return f"{folder} cannot be written to: {err.strerror}"


def trouble_of_folder(folder: Path) -> str | None:
    """Return why nothing can be written into `folder`, made if missing; None if it can be."""
    nearest = next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))
    return _trouble_in(nearest)


def identity(path: Path) -> object:
    """Return a key that two paths share if they lead to the same file, by links too."""
    try:
        status = path.stat()
    except OSError:
        return path.resolve()
    return status.st_dev, status.st_ino
