"""People's boxes of a folder as a data set on disk in the form that ultralytics trains on.

    OUT/images/train/ID.jpg  what is neither a person nor background painted grey
    OUT/labels/train/ID.txt  a line for each person: class 0, centre and size as shares
    OUT/data.yaml            the last file to be written

The trainer knows no region to ignore: doubtful people and crowds are painted over instead. Pictures
in which people without a box may be are left out. Knows no network and no ultralytics.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import simplejpeg
import yaml

from distilpose.model.arrays import FloatArray, ImageHWC
from distilpose.model.container import usable_cpus
from distilpose.model.data.held_out import HOLDOUT_EVERY
from distilpose.model.data.people import PeopleFolder
from distilpose.model.data.person import Person, Picture
from distilpose.model.errors import DataError
from distilpose.model.files import replacing
from distilpose.model.geometry import clip_boxes
from distilpose.model.letterbox import BORDER_VALUE

JPEG_QUALITY: Final = 95

_DESCRIPTION: Final = "data.yaml"
_IMAGES: Final = "images/train"
_LABELS: Final = "labels/train"
_UNFINISHED: Final = "unfinished"
"""The digest of a data set that is being written."""
_VERSION: Final = 2
"""Part of the digest: raised when pictures or labels are written otherwise."""
_SMALLEST_PX: Final = 1.0


@dataclass(frozen=True, slots=True)
class DetectorData:
    """A written data set."""

    name: str
    """Of the folder that the people came from."""
    description: Path
    """`data.yaml`, as ultralytics reads it."""
    pictures: Path
    """The folder of the pictures."""
    count: int
    """Number of pictures."""
    digest: str
    """SHA-256 of the labels and the pictures' names."""
    label_notes: tuple[str, ...] = ()
    """Sentences about labels that were left out or repaired."""


def write_detector_data(
    people: PeopleFolder,
    out: Path,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> DetectorData:
    """The data set in `out`: reused if it fits, else written anew by a thread a usable CPU.

    Held-out pictures, whose id `HOLDOUT_EVERY` divides, are left out. `on_progress` gets
    pictures done and pictures in all.

    Raises:
        DataError: there is nobody to train on, a picture cannot be read, or `out` has files that no
            earlier run wrote.
    """
    pictures = [each for each in people.pictures if each.boxes_complete and each.id % HOLDOUT_EVERY]
    if not any(sure_boxes_xyxy_px(picture).size for picture in pictures):
        raise DataError(f"{people.folder}: nobody to train on in {len(pictures)} complete pictures")
    digest = _digest(pictures)
    if not _holds(out, digest):
        _refuse_others(out)
        _write(people, pictures, out, on_progress=on_progress)
        _describe(out, digest)
    return DetectorData(
        name=people.folder.name,
        description=out / _DESCRIPTION,
        pictures=out / _IMAGES,
        count=len(pictures),
        digest=digest,
        label_notes=tuple(people.labels.notes()),
    )


def sure_boxes_xyxy_px(picture: Picture) -> FloatArray:
    """Boxes (N, 4) of the people who are there for sure, clipped to the picture."""
    return _boxes_xyxy_px(picture, (each for each in picture.people if not each.is_ignored))


def grey_ignored(image_HWC: ImageHWC, picture: Picture) -> ImageHWC:
    """A copy with what is to be ignored painted grey, but for what lies in somebody's box."""
    ignored = _boxes_xyxy_px(picture, (each for each in picture.people if each.is_ignored))
    grey_HW = np.zeros(image_HWC.shape[:2], np.bool_)
    for boxes_xyxy_px, value in ((ignored, True), (sure_boxes_xyxy_px(picture), False)):
        for x1, y1, x2, y2 in boxes_xyxy_px:
            grey_HW[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = value
    return np.where(grey_HW[..., None], np.uint8(BORDER_VALUE), image_HWC)


def label_lines(picture: Picture) -> str:
    """Its people as YOLO labels: class, centre x and y, width and height as shares, a line each."""
    x1, y1, x2, y2 = sure_boxes_xyxy_px(picture).T
    width, height = picture.size_wh
    columns = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    return "".join(
        f"0 {' '.join(f'{share:.6f}' for share in row)}\n" for row in zip(*columns, strict=True)
    )


def _boxes_xyxy_px(picture: Picture, people: Iterable[Person]) -> FloatArray:
    boxes = [person.box_xyxy_px for person in people]
    clipped = clip_boxes(np.array(boxes, np.float32).reshape(-1, 4), picture.size_wh)
    large_enough = (clipped[:, 2:] - clipped[:, :2] >= _SMALLEST_PX).all(1)
    return clipped[large_enough]


def _digest(pictures: Sequence[Picture]) -> str:
    digest = hashlib.sha256(repr((_VERSION, JPEG_QUALITY)).encode())
    for picture in pictures:
        digest.update(repr((picture.id, picture.file_name, picture.shard)).encode())
        for person in picture.people:
            digest.update(person.box_xyxy_px.tobytes() + bytes([person.is_ignored]))
    return digest.hexdigest()


def _holds(out: Path, digest: str) -> bool:
    return _digest_in(out) == digest


def _digest_in(out: Path) -> str | None:
    """The digest of the data set that we wrote into a folder; None if it is not ours."""
    try:
        described = yaml.safe_load((out / _DESCRIPTION).read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    digest = described.get("digest") if isinstance(described, dict) else None
    return digest if isinstance(digest, str) else None


def _refuse_others(out: Path) -> None:
    """Return if nothing that is somebody else's would be removed.

    Raises:
        DataError: something would.
    """
    there = [out / name for name in (_DESCRIPTION, _IMAGES, _LABELS) if (out / name).exists()]
    if there and _digest_in(out) is None:
        raise DataError(
            f"{out}: {there[0].relative_to(out)} is there already, and no earlier run wrote it; "
            "choose another folder to train in"
        )


def _describe(out: Path, digest: str) -> None:
    # Ultralytics wants a `val`, and takes the folders as beside this file.
    described = {"train": _IMAGES, "val": _IMAGES, "names": {0: "person"}, "digest": digest}
    with replacing(out / _DESCRIPTION) as unfinished:
        unfinished.write_text(yaml.safe_dump(described, sort_keys=False), "utf-8")


def _write(
    people: PeopleFolder,
    pictures: Sequence[Picture],
    out: Path,
    *,
    on_progress: Callable[[int, int], None],
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    _describe(out, _UNFINISHED)
    for folder in (out / _IMAGES, out / _LABELS):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    with ThreadPoolExecutor(usable_cpus()) as pool:
        written = pool.map(partial(_write_one, people, out), pictures)
        for done, _ in enumerate(written, start=1):
            on_progress(done, len(pictures))


def _write_one(people: PeopleFolder, out: Path, picture: Picture) -> None:
    image_HWC = grey_ignored(people.read(picture), picture)
    jpeg = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image_HWC),
        quality=JPEG_QUALITY,
        colorspace="RGB",
        colorsubsampling="444",
    )
    (out / _IMAGES / f"{picture.id}.jpg").write_bytes(jpeg)
    (out / _LABELS / f"{picture.id}.txt").write_text(label_lines(picture), "utf-8")
