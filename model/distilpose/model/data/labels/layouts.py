"""The places where tools put labels and pictures in a folder. Reads no labels.

plain      FOLDER/NAME.json[.gz]; pictures in FOLDER, FOLDER/NAME, FOLDER/images, or shards
coco       FOLDER/annotations/person_keypoints_SPLIT.json[.gz]; pictures in FOLDER/SPLIT or
           FOLDER/images/SPLIT (COCO, CVAT, Ultralytics)
roboflow   FOLDER/SPLIT/_annotations.coco.json; pictures beside it
yolo       FOLDER/data.yaml; pictures where it says, texts in `labels` instead of `images`
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, get_args

from distilpose.model.data.labels import description
from distilpose.model.errors import DataError

Layout = Literal["plain", "coco", "roboflow", "yolo"]
LAYOUTS: Final[tuple[Layout, ...]] = get_args(Layout)

_SUFFIXES: Final = (".json", ".json.gz")
_COCO_PREFIX: Final = "person_keypoints_"
_ROBOFLOW: Final = "_annotations.coco.json"
_DRIVE: Final = re.compile(r"[A-Za-z]:/")
_LOOKED_FOR: Final = (
    f"*.json, *.json.gz, annotations/{_COCO_PREFIX}*.json, */{_ROBOFLOW} or {description.USUAL}"
)


class LabelFile(NamedTuple):
    """An annotation file, or one split of a `data.yaml`."""

    path: Path
    source: str
    """Name by which a user chooses it."""
    picture_folders: tuple[Path, ...]
    """Folders where its loose pictures are looked for, in order."""


class Labels(NamedTuple):
    """The labels of a folder, all of one layout."""

    layout: Layout
    files: tuple[LabelFile, ...]


def find_labels(folder: Path, layout: Layout | None = None) -> Labels:
    """Return the annotation files of a folder.

    Raises:
        DataError: there is none, none of that layout, or the folder holds several layouts and none
            is chosen.
    """
    found = _all_files(folder) if layout is None else _files_of(folder, layout)
    if not found:
        others = _all_files(folder)
        if not others:
            raise DataError(f"{folder}: holds no {_LOOKED_FOR}")
        names = ", ".join(others)
        raise DataError(f"{folder}: holds no labels of the layout {layout}, only {names}")
    if len(found) > 1:
        kinds = " and ".join(f"{each} ({files[0].path})" for each, files in found.items())
        raise DataError(
            f"{folder}: holds labels in {len(found)} layouts, {kinds}: choose by --layout"
        )
    [(chosen, files)] = found.items()
    _refuse_shared_names(folder, files)
    return Labels(chosen, files)


def layout_for(folder: Path, wanted: Layout | None) -> Layout | None:
    """The wanted layout if a folder beside the main one holds it, else None, its only one."""
    return wanted if wanted and _files_of(folder, wanted) else None


def of_sources(
    folder: Path, files: Collection[LabelFile], sources: Collection[str] | None
) -> list[LabelFile]:
    """The files with these names, all of them for None.

    Raises:
        DataError: naming one that is not there.
    """
    known = sorted(each.source for each in files)
    for source in sources or ():
        if source not in known:
            raise DataError(f"{folder}: has no source {source}, only {', '.join(known)}")
    return [each for each in files if sources is None or each.source in sources]


def candidates(picture_folders: Collection[Path], file_name: str) -> list[Path]:
    """The paths where a loose picture may be, best first.

    Tools write names with backslashes, and names of their own server's files: then a picture of
    the last part of the name is taken.
    """
    name = file_name.replace("\\", "/")
    names = [file_name, name]
    if name.startswith("/") or ".." in name.split("/") or "://" in name or _DRIVE.match(name):
        names.append(name.rpartition("/")[2])
    paths = [folder / each for each in names if each for folder in picture_folders]
    return list(dict.fromkeys(paths))


def is_file(path: Path) -> bool:
    """Return True if there is such a file; False too where no file can have the name."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _all_files(folder: Path) -> dict[Layout, tuple[LabelFile, ...]]:
    return {each: files for layout in LAYOUTS for each, files in _files_of(folder, layout).items()}


def _files_of(folder: Path, layout: Layout) -> dict[Layout, tuple[LabelFile, ...]]:
    """The files of one layout under its name; nothing if there are none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder")
    files = tuple(_FINDERS[layout](folder))
    return {layout: files} if files else {}


def _plain(folder: Path) -> Iterator[LabelFile]:
    for path in _visible(folder, *(f"*{suffix}" for suffix in _SUFFIXES)):
        if path.name != _ROBOFLOW:
            yield LabelFile(path, _stem(path), _picture_folders(folder, _stem(path)))


def _coco(folder: Path) -> Iterator[LabelFile]:
    for path in _visible(folder, *(f"annotations/{_COCO_PREFIX}*{each}" for each in _SUFFIXES)):
        yield LabelFile(path, _stem(path), _picture_folders(folder, _stem(path)))


def _roboflow(folder: Path) -> Iterator[LabelFile]:
    for path in _visible(folder, _ROBOFLOW, f"*/{_ROBOFLOW}"):
        beside = path.parent
        source = beside.name if beside != folder else folder.resolve().name
        yield LabelFile(path, source, (beside, beside / "images"))


def _yolo(folder: Path) -> Iterator[LabelFile]:
    path = description.find(folder)
    for split in description.splits(path) if path else ():
        yield LabelFile(path or folder, split, (folder,))


_FINDERS: Final[Mapping[Layout, Callable[[Path], Iterator[LabelFile]]]] = MappingProxyType(
    {"plain": _plain, "coco": _coco, "roboflow": _roboflow, "yolo": _yolo}
)


def _visible(folder: Path, *patterns: str) -> list[Path]:
    """The files of these patterns, without hidden ones, which macOS leaves beside others."""
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return sorted(path for path in paths if not path.name.startswith("."))


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".json")


def _picture_folders(folder: Path, stem: str) -> tuple[Path, ...]:
    split = stem.removeprefix(_COCO_PREFIX)
    return (folder, folder / split, folder / "images" / split, folder / "images")


def _refuse_shared_names(folder: Path, files: Collection[LabelFile]) -> None:
    counts = Counter(each.source for each in files)
    shared = [source for source, count in counts.items() if count > 1]
    if shared:
        names = " and ".join(each.path.name for each in files if each.source == shared[0])
        raise DataError(f"{folder}: {names} have the same name, {shared[0]}")
