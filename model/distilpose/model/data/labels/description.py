"""The `data.yaml` of a folder of YOLO labels: its splits, pictures, classes and keypoints."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from distilpose.model.data.labels.values import shown, text
from distilpose.model.errors import DataError
from distilpose.model.skeleton import KEYPOINT_COUNT

USUAL: Final = "data.yaml"

_PATTERNS: Final = ("*.yaml", "*.yml")
_SPLITS: Final = ("train", "val", "validation", "test")
_CLASSES: Final = ("names", "nc", "kpt_shape")
_UP: Final = "../"


class Description(NamedTuple):
    """The statements of a `data.yaml` about labels."""

    categories: list[Any]
    """Its classes as COCO's categories."""
    has_visibility: bool
    """True if points have three numbers, False if they have two."""


def find(folder: Path) -> Path | None:
    """The file of a folder that describes a data set; None if there is none.

    Raises:
        DataError: there are several, or `data.yaml` cannot be read.
    """
    paths = sorted(path for each in _PATTERNS for path in folder.glob(each) if path.is_file())
    found = [path for path in paths if path.name == USUAL or _describes(path)]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise DataError(f"{folder}: {names} both describe a data set: leave one of them there")
    return found[0] if found else None


def splits(path: Path) -> list[str]:
    """The splits that a description has pictures for.

    Raises:
        DataError: it cannot be read, or has none.
    """
    content = _read(path)
    named = [split for split in _SPLITS if content.get(split)]
    if not named:
        raise DataError(f"{path}: names no pictures: no train, val or test")
    return named


def read(path: Path) -> Description:
    """Return the statements of a description about labels.

    Raises:
        DataError: it cannot be read, or its keypoints are not 17 of 2 or 3 numbers.
    """
    content = _read(path)
    shape = content.get("kpt_shape")
    if shape not in ([KEYPOINT_COUNT, 2], [KEYPOINT_COUNT, 3]):
        raise DataError(
            f"{path}: kpt_shape is {shown(shape)}, and people have [{KEYPOINT_COUNT}, 3] or "
            f"[{KEYPOINT_COUNT}, 2]"
        )
    names = _by_class(content.get("names"))
    keypoints = _by_class(content.get("kpt_names"))
    categories = [
        {"id": number, "name": name, "keypoints": keypoints.get(number)}
        for number, name in names.items()
    ]
    return Description(categories, has_visibility=shape[1] == 3)


def picture_paths(path: Path, split: str, suffixes: frozenset[str]) -> Iterator[Path]:
    """The pictures of a split, in order: of folders, and of texts with a path a line.

    Raises:
        DataError: naming every place that was looked at, if one is not there.
    """
    content = _read(path)
    entries = content[split] if isinstance(content[split], list) else [content[split]]
    for entry in entries:
        place = _place(path, content.get("path"), entry)
        if place.is_dir():
            found = (each for each in place.rglob("*") if each.suffix.lower() in suffixes)
            yield from sorted(each for each in found if each.is_file())
        else:
            yield from _listed(place)


def _place(path: Path, base: object, entry: object) -> Path:
    """The folder or list of pictures that an entry of a split names."""
    name = text(entry)
    if name is None:
        raise DataError(f"{path}: {shown(entry)} is not the path of pictures")
    folders = [path.parent]
    if root := text(base):
        folders += [path.parent / root, path.parent.parent / root]
    names = [name, name.removeprefix(_UP)]
    places = list(dict.fromkeys(folder / each for folder in folders for each in names))
    for place in places:
        if place.exists():
            return place
    looked = ", ".join(map(str, places))
    raise DataError(f"{path}: has no pictures {name}: looked for {looked}")


def _listed(place: Path) -> Iterator[Path]:
    try:
        lines = place.read_bytes().decode("utf-8-sig", errors="replace").splitlines()
    except OSError as err:
        raise DataError(f"{place}: cannot be read: {err.strerror}") from err
    for line in filter(None, map(str.strip, lines)):
        yield place.parent / line.replace("\0", "")


def _by_class(names: object) -> dict[int, Any]:
    """A list, or an object whose keys are numbers, by number."""
    if isinstance(names, list):
        return dict(enumerate(names))
    if not isinstance(names, dict):
        return {}
    return {int(key): name for key, name in names.items() if str(key).isdecimal()}


def _describes(path: Path) -> bool:
    try:
        content = _read(path)
    except DataError:
        return False
    return any(each in content for each in _SPLITS) and any(each in content for each in _CLASSES)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_bytes())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as err:
        raise DataError(f"{path}: cannot be read as YAML: {err}") from err
    if not isinstance(content, dict):
        raise DataError(f"{path}: is not the description of a data set")
    return content
