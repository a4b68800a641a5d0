"""Files and folders that commands write: checked before the work, never at the cost of an input."""

import io
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import click

from distilpose.model.files import (
    descriptor,
    followed,
    identity,
    is_straight,
    trouble_of_file,
    trouble_of_folder,
)
from distilpose.model.files.outputs import Output, OutputRefused, Outputs

STANDARD_OUTPUT: Final = Path("-")
"""The file of an option that stands for standard output."""
_FINISHING_SECONDS: Final = 10.0
"""Signals that follow the first so soon do not disturb what it finishes."""


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
        if self.allow_dash and path == STANDARD_OUTPUT:
            return path
        if trouble := self._trouble_of(path):
            self.fail(trouble, param, ctx)
        return path


OUT_FILE: Final = _Out(trouble_of_file, dir_okay=False)
"""The type of options and arguments that are a file to write."""
OUT_LINES: Final = _Out(trouble_of_file, dir_okay=False, allow_dash=True)
"""The type of options that are a file of text to write, or - for standard output."""
OUT_FOLDER: Final = _Out(trouble_of_folder, file_okay=False)
"""The type of options and arguments that are a folder to write into, or to make."""

overwrite_option = click.option(
    "--overwrite",
    is_flag=True,
    help="Replace files that no earlier run of this command wrote, but never one that is read.",
)


@contextmanager
def writing(
    outputs: Mapping[str, Path | None],
    reads: Iterable[Path | None] = (),
    *,
    overwrite: bool = False,
) -> Iterator[Outputs]:
    """The files that a command writes, by option or argument, finished if a signal ends it.

    `reads` are the files and folders that it reads; None is not written or read.

    Raises:
        click.UsageError: an output is what is read, or somebody else's, naming both.
    """
    by = command_name()
    planned = [
        Output(path, name, f"{by} {name}")
        for name, path in outputs.items()
        if path is not None and path != STANDARD_OUTPUT
    ]
    with writing_planned(planned, reads, overwrite=overwrite) as checked:
        yield checked


@contextmanager
def writing_planned(
    planned: Iterable[Output],
    reads: Iterable[Path | None] = (),
    *,
    overwrite: bool = False,
    folder: Path | None = None,
) -> Iterator[Outputs]:
    """The same for outputs that have no option each; `folder` is that of their manifest."""
    given = [path for path in reads if path is not None]
    _refuse_standard_output(given)
    try:
        checked = Outputs(planned, given, overwrite=overwrite, folder=folder)
    except OutputRefused as err:
        raise click.UsageError(str(err)) from err
    with ended_by_signals():
        yield checked


def refuse_among_labels(called: str, path: Path | None, folders: Iterable[Path | None]) -> None:
    """Return if no later command would take a report for labels of one of the folders.

    Raises:
        click.UsageError: one would, since it lies there and ends as labels do.
    """
    if path is None or not path.name.endswith((".json", ".json.gz")):
        return
    around = {identity(parent) for parent in followed(path).parents}
    for folder in folders:
        if folder and identity(folder) in around:
            raise click.UsageError(
                f"{called} {path}: would be read as labels of {folder} the next time; write it "
                "elsewhere"
            )


def command_name() -> str:
    """The command that is running, as a user writes it behind `distilpose`."""
    names: list[str] = []
    context = click.get_current_context(silent=True)
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name or "")
        context = context.parent
    return " ".join(names)


def _refuse_standard_output(reads: Iterable[Path]) -> None:
    """Return if standard output does not lead into a file that is read: `predict x >> x`."""
    try:
        status = os.fstat(1)
    except OSError:  # there is none
        return
    for path in reads:
        if path.is_file() and identity(path) == (status.st_dev, status.st_ino):
            raise click.UsageError(f"standard output: would replace what is read, {path}")


class _Ended(KeyboardInterrupt):
    """A signal other than Ctrl-C's, which ends a command as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP are what Ctrl-C is, and what follows soon is ignored.

    A command that does not end well by itself exits with 128 and the signal's number.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: list[float] = []

    def end(number: int, _: object) -> None:
        if first and time.monotonic() - first[0] < _FINISHING_SECONDS:
            return
        first[:] = [time.monotonic()]
        raise KeyboardInterrupt if number == signal.SIGINT else _Ended(number)

    usual = (signal.SIG_DFL, signal.default_int_handler)  # others, such as nohup's, stay
    watched = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) in usual
    ]
    before = {number: signal.signal(number, end) for number in watched}
    try:
        yield
    except _Ended as err:
        sys.exit(err.exit_code)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def text(outputs: Outputs, path: Path, *, keeps_part: bool = False) -> Iterator[IO[str]]:
    """A file of text to write: standard output for -, and a pipe or a device as it is.

    With `keeps_part` a file has what was written before an interruption or an error elsewhere.
    """
    if path == STANDARD_OUTPUT:
        yield sys.stdout
    elif (number := descriptor(path)) is not None:
        with os.fdopen(os.dup(number), "w", encoding="utf-8") as file:
            yield file
    elif is_straight(path):
        with path.open("w", encoding="utf-8") as file:
            yield file
    else:
        with (
            outputs.writing(path, keeps_part=keeps_part, alone=False) as unfinished,
            _opened(unfinished) as file,
        ):
            yield file


class _File(io.FileIO):
    """A file whose errors say which it is."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as err:
            err.filename = self.name
            raise


def _opened(path: Path) -> IO[str]:
    return io.TextIOWrapper(io.BufferedWriter(_File(str(path), "w")), encoding="utf-8")


def files_in(source: str) -> list[Path]:
    """The files that a video's address names as FFmpeg reads it, such as concat:a.ts|b.ts."""
    if (path := Path(source)).exists():
        return [path]
    named = [part[at:] for part in source.split("|") for at in _starts(part)]
    return [path for each in named if each and (path := Path(each)).is_file()]


def _starts(address: str) -> list[int]:
    return [0, *(found.end() for found in re.finditer("[:,]+", address))]
