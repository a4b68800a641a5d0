"""From a photo to its answer without our service; the peers serve this.

Bodies and answers are those of `POST /v1/pose` with one image.
"""

import base64
import uuid
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from distilpose.model import crop, geometry, pictures, predict
from distilpose.model.arrays import FloatArray, ImageHWC
from distilpose.model.load import load_models
from distilpose.model.poses.pose import Pose
from distilpose.model.runtime.detector import Detections
from distilpose.model.runtime.engine import PoseArrays
from distilpose.model.runtime.pytorch.devices import use_threads
from distilpose.service.domain import ImageAnswer, Options, PoseAnswer
from distilpose.service.rest.answer import ModelOut, answer_out

MIN_BOX_SCORE = 0.25
OPTIONS = Options(min_box_score=MIN_BOX_SCORE, max_people=50, min_keypoint_score=0.3)


class Photo(NamedTuple):
    """A decoded photo, and the boxes of its people if the caller gave them."""

    image: ImageHWC
    boxes_xyxy_px: FloatArray | None


def read_photo(document: Mapping[str, Any]) -> Photo:
    """The photo of a JSON body."""
    [image] = document["images"]
    boxes = document.get("options", {}).get("boxes")
    pixels = decode(base64.b64decode(image["content"], validate=True))
    return Photo(pixels, np.array(boxes[0], np.float32) if boxes else None)


def decode(data: bytes) -> ImageHWC:
    """The pixels of an image file."""
    return pictures.read(data)


class Poser:
    """Detector and student as the service loads them, with all CPUs, warmed up."""

    def __init__(self) -> None:
        use_threads()
        models = load_models()
        self.predictor = models.predictor
        self.model = ModelOut(name=models.card.architecture, version=models.card.version)
        self.predictor.engine.warm_up()

    def poses(self, photos: Sequence[Photo]) -> list[list[Pose]]:
        """The people of each photo; the crops of all of them share the student's batches."""
        found = [self._people(photo) for photo in photos]
        regions = [geometry.crop_regions(people.boxes_xyxy_px) for people in found]
        crops = [crop.cut(photo.image, each) for photo, each in zip(photos, regions, strict=True)]
        arrays = self.predictor.answers(np.concatenate(crops), flip_test=False)
        ends = np.cumsum([0, *map(len, crops)])
        parts = [PoseArrays(*(column[a:b] for column in arrays)) for a, b in pairwise(ends)]
        calibration = self.predictor.calibration
        return [
            predict.assemble(part, each, *people, calibration=calibration)
            for part, each, people in zip(parts, regions, found, strict=True)
        ]

    def _people(self, photo: Photo) -> Detections:
        if (boxes_xyxy_px := photo.boxes_xyxy_px) is not None:
            return Detections(boxes_xyxy_px, np.ones(len(boxes_xyxy_px), np.float32))
        [people] = self.predictor.detect([photo.image], min_box_score=MIN_BOX_SCORE)
        return people

    def answer(self, photo: Photo, poses: Sequence[Pose]) -> bytes:
        """The JSON of an answer; its timings are all 0."""
        height, width, _ = photo.image.shape
        answer = PoseAnswer([ImageAnswer(None, (width, height), poses)])
        identity = uuid.uuid4().hex
        out = answer_out(answer, OPTIONS, request_id=identity, model=self.model, statuses={})
        return out.model_dump_json(exclude_unset=True).encode()
