"""Labelled photos as a COCO keypoints file, which training reads beside the photos."""

import gzip
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from distilpose.model.arrays import FloatArray
from distilpose.model.data.person import DOUBTFUL_LABEL
from distilpose.model.errors import DataError
from distilpose.model.files import replacing
from distilpose.model.load import Models
from distilpose.model.skeleton import AREA_SHARE, KEYPOINT_NAMES, LIMBS, PERSON_CATEGORY_ID
from distilpose.model.train.label.photos import DOUBTFUL_BOX_SCORE, LabelledPhoto
from distilpose.model.train.label.trust import MIN_WEIGHT, TURN_DEGREES, WIDENING, person_areas_px2

PSEUDO_LABEL: Final = "pseudo"
"""Label of people whose keypoints a network found."""
BOX_LABEL: Final = "box"
"""Label of people without a keypoint."""

_VISIBLE: Final = 2
_ID_DIGITS: Final = 12


def about(models: Models, *, min_box_score: float) -> dict[str, Any]:
    """Return the record of a label file's origin, given the models that labelled.

    Older files record the network under `teacher`, since it always was one.
    """
    calibrated = models.predictor.calibration is not None
    return {
        "description": "People labelled by a network: distilpose data label",
        "date_created": f"{datetime.now(UTC):%Y-%m-%d}",
        "distilpose": version("distilpose"),
        "network": {
            "architecture": models.card.architecture,
            "version": models.card.version,
            "sha256": models.sha256,
        },
        "detector": {"name": models.detector.name, "sha256": models.detector.sha256},
        "settings": {
            "keypoint_score": "probability" if calibrated else "raw",
            "dtype": models.predictor.engine.precision,
            "min_box_score": min_box_score,
            "doubtful_box_score": DOUBTFUL_BOX_SCORE,
            "min_weight": MIN_WEIGHT,
            "turn_degrees": TURN_DEGREES,
            "widening": WIDENING,
            "area_share": AREA_SHARE,
        },
    }


def document(photos: Sequence[LabelledPhoto], info: dict[str, Any]) -> dict[str, Any]:
    """The COCO keypoints document of labelled photos.

    People are `pseudo`, or `box` if no keypoint is trusted. Doubtful detections have an entry too,
    so that the boxes of a picture are complete.
    """
    entries = [(photo, entry) for photo in photos for entry in _entries(photo)]
    skeleton = [[start + 1, end + 1] for start, end in LIMBS]
    return {
        "info": info,
        "images": [_image(photo) for photo in photos],
        "annotations": [
            {"id": number, "image_id": picture_id(photo.file_name), **entry}
            for number, (photo, entry) in enumerate(entries, start=1)
        ],
        "categories": [
            {
                "id": PERSON_CATEGORY_ID,
                "name": "person",
                "keypoints": list(KEYPOINT_NAMES),
                "skeleton": skeleton,
            }
        ],
    }


def picture_id(file_name: str) -> int:
    """A number below 2^48, derived from a file name.

    Separately written label files have different ids, so that they may share a folder.
    """
    return int(sha256(file_name.encode()).hexdigest()[:_ID_DIGITS], 16)


def write(path: Path, labels: dict[str, Any]) -> None:
    """Write a document to `path`, a *.json.gz, atomically.

    Raises:
        DataError: it cannot be written.
    """
    try:
        with replacing(path) as unfinished:
            unfinished.write_bytes(gzip.compress(json.dumps(labels).encode(), mtime=0))
    except OSError as err:
        raise DataError(f"{path}: cannot be written: {err.strerror}") from err


def _image(photo: LabelledPhoto) -> dict[str, Any]:
    return {
        "id": picture_id(photo.file_name),
        "file_name": photo.file_name,
        "width": photo.size_wh[0],
        "height": photo.size_wh[1],
        "boxes_complete": True,
        "boxes_by": "detector",
    }


def _entries(photo: LabelledPhoto) -> Iterator[dict[str, Any]]:
    for box_xyxy_px, score, xy_px, weight in zip(*photo.people, *photo.labels, strict=True):
        if weight.any():
            yield _box_fields(box_xyxy_px, score, PSEUDO_LABEL) | _keypoint_fields(xy_px, weight)
        else:
            yield _box_fields(box_xyxy_px, score, BOX_LABEL)
    for box_xyxy_px, score in zip(*photo.doubtful, strict=True):
        yield _box_fields(box_xyxy_px, score, DOUBTFUL_LABEL)


def _box_fields(box_xyxy_px: FloatArray, score: float, label: str) -> dict[str, Any]:
    x1, y1, x2, y2 = box_xyxy_px.tolist()
    [area_px2] = person_areas_px2(box_xyxy_px[None]).tolist()
    return {
        "category_id": PERSON_CATEGORY_ID,
        "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
        "area": round(area_px2, 2),
        "iscrowd": 0,
        "label": label,
        "box_score": round(float(score), 3),
    }


def _keypoint_fields(xy_px: FloatArray, weight: FloatArray) -> dict[str, Any]:
    points = [
        (round(x_px, 2), round(y_px, 2), _VISIBLE) if trusted > 0 else (0, 0, 0)
        for (x_px, y_px), trusted in zip(xy_px.tolist(), weight, strict=True)
    ]
    return {
        "keypoints": [value for point in points for value in point],
        "num_keypoints": int(np.count_nonzero(weight)),
        "keypoint_weight": [round(value, 3) for value in weight.tolist()],
    }
