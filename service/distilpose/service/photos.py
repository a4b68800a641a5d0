"""The photos that are given as files and folders, and where each is drawn."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from distilpose.model.files import identity
from distilpose.model.files.manifest import without_outputs
from distilpose.model.files.outputs import distinct, numbered
from distilpose.model.formats import SUFFIXES

_JPEG_SUFFIXES: Final = frozenset({".jpg", ".jpeg"})


class Photo(NamedTuple):
    """One photo, and the path that its drawing gets below the folder of drawings."""

    path: Path
    drawing: Path


class Photos(NamedTuple):
    """The photos that are given."""

    photos: list[Photo]
    left_out: int
    """Pictures in the folders that an earlier run wrote there."""


def photos_in(paths: Sequence[Path]) -> Photos:
    """The photos that are given: files as they are, and of folders what has a picture's suffix.

    What we wrote into a folder ourselves is no photo of it. A drawing has its photo's path below
    the folder that was given, whose name comes first where there are several, and a JPEG's suffix.
    Names that some file system would take for one are numbered; a photo that is given twice has one
    drawing.
    """
    roots = _names_of([path for path in paths if path.is_dir()])
    found: list[tuple[Path, Path]] = []
    left_out = 0
    for given in paths:
        if not given.is_dir():
            found.append((given, Path(given.name)))
            continue
        below, ours = without_outputs(given.rglob("*"))
        pictures = sorted(path for path in below if _looks_like_a_photo(path))
        found += [(path, roots[identity(given)] / path.relative_to(given)) for path in pictures]
        left_out += ours
    return Photos(list(_with_drawings(found)), left_out)


def _names_of(folders: Iterable[Path]) -> dict[object, Path]:
    """The folder of each given one's drawings, by identity; no folder for a single one."""
    given = {identity(folder): folder for folder in folders}
    if len(given) < 2:
        return dict.fromkeys(given, Path())
    names = [Path(folder.resolve().name or "root") for folder in given.values()]
    return dict(zip(given, distinct(names, [True] * len(names)), strict=True))


def _looks_like_a_photo(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def _with_drawings(found: Sequence[tuple[Path, Path]]) -> Iterable[Photo]:
    wanted: dict[object, Path] = {}
    for path, name in found:
        wanted.setdefault(_place(path), name)
    drawings = [_drawing_of(name) for name in wanted.values()]
    keeps_name = [name == drawing for name, drawing in zip(wanted.values(), drawings, strict=True)]
    drawings = distinct(drawings, keeps_name)
    by_place = dict(zip(wanted, drawings, strict=True))
    return (Photo(path, by_place[_place(path)]) for path, _ in found)


def _place(path: Path) -> object:
    """The same for two spellings of a path, and another for a link to it."""
    return identity(path.parent), path.name


def _drawing_of(name: Path) -> Path:
    if name.suffix.lower() in _JPEG_SUFFIXES:
        return name
    has_suffix = name.suffix.lower() in SUFFIXES
    return numbered(name.with_suffix(".jpg") if has_suffix else Path(f"{name}.jpg"), 1)
