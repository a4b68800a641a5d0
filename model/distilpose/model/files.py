"""Check files before they are written, replace them atomically, and leave no temporary ones."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_SCRATCH_PREFIX: Final = "distilpose-ultralytics-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to, which replaces it at the end.

    Each process has its own, with the same suffix. After an error `path` is unchanged.
    """
    unfinished = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def trouble_of_file(path: Path) -> str | None:
    """Return why `path` cannot be written as a file, found by trying; None if it can be."""
    if path.is_dir():
        return f"{path} is a folder"
    if not path.exists():
        return _trouble_in(path.parent)
    if not path.is_file():  # a pipe or a device: opening it may wait for whoever reads it
        return None
    try:
        path.open("r+b").close()
    except OSError as err:
        return f"{path} cannot be written to: {err.strerror}"
    return None


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


def replaced_by(outputs: Mapping[str, Path | None], inputs: Iterable[Path | None]) -> str | None:
    """Return a complaint about an output that is an input, in an input folder, or another output.

    None if there is no such output.

    Args:
        outputs: files to write by what the user calls them; None is not written.
        inputs: files and folders that are read. New files may be written into these folders.
    """
    sources = [path for path in inputs if path is not None]
    seen: dict[object, str] = {}
    for name, output in outputs.items():
        if output is None or (output.exists() and not output.is_file()):
            continue
        for source in sources:
            if _replaces(output, source):
                return f"{name} {output}: would replace what is read, {source}"
        other = seen.setdefault(identity(output), name)
        if other != name:
            return f"{name} {output}: is the file of {other} too"
    return None


def _replaces(output: Path, source: Path) -> bool:
    if source.is_dir():
        return output.exists() and source.resolve() in output.resolve().parents
    return identity(output) == identity(source)


def identity(path: Path) -> object:
    """Return a key that two paths share if they lead to the same file, by links too."""
    try:
        status = path.stat()
    except OSError:
        return path.resolve()
    return status.st_dev, status.st_ino


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder that is removed at the end, or by the next user if the process is killed.

    The owner holds a lock on the folder, which the system releases when the process dies.
    """
    _remove_abandoned_folders()
    folder, lock = _locked_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked_folder() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_SCRATCH_PREFIX))
        with suppress(FileNotFoundError):  # another process took it for abandoned
            opened = os.open(folder, os.O_RDONLY)
            with suppress(OSError):  # without locks on this file system, nobody removes it either
                fcntl.flock(opened, fcntl.LOCK_EX)
            if folder.exists():
                return folder, opened
            os.close(opened)


def _remove_abandoned_folders() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_SCRATCH_PREFIX}*"):
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
