"""The files that a command writes: refused before the work where somebody's would be lost.

Each file is written beside its place and moved there at the end. A file that is there already is
replaced only if an earlier run of the same command wrote it, which the folder's manifest says, or
if that was asked for; one that is read, never. Knows no options and no exit codes.
"""

import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from distilpose.model.errors import ModelError
from distilpose.model.files import UNFINISHED, beside, followed, identity, is_straight
from distilpose.model.files.manifest import Manifest, Mark
from distilpose.model.files.scratch import remove_abandoned

_LONGEST_NAME_BYTES: Final = 255


class OutputRefused(ModelError):
    """A file to write would replace one that is read, or one that is somebody else's."""


class Output(NamedTuple):
    """A file to write."""

    path: Path
    called: str
    """Its option or argument, or what else it is to the user."""
    by: str
    """The command and the option: an earlier file is replaced only if it is by the same."""


class Outputs:
    """The files that a run writes.

    Args:
        outputs: All of them.
        reads: Files and folders that the run reads. Into these folders, new files may be written.
        overwrite: Replace files that are somebody else's, other than those that are read.
        folder: Has the manifest of all files; by default each file's own folder has it.

    Raises:
        OutputRefused: an output is what is read, another output, or a file that is there already
            and may not be replaced.
    """

    def __init__(
        self,
        outputs: Iterable[Output],
        reads: Iterable[Path] = (),
        *,
        overwrite: bool = False,
        folder: Path | None = None,
    ) -> None:
        self._folder = followed(folder) if folder else None
        self._manifests: dict[Path, Manifest] = {}
        planned = list(outputs)
        self._outputs = {each.path: each for each in planned}
        self._found: dict[Path, object] = {}
        sources = _Sources(reads)
        names: dict[object, str] = {}
        for output in planned:
            if is_straight(output.path):
                continue
            other = names.setdefault(_spot(followed(output.path)), output.called)
            if other != output.called:
                raise OutputRefused(_text(output, f"is the file of {other} too"))
            self._check(output, sources, overwrite=overwrite)
        for place in {target.parent for target in self._found}:
            remove_abandoned(place, UNFINISHED)

    def _check(self, output: Output, sources: "_Sources", *, overwrite: bool) -> None:
        target = followed(output.path)
        self._found[target] = _state(target)
        if source := sources.with_file(target):
            raise OutputRefused(_text(output, f"would replace what is read, {source}"))
        if not os.path.lexists(target) or self._is_ours(target, output.by):
            return
        if source := sources.with_folder_of(target):
            raise OutputRefused(_text(output, f"would replace what is read, {source}"))
        if target.is_dir():
            raise OutputRefused(_text(output, "is a folder"))
        if not overwrite:
            raise OutputRefused(
                _text(
                    output,
                    "is there already, and no earlier run wrote it as it is; choose another name, "
                    "or replace it with --overwrite",
                )
            )

    @contextmanager
    def writing(
        self, path: Path, *, keeps_part: bool = False, alone: bool = True
    ) -> Iterator[Path]:
        """A path to write to, from which the file is moved to `path`, an output, at the end.

        Nothing is moved if nothing was written, or after an error. With `keeps_part`, what was
        written before an interruption or another's error is moved too; `OSError` and `ModelError`
        say that it could not be written. `alone` says that nothing else is written within, so that
        an `OSError` without a name is about this file.

        Raises:
            OutputRefused: somebody has put a file there meanwhile; ours lies beside it.
            OSError: there is no place for it.
        """
        output = self._outputs[path]
        if is_straight(path):
            yield path
            return
        target = followed(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with beside(target) as unfinished:
            try:
                yield unfinished
            except BaseException as err:
                is_whole = keeps_part and not isinstance(err, (OSError, ModelError))
                if is_whole and _has_content(unfinished):
                    self._move(unfinished, target, output)
                _rename_in(err, unfinished, path)
                if alone and isinstance(err, OSError) and err.filename is None:
                    err.filename = str(path)
                raise
            if unfinished.exists():
                self._move(unfinished, target, output)

    def note(self) -> None:
        """Write down the outputs that are there: for what is not written by `writing`."""
        for output in self._outputs.values():
            target = followed(output.path)
            if mark := Mark.of(target, output.by):
                self._manifest(target).add(target, mark)

    def _move(self, unfinished: Path, target: Path, output: Output) -> None:
        mark = Mark.of(unfinished, output.by)
        if mark is None:
            raise OutputRefused(_text(output, "is no file"))
        place = target if self._is_free(target, output.by) else free_beside(target)
        manifest = self._manifest(place)
        manifest.add(place, mark)  # first, so that no file of ours is ever unknown
        try:
            unfinished.replace(place)
        except OSError as err:
            raise OSError(err.errno, err.strerror, str(output.path)) from err
        self._found[place] = _state(place)
        if place != target:
            text = f"was put there while this ran, and is kept; the result is {place}"
            raise OutputRefused(_text(output, text))

    def _is_free(self, target: Path, by: str) -> bool:
        """Return True if nobody but a run of ours wrote to the place since it was checked."""
        if _state(target) == self._found.get(target):
            return True
        self._manifest(target).read_again()
        return self._is_ours(target, by)

    def _is_ours(self, target: Path, by: str) -> bool:
        return self._manifest(target).wrote(target, by)

    def _manifest(self, target: Path) -> Manifest:
        folder = target.parent
        if self._folder and self._folder in target.parents:
            folder = self._folder
        if folder not in self._manifests:
            self._manifests[folder] = Manifest(folder)
        return self._manifests[folder]


class _Sources:
    """The files and folders that are read, by identity."""

    def __init__(self, reads: Iterable[Path]) -> None:
        self._files: dict[object, Path] = {}
        self._folders: dict[object, Path] = {}
        for path in reads:
            (self._folders if path.is_dir() else self._files)[identity(path)] = path

    def with_file(self, target: Path) -> Path | None:
        return self._files.get(identity(target))

    def with_folder_of(self, target: Path) -> Path | None:
        if not self._folders:
            return None
        found = (self._folders.get(identity(parent)) for parent in target.parents)
        return next((folder for folder in found if folder), None)


def _text(output: Output, reason: str) -> str:
    return f"{output.called} {output.path}: {reason}"


def _state(path: Path) -> object:
    """The same again while nobody writes to the place."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _rename_in(err: BaseException, unfinished: Path, path: Path) -> None:
    """Let an error name the file that the user knows."""
    old, new = str(unfinished), str(path)
    err.args = tuple(each.replace(old, new) if isinstance(each, str) else each for each in err.args)
    if isinstance(err, OSError) and err.filename is not None and os.fsdecode(err.filename) == old:
        err.filename = new


def _spot(target: Path) -> object:
    """A key of the place, the same for names that some file system takes for one."""
    return identity(target) if target.exists() else (identity(target.parent), folded(target.name))


def folded(name: str) -> str:
    """The name as file systems compare it that ignore case and composition."""
    return unicodedata.normalize("NFC", name).casefold()


def numbered(path: Path, number: int) -> Path:
    """The path with a number from 2 behind its stem, shortened where file systems allow no more."""
    ending = (f"-{number}" if number > 1 else "") + path.suffix
    room = _LONGEST_NAME_BYTES - len(os.fsencode(ending))
    return path.with_name(os.fsdecode(_cut(os.fsencode(path.stem), room)) + ending)


def _cut(stem: bytes, length: int) -> bytes:
    """The first bytes of a name, and no part of a letter at the end."""
    if len(stem) <= length:
        return stem
    return stem[:length].decode("utf-8", "ignore").encode()


def free_beside(target: Path) -> Path:
    """The first numbered name beside `target` that nothing has."""
    candidates = (numbered(target, number) for number in count(2))
    return next(path for path in candidates if not os.path.lexists(path))


def distinct(wanted: Sequence[Path], first: Sequence[bool]) -> list[Path]:
    """The paths, numbered where two would be one on some file system; a path keeps its folder.

    Those with True in `first` keep their names before the others, of which the first comes first.
    No path is a folder of another.
    """
    taken = {folded(str(folder)) for path in wanted for folder in path.parents}
    named: dict[int, Path] = {}
    for index in sorted(range(len(wanted)), key=lambda index: not first[index]):
        if (key := folded(str(wanted[index]))) not in taken:
            taken.add(key)
            named[index] = wanted[index]
    for index, path in enumerate(wanted):
        if index in named:
            continue
        candidates = (numbered(path, number) for number in count(2))
        named[index] = next(each for each in candidates if folded(str(each)) not in taken)
        taken.add(folded(str(named[index])))
    return [named[index] for index in range(len(wanted))]
