"""Files and folders that commands write: checked before the work, never at the cost of an input."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from distilpose.model.files import replaced_by, trouble_of_file, trouble_of_folder


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


def refuse_replacing(outputs: Mapping[str, Path | None], inputs: Iterable[Path | None]) -> None:
    """Return if no output is an input, a file in an input folder, or another output.

    Raises:
        click.UsageError: naming both.
    """
    if clash := replaced_by(outputs, inputs):
        raise click.UsageError(clash)


OUT_FILE: Final = _Out(trouble_of_file, dir_okay=False)
"""The type of options and arguments that are a file to write; one that is there may be replaced."""
OUT_FOLDER: Final = _Out(trouble_of_folder, file_okay=False)
"""The type of options and arguments that are a folder to write into, or to make."""
