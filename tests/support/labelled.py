"""Small folders of labelled pictures, in COCO's form."""

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from distilpose.model.data.people import PeopleFolder
from distilpose.model.skeleton import KEYPOINT_NAMES

WIDTH, HEIGHT = 120, 90
FRONTAL = {
    "nose": (60, 15),
    "left_eye": (63, 12),
    "right_eye": (57, 12),
    "left_shoulder": (70, 30),
    "right_shoulder": (50, 30),
    "left_hip": (66, 55),
    "right_hip": (54, 55),
}
"""A person facing the camera: their left is on the picture's right."""
FRONTAL_BOX_XYWH = (45, 5, 30, 80)


def picture(picture_id: int, file_name: str | None = None, **extra: Any) -> dict[str, Any]:
    name = file_name or f"{picture_id}.png"
    return {"id": picture_id, "file_name": name, "width": WIDTH, "height": HEIGHT} | extra


def person(
    picture_id: int,
    keypoints: Mapping[str, tuple[float, float]] | None = None,
    *,
    bbox: tuple[float, float, float, float] = FRONTAL_BOX_XYWH,
    **extra: Any,
) -> dict[str, Any]:
    """An annotation; without keypoints it has only a box."""
    entry = {"image_id": picture_id, "category_id": 1, "bbox": list(bbox), "area": 0.53 * bbox[2]}
    if keypoints:
        flat = [
            (*keypoints[name], 2) if name in keypoints else (0, 0, 0) for name in KEYPOINT_NAMES
        ]
        entry["keypoints"] = [value for point in flat for value in point]
    return entry | extra


def noise(seed: int, width: int = WIDTH, height: int = HEIGHT) -> npt.NDArray[np.uint8]:
    """Soft random spots: no two images alike, and each still recognisable when scaled down."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(pixels: npt.NDArray[np.uint8], image_format: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


def write_folder(
    folder: Path,
    pictures: list[dict[str, Any]],
    people: list[dict[str, Any]],
    *,
    files: dict[str, bytes] | None = None,
    source: str = "coco",
) -> PeopleFolder:
    """A folder of one annotation file and its pictures, whose pixels are derived from their ids.

    `files` replaces the bytes of some pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for each in pictures:
        data = (files or {}).get(each["file_name"]) or encoded(noise(each["id"]))
        (folder / each["file_name"]).write_bytes(data)
    categories = [{"id": 1, "name": "person"}]
    document = {"images": pictures, "annotations": people, "categories": categories}
    (folder / f"{source}.json").write_text(json.dumps(document))
    return PeopleFolder(folder)
