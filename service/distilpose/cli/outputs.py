"""Files and folders that commands write: checked before the work, never at the cost of an input."""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import click


class _Out(click.Path):
    """A path to write to, refused where `trouble_of` finds a reason why that cannot be done."""

    def __init__(self, trouble_of: Callable[[Path], str | None], **kinds: bool) -> None:
        super().__init__(path_type=Path, **kinds)
        self._trouble_of = trouble_of

    def convert(
        self,
        value: "str | os.PathLike[str]",
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if trouble := self._trouble_of(path):
            self.fail(trouble, param, ctx)
        return path


def trouble_of_file(path: Path) -> str | None:
    """The reason why `path` cannot be written as a file, found by trying; None if it can be."""
    if path.is_dir():
        return f"{path} is a folder"
    if not path.exists():
        return _trouble_of_folder(path.parent)
    if not path.is_file():  # a pipe or a device: opening it may wait for whoever reads it
        return None
    try:
        path.open("r+b").close()
    except OSError as err:
        return f"{path} cannot be written to: {err.strerror}"
    return None


def _trouble_of_folder(folder: Path) -> str | None:
    if not folder.is_dir():
        return f"{folder} is not a folder"
    try:
        with tempfile.NamedTemporaryFile(dir=folder):  # permissions say little: /proc has root's
            return None
    except OSError as err:
        return f"{folder} cannot be written to: {err.strerror}"


def refuse_replacing(outputs: Mapping[str, Path | None], inputs: Iterable[Path | None]) -> None:
    """Return if no output is an input, a file in an input folder, or another output.

    Args:
        outputs: files to write by what the user calls them; None is not written.
        inputs: files and folders that are read. New files may be written into these folders.

    Raises:
        click.UsageError: naming both.
    """
    sources = [path for path in inputs if path is not None]
    seen: dict[object, str] = {}
    for name, output in outputs.items():
        if output is None or (output.exists() and not output.is_file()):
            continue
        for source in sources:
            if _replaces(output, source):
                raise click.UsageError(f"{name} {output}: would replace what is read, {source}")
        other = seen.setdefault(identity(output), name)
        if other != name:
            raise click.UsageError(f"{name} {output}: is the file of {other} too")


def _replaces(output: Path, source: Path) -> bool:
    if source.is_dir():
        return output.exists() and source.resolve() in output.resolve().parents
    return identity(output) == identity(source)


def identity(path: Path) -> object:
    """A key that two paths share if they lead to the same file, by links too."""
    try:
        status = path.stat()
    except OSError:
        return path.resolve()
    return status.st_dev, status.st_ino


def _trouble_of_making(folder: Path) -> str | None:
    """The reason why nothing can be written into `folder`, which is made if it is missing."""
    nearest = next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))
    return _trouble_of_folder(nearest)


OUT_FILE: Final = _Out(trouble_of_file, dir_okay=False)
"""The type of options and arguments that are a file to write; one that is there may be replaced."""
OUT_FOLDER: Final = _Out(_trouble_of_making, file_okay=False)
"""The type of options and arguments that are a folder to write into, or to make."""
