"""Labels as Ultralytics' YOLO-pose writes them: a text a picture, with shares of its size.

    CLASS CENTRE_X CENTRE_Y WIDTH HEIGHT (X Y [VISIBILITY]) * 17

*Source:* ultralytics 8.4, `verify_image_label` and `img2label_paths`.
"""

import math
from pathlib import Path
from typing import Any, Final, NamedTuple

from distilpose.model import pictures
from distilpose.model.data.labels import description
from distilpose.model.data.labels.description import Description
from distilpose.model.data.labels.document import BREACH, Document
from distilpose.model.data.labels.faults import NOT_NORMALISED, PICTURE_ENTRY, Origin
from distilpose.model.data.labels.layouts import LabelFile, is_file
from distilpose.model.data.rules import Breach
from distilpose.model.errors import DataError, PictureError
from distilpose.model.formats import MAX_PIXELS, SUFFIXES
from distilpose.model.skeleton import AREA_SHARE

_BOX_VALUES: Final = 4
_BEFORE_POINTS: Final = 1 + _BOX_VALUES
_SHARE_SLACK: Final = 0.01
"""Tolerance for boxes beyond their picture, as Ultralytics has it."""
_VISIBLE: Final = 2
_IMAGES, _LABELS = "images", "labels"


def read_split(folder: Path, file: LabelFile) -> Document:
    """The labels of one split of a data set as a document.

    A picture's size is read from its file. The format has no areas, so that they are a share of
    the box.

    Raises:
        DataError: the description or a list of pictures cannot be read.
    """
    building = _Building(folder, description.read(file.path))
    for path in description.picture_paths(file.path, file.source, SUFFIXES):
        building.add(path)
    return Document(
        building.images,
        building.annotations,
        building.about.categories,
        file.source,
        _within(folder, file.path),
        building.origins,
    )


class _Row(NamedTuple):
    """One line of a label file, in numbers; NaN for words that are none."""

    values: list[float]
    size_wh: tuple[int, int]


class _Building:
    def __init__(self, folder: Path, about: Description) -> None:
        self.about = about
        self.images: list[Any] = []
        self.annotations: list[Any] = []
        self.origins: list[Origin] = []
        self._folder = folder

    def add(self, path: Path) -> None:
        """Add a picture and its labels."""
        number = len(self.images) + 1
        size_wh = _size_wh(path)
        entry: dict[str, Any] = {"id": number, "file_name": _within(self._folder, path)}
        if isinstance(size_wh, str):
            self.images.append(entry | {BREACH: Breach(PICTURE_ENTRY, size_wh)})
            size_wh = (1, 1)
        else:
            self.images.append(entry | {"width": size_wh[0], "height": size_wh[1]})
        labels = _label_path(path)
        for line, text in enumerate(_lines(labels), start=1):
            if text.strip():
                row = _Row([_number(word) for word in text.split()], size_wh)
                self.annotations.append({"image_id": number, **self._annotation(row)})
                self.origins.append(Origin(_within(self._folder, labels), f"line {line}"))

    def _annotation(self, row: _Row) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "category_id": row.values[0],
            "keypoints": self._keypoints(row),
        }
        if len(row.values) < _BEFORE_POINTS:
            return fields | {"keypoints": row.values}
        center_x, center_y, width, height = row.values[1:_BEFORE_POINTS]
        if _is_beyond(center_x, center_y, width, height):
            box = " ".join(f"{value:g}" for value in row.values[1:_BEFORE_POINTS])
            return fields | {BREACH: Breach(NOT_NORMALISED, f"box {box}")}
        picture_w, picture_h = row.size_wh
        width_px, height_px = width * picture_w, height * picture_h
        corner_px = [center_x * picture_w - width_px / 2, center_y * picture_h - height_px / 2]
        area_px2 = AREA_SHARE * width_px * height_px
        return fields | {"bbox": [*corner_px, width_px, height_px], "area": area_px2}

    def _keypoints(self, row: _Row) -> list[float]:
        """Points in pixels with a visibility; values as they are where their number is wrong."""
        values = row.values[_BEFORE_POINTS:]
        each = 3 if self.about.has_visibility else 2
        if len(values) % each:
            return values
        points = [values[start : start + each] for start in range(0, len(values), each)]
        return [part for point in points for part in _in_pixels(point, row.size_wh)]


def _in_pixels(point: list[float], size_wh: tuple[int, int]) -> list[float]:
    """A point in pixels with its visibility; one without is visible unless it is (0, 0) or less."""
    x, y, *rest = point
    is_labelled = not (x < 0 or y < 0 or x == y == 0)
    visibility = rest[0] if rest else _VISIBLE * is_labelled
    return [x * size_wh[0], y * size_wh[1], visibility]


def _is_beyond(center_x: float, center_y: float, width: float, height: float) -> bool:
    shares = (center_x, center_y, width, height)
    return any(share < -_SHARE_SLACK or share > 1 + _SHARE_SLACK for share in shares)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _size_wh(path: Path) -> tuple[int, int] | str:
    """A picture's upright width and height, or the reason why they cannot be known."""
    if not is_file(path):
        return f"no such picture: looked for {path}"
    try:
        content = pictures.EncodedImage(path.read_bytes())
        return pictures.read_header(content, max_pixels=MAX_PIXELS).upright_size_wh
    except PictureError as err:
        return f"{path}: {err}"
    except OSError as err:
        return f"{path}: cannot be read: {err.strerror}"


def _label_path(picture: Path) -> Path:
    """The text beside a picture, or in `labels` where the picture is in `images`."""
    parts = list(picture.parts)
    if _IMAGES in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index(_IMAGES)
        parts[last] = _LABELS
    return Path(*parts).with_suffix(".txt") if picture.name else picture


def _lines(path: Path) -> list[str]:
    """The lines of a label file; none if it is not there, which says that nobody is."""
    if not is_file(path):
        return []
    try:
        return path.read_bytes().decode("utf-8-sig", errors="replace").splitlines()
    except OSError as err:
        raise DataError(f"{path}: cannot be read: {err.strerror}") from err


def _within(folder: Path, path: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)
