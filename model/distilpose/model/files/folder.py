"""A folder whose files one run writes all together, in place of those of the run before."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from distilpose.model.files import UNFINISHED, beside, followed
from distilpose.model.files.manifest import NAME, Manifest, Mark
from distilpose.model.files.outputs import OutputRefused, free_beside


class OutputFolder:
    """A folder to write into: new, empty, or with nothing but what an earlier run wrote.

    Args:
        folder: Need not be there.
        called: Its option, to the user.
        by: The command and the option.
        besides: Files that may be there too.

    Raises:
        OutputRefused: it has something else in it.
    """

    def __init__(
        self, folder: Path, called: str, by: str, *, besides: Collection[Path] = ()
    ) -> None:
        self._folder, self._by = followed(folder), by
        self._manifest = Manifest(self._folder)
        theirs = {followed(path) for path in besides}
        there = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
        for path in there:
            is_ours = path.name == NAME or path.name.startswith(UNFINISHED)
            if not (is_ours or path in theirs or self._manifest.wrote(path, by)):
                raise OutputRefused(
                    f"{called} {folder}: is not empty, it has {path.name}; choose a new "
                    "or an empty folder, or one with nothing but what an earlier run wrote"
                )

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """A folder to write into, whose files replace those of the earlier run at the end.

        After an error these are unchanged.

        Raises:
            OSError: the folder cannot be made or written to.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with beside(self._folder / "files") as unfinished:
            unfinished.mkdir()
            yield unfinished
            for old in self._manifest.files():
                if self._manifest.wrote(old, self._by):
                    old.unlink()
            for new in sorted(unfinished.iterdir()):
                self._move(new)

    def _move(self, new: Path) -> None:
        place = self._folder / new.name
        if os.path.lexists(place):  # somebody put it there meanwhile
            place = free_beside(place)
        if mark := Mark.of(new, self._by):
            self._manifest.add(place, mark)
        new.replace(place)
