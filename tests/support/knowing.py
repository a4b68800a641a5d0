"""A predictor that knows the ground truth, and folders of people for it to find."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from distilpose.model.arrays import FloatArray, ImageHWC
from distilpose.model.data.people import PeopleFolder
from distilpose.model.poses.pose import Pose
from distilpose.model.predict import Predictor
from distilpose.model.runtime.detector import Detections

SHAPE_XY = np.stack([np.arange(17) % 4 / 4, np.arange(17) / 17], -1).astype(np.float32)
"""A pose as fractions of its box."""


def in_box(box_xyxy_px: FloatArray) -> FloatArray:
    return box_xyxy_px[:2] + SHAPE_XY * (box_xyxy_px[2:] - box_xyxy_px[:2])


@dataclass
class Knowing(Predictor):
    """Finds the right pose in every box, and the given boxes."""

    detections: list[tuple[list[float], float]] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    raw_score: float = 0.8
    shift_px: float = 0.0

    def detect(self, images: Sequence[ImageHWC], *, min_box_score: float) -> list[Detections]:
        self.asked.append(min_box_score)
        boxes = np.array([box for box, _ in self.detections], np.float32).reshape(-1, 4)
        scores = np.array([score for _, score in self.detections], np.float32)
        return [Detections(boxes, scores)]

    def poses(
        self,
        image_HWC: ImageHWC,
        boxes_xyxy_px: FloatArray,
        box_scores: FloatArray,
        *,
        flip_test: bool = False,
    ) -> list[Pose]:
        self.asked.append((boxes_xyxy_px.tolist(), box_scores.tolist(), flip_test))
        scores = np.full(17, self.raw_score, np.float32)
        return [
            Pose(
                box,
                float(score),
                in_box(box) + np.float32(self.shift_px),
                np.clip(scores, 0, 1),
                scores,
                np.ones((17, 2), np.float32),
            )
            for box, score in zip(boxes_xyxy_px, box_scores, strict=True)
        ]


def person(bbox: list[float], *, labelled: bool = True, **extra: Any) -> dict[str, Any]:
    x, y, width, height = bbox
    keypoints_xy_px = in_box(np.array([x, y, x + width, y + height], np.float32))
    entry = {"category_id": 1, "bbox": bbox, "area": width * height * 0.53, "iscrowd": 0}
    if labelled:
        entry["keypoints"] = np.column_stack([keypoints_xy_px, np.full(17, 2)]).ravel().tolist()
    return entry | extra


def write_folder(folder: Path, *pictures: list[dict[str, Any]]) -> PeopleFolder:
    images, annotations = [], []
    for image_id, people in enumerate(pictures, start=1):
        name = f"{image_id:012}.png"
        Image.new("RGB", (200, 160), (90, 90, 90)).save(folder / name)
        images.append({"id": image_id, "file_name": name, "width": 200, "height": 160})
        annotations += [{"id": 1, "image_id": image_id} | each for each in people]
    write_annotations(folder, images, annotations)
    return PeopleFolder(folder)


def write_annotations(
    folder: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]
) -> None:
    categories = [{"id": 1, "name": "person"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "coco.json").write_text(json.dumps(document))


LEFT = [10.0, 20.0, 60.0, 120.0]
RIGHT = [120.0, 20.0, 60.0, 120.0]
LEFT_XYXY = [10.0, 20.0, 70.0, 140.0]
RIGHT_XYXY = [120.0, 20.0, 180.0, 140.0]
