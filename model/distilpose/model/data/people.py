"""Read COCO-style people from a folder, with loose pictures or tar shards; knows no networks.

Three forms of folder are read:

    FOLDER/NAME.json[.gz]  pictures in the tar shards that `image["shard"]` names
    FOLDER/NAME.json[.gz]  pictures as loose files in FOLDER, or in FOLDER/NAME
    FOLDER/annotations/person_keypoints_SPLIT.json[.gz]  pictures in FOLDER/SPLIT, COCO's own layout

Fields beyond COCO's (`label`, `keypoint_weight`, `boxes_complete`) are kept if present.
"""

import copy
import gzip
import json
import re
import tarfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from distilpose.model import pictures
from distilpose.model.arrays import FloatArray, ImageHWC
from distilpose.model.errors import DataError, PictureError
from distilpose.model.geometry import xywh_to_xyxy
from distilpose.model.skeleton import KEYPOINT_COUNT, KEYPOINT_NAMES, PERSON_CATEGORY_ID

DOUBTFUL_LABEL: Final = "doubtful"
"""Label of detections that are neither surely a person nor surely background."""
_SUFFIXES: Final = (".json", ".json.gz")
_COCO_PREFIX: Final = "person_keypoints_"
_COCO_NAME: Final = re.compile(r"(?:^|_)(\d{12})\.")


@dataclass(frozen=True, eq=False)
class Person:
    """One labelled person; people without keypoints have a `visibility` of 17 zeros."""

    box_xyxy_px: FloatArray
    """Shape (4,)."""
    area_px2: float
    """Area of the person's outline, which scales OKS."""
    keypoints_xy_px: FloatArray
    """Shape (17, 2); (0, 0) where not labelled."""
    visibility: npt.NDArray[np.uint8]
    """COCO's flags (17,): 0 not labelled, 1 hidden, 2 visible."""
    keypoint_weight: FloatArray
    """Trust in each keypoint (17,), 0..1; 0 where there is none."""
    label: str
    """Origin of the labels: `human` or `box` unless the file states another one."""
    is_crowd: bool
    """True if the box is around a group, not one person."""
    annotation_id: int | None = None
    """The annotation's id in its file; None if it has none."""

    @property
    def has_keypoints(self) -> bool:
        """Return True if at least one keypoint is labelled."""
        return bool(self.visibility.any())

    @property
    def can_be_measured(self) -> bool:
        """Return True if this is a single person with labelled keypoints."""
        return self.has_keypoints and not self.is_crowd

    @property
    def is_ignored(self) -> bool:
        """Return True if the box is neither certainly one person nor background."""
        return self.is_crowd or self.label == DOUBTFUL_LABEL


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture and the people labelled in it; `PeopleFolder.read` gives its pixels."""

    id: int
    file_name: str
    size_wh: tuple[int, int]
    source: str
    """Stem of the annotation file that names the picture, e.g. `coco`."""
    shard: str | None
    """The tar file beside the annotations that holds the picture, or None for a loose file."""
    boxes_complete: bool
    """True if everyone in the picture has a box, so that the rest is background."""
    people: tuple[Person, ...]


class _Span(NamedTuple):
    """The position of a member's bytes in its tar file."""

    offset_bytes: int
    size_bytes: int


class PeopleFolder:
    """The pictures of a folder, in the order of its annotation files; thread-safe for reading.

    Raises:
        DataError: on construction, naming the file, if the folder has no annotation file, one is
            broken or not COCO keypoints, two share picture ids, or a shard is missing or broken.

    """

    def __init__(self, folder: Path, *, sources: Collection[str] | None = None) -> None:
        self.folder = folder
        self.pictures: list[Picture] = []
        for path in _annotation_files(folder, sources):
            self.pictures += _read_annotations(path)
        _check_unique([picture.id for picture in self.pictures], folder)
        shards = {picture.shard for picture in self.pictures if picture.shard is not None}
        self._spans = {shard: _index_shard(folder / shard) for shard in sorted(shards)}

    def by_source(self) -> list["PeopleFolder"]:
        """The folder once for each annotation file, by its stem, with the pictures of that file."""
        parts = []
        for source in sorted({picture.source for picture in self.pictures}):
            part = copy.copy(self)
            part.pictures = [picture for picture in self.pictures if picture.source == source]
            parts.append(part)
        return parts

    def read(self, picture: Picture) -> ImageHWC:
        """RGB uint8 (H, W, 3) of one picture, after EXIF orientation.

        Raises:
            DataError: naming the picture, if it is missing, cannot be decoded, or does not have
                the size given by its annotations, so that their coordinates would not match.

        """
        try:
            image = pictures.read(self.encoded(picture))
        except (PictureError, OSError) as err:
            raise DataError(f"{picture.file_name}: {err}") from err
        size_wh = (image.shape[1], image.shape[0])
        if size_wh != picture.size_wh:
            raise DataError(
                f"{picture.file_name}: is {size_wh[0]}x{size_wh[1]}, "
                f"its annotations say {picture.size_wh[0]}x{picture.size_wh[1]}"
            )
        return image

    def encoded(self, picture: Picture) -> bytes:
        """The encoded bytes of a picture's file.

        Raises:
            DataError: its shard does not hold it.
            OSError: it cannot be read.
        """
        if picture.shard is None:
            return self._loose_file(picture).read_bytes()
        span = self._spans[picture.shard].get(picture.file_name)
        if span is None:
            raise DataError(f"{self.folder / picture.shard}: has no member {picture.file_name}")
        with (self.folder / picture.shard).open("rb") as shard:
            shard.seek(span.offset_bytes)
            return shard.read(span.size_bytes)

    def _loose_file(self, picture: Picture) -> Path:
        split = picture.source.removeprefix(_COCO_PREFIX)
        for folder in (self.folder, self.folder / split):
            if (folder / picture.file_name).is_file():
                return folder / picture.file_name
        raise DataError(f"{self.folder}: has no picture {picture.file_name}, nor has its {split}/")


def coco_document(pictures: Sequence[Picture]) -> dict[str, Any]:
    """A COCO keypoints document of the pictures and everyone in them, annotation ids from 1.

    People without keypoints enter with 51 zeros, which COCO's evaluation ignores.
    """
    people = [(picture.id, person) for picture in pictures for person in picture.people]
    return {
        "images": [{"id": picture.id} for picture in pictures],
        "categories": [{"id": PERSON_CATEGORY_ID, "name": "person"}],
        "annotations": [
            {"id": number, "image_id": picture_id, **_annotation(person)}
            for number, (picture_id, person) in enumerate(people, start=1)
        ],
    }


def coco_ids(pictures: Sequence[Picture]) -> list[int]:
    """COCO's own ids of the pictures whose file names carry them, in ascending order."""
    matches = (_COCO_NAME.search(picture.file_name) for picture in pictures)
    return sorted(int(match[1]) for match in matches if match)


def _annotation_files(folder: Path, sources: Collection[str] | None) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder")
    files = [
        path
        for suffix in _SUFFIXES
        for pattern in (f"*{suffix}", f"annotations/{_COCO_PREFIX}*{suffix}")
        for path in folder.glob(pattern)
    ]
    stems = {_stem(path) for path in files}
    if not files:
        raise DataError(f"{folder}: holds no *.json, *.json.gz or annotations/{_COCO_PREFIX}*.json")
    for source in sources or ():
        if source not in stems:
            raise DataError(f"{folder}: has no source {source}, only {', '.join(sorted(stems))}")
    return sorted(path for path in files if sources is None or _stem(path) in sources)


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".json")


def _read_annotations(path: Path) -> list[Picture]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, EOFError, ValueError) as err:
        raise DataError(f"{path}: cannot be read as JSON: {err}") from err
    try:
        return list(_pictures(document, source=_stem(path)))
    except KeyError as err:
        raise DataError(f"{path}: is not COCO keypoints: no {err}") from err
    except (TypeError, ValueError, AttributeError) as err:
        raise DataError(f"{path}: is not COCO keypoints: {err}") from err


def _pictures(document: dict[str, Any], *, source: str) -> Iterator[Picture]:
    category_id = _person_category_id(document["categories"])
    people: dict[int, list[Person]] = {image["id"]: [] for image in document["images"]}
    for annotation in document["annotations"]:
        if annotation["category_id"] == category_id:
            people[annotation["image_id"]].append(_person(annotation))
    for image in document["images"]:
        yield Picture(
            id=int(image["id"]),
            file_name=str(image["file_name"]),
            size_wh=(int(image["width"]), int(image["height"])),
            source=source,
            shard=image.get("shard"),
            boxes_complete=bool(image.get("boxes_complete", True)),
            people=tuple(people[image["id"]]),
        )


def _person_category_id(categories: list[dict[str, Any]]) -> int:
    person = next((each for each in categories if each["name"] == "person"), None)
    if person is None:
        raise ValueError("no category is called person")
    if tuple(person.get("keypoints", KEYPOINT_NAMES)) != KEYPOINT_NAMES:
        raise ValueError(f"keypoints are not COCO's {KEYPOINT_COUNT} in COCO's order")
    return int(person["id"])


def _person(annotation: dict[str, Any]) -> Person:
    x, y, width, height = annotation["bbox"]
    flat = annotation.get("keypoints", [0] * 3 * KEYPOINT_COUNT)
    keypoints = np.asarray(flat, dtype=np.float32).reshape(KEYPOINT_COUNT, 3)
    visibility = keypoints[:, 2].astype(np.uint8)
    labelled = visibility > 0
    weight = annotation.get("keypoint_weight", labelled)
    return Person(
        box_xyxy_px=xywh_to_xyxy([x, y, width, height])[0],
        area_px2=float(annotation["area"]),
        keypoints_xy_px=keypoints[:, :2] * labelled[:, None],
        visibility=visibility,
        keypoint_weight=np.asarray(weight, dtype=np.float32).reshape(KEYPOINT_COUNT),
        label=str(annotation.get("label", "human" if labelled.any() else "box")),
        is_crowd=bool(annotation.get("iscrowd", 0)),
        annotation_id=number if isinstance(number := annotation.get("id"), int) else None,
    )


def _annotation(person: Person) -> dict[str, Any]:
    x1, y1, x2, y2 = person.box_xyxy_px.tolist()
    return {
        "category_id": PERSON_CATEGORY_ID,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": person.area_px2,
        "iscrowd": int(person.is_crowd),
        "keypoints": np.column_stack([person.keypoints_xy_px, person.visibility]).ravel().tolist(),
        "num_keypoints": int(np.count_nonzero(person.visibility)),
    }


def _check_unique(picture_ids: list[int], folder: Path) -> None:
    repeated = [picture_id for picture_id, count in Counter(picture_ids).items() if count > 1]
    if repeated:
        raise DataError(f"{folder}: picture id {repeated[0]} appears more than once")


def _index_shard(path: Path) -> dict[str, _Span]:
    try:
        with tarfile.open(path, "r:") as shard:
            return {
                member.name: _Span(member.offset_data, member.size)
                for member in shard
                if member.isfile()
            }
    except (OSError, tarfile.TarError) as err:
        raise DataError(f"{path}: cannot be read as a tar file: {err}") from err
