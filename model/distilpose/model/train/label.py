"""What a teacher says of people whom nobody labelled, and how far it may be trusted.

A person is looked at twice: in the crop that the network is trained on, and in a turned and wider
one; both times with the flip test. The first look gives the keypoints. A keypoint's weight is

    weight = clamp(peak, 0, 1) * exp(-d^2 / (2 area k^2))

with `peak` the maximum of the first look's heatmap, `d` the distance in image pixels between the
two looks, and the second factor the OKS term of the two, for the person's area and the joint's
constant k. Below `MIN_WEIGHT`, and outside the picture, the weight is 0.

Knows arrays and a network, and no files.
"""

from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from distilpose.model import geometry
from distilpose.model.arrays import CropsBHWC, FloatArray, ImageHWC, check_image, check_shape
from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.metrics import oks_terms
from distilpose.model.skeleton import KEYPOINT_COUNT
from distilpose.model.teacher_engine import TeacherEngine

AREA_SHARE: Final = 0.53
"""Area of a person's outline as a share of the box, where nobody drew the outline."""
MIN_WEIGHT: Final = 0.05
"""A keypoint that is trusted less has no label."""
TURN_DEGREES: Final = 20.0
"""How far the second look's crop is turned."""
WIDENING: Final = 1.2
"""How many times the first look's region the second look's is, in width and in height."""


class Labels(NamedTuple):
    """Keypoints of the N people of one picture."""

    keypoints_xy_px: FloatArray
    """(N, 17, 2), also where the weight is 0."""
    weight: FloatArray
    """(N, 17) trust in each keypoint: 0, or `MIN_WEIGHT` to 1."""


def label(teacher: TeacherEngine, image_HWC: ImageHWC, boxes_xyxy_px: FloatArray) -> Labels:
    """The keypoints of the person in each of N boxes (N, 4), and their weights.

    Raises:
        ArrayError: the image or the boxes have the wrong shape or type.
    """
    check_image(image_HWC)
    check_shape(boxes_xyxy_px, (None, 4), name="boxes_xyxy_px")
    if not len(boxes_xyxy_px):
        nobody = (0, KEYPOINT_COUNT)
        return Labels(np.empty((*nobody, 2), np.float32), np.empty(nobody, np.float32))
    xy_px, peak = _look(teacher, image_HWC, boxes_xyxy_px)
    again_xy_px, _ = _look(
        teacher, image_HWC, boxes_xyxy_px, rotation_degrees=TURN_DEGREES, widening=WIDENING
    )
    weight = trust(
        peak,
        np.linalg.norm(xy_px - again_xy_px, axis=-1),
        areas_px2=person_areas_px2(boxes_xyxy_px),
    )
    last_xy_px = np.array(image_HWC.shape[1::-1]) - 1
    inside = ((xy_px >= 0) & (xy_px <= last_xy_px)).all(axis=-1)
    return Labels(xy_px, weight * inside)


def trust(peak: FloatArray, distance_px: FloatArray, *, areas_px2: FloatArray) -> FloatArray:
    """The weights (N, 17) of keypoints, but for the picture's edge, as on top of this file.

    `peak` and `distance_px` are (N, 17), the people's `areas_px2` (N,).
    """
    weight = np.clip(peak, 0, 1) * oks_terms(distance_px**2, area_px2=areas_px2)
    return np.where(weight >= MIN_WEIGHT, weight, 0).astype(np.float32)


def person_areas_px2(boxes_xyxy_px: FloatArray) -> FloatArray:
    """The areas (N,) of the people in boxes (N, 4): `AREA_SHARE` of the boxes'."""
    sides_px = boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]
    return np.asarray(sides_px.prod(axis=1) * AREA_SHARE, np.float32)


def _look(
    teacher: TeacherEngine,
    image_HWC: ImageHWC,
    boxes_xyxy_px: FloatArray,
    *,
    rotation_degrees: float = 0,
    widening: float = 1,
) -> tuple[FloatArray, FloatArray]:
    """Keypoints (N, 17, 2) in image pixels and peaks (N, 17), of one look at each box."""
    regions = geometry.crop_regions(boxes_xyxy_px)
    affines = [
        geometry.image_to_crop_affine(
            center, width_px * widening, rotation_degrees=rotation_degrees
        )
        for center, (width_px, _) in zip(*regions, strict=True)
    ]
    answers = teacher.run_flip_test(_cut(image_HWC, affines))
    xy_crop_px = answers.xy_crop * np.array([CROP_WIDTH, CROP_HEIGHT], np.float32)
    return _to_image(xy_crop_px, affines), answers.raw_score


def _cut(image_HWC: ImageHWC, affines: list[npt.NDArray[np.float64]]) -> CropsBHWC:
    """As `crop.cut` does, for regions that may be turned."""
    crops = [cv2.warpAffine(image_HWC, affine, (CROP_WIDTH, CROP_HEIGHT)) for affine in affines]
    return np.asarray(crops, np.uint8)


def _to_image(xy_crop_px: FloatArray, affines: list[npt.NDArray[np.float64]]) -> FloatArray:
    """Points (N, 17, 2) in pixels of the crops -> image pixels."""
    inverses = np.array([cv2.invertAffineTransform(affine) for affine in affines])
    turned = xy_crop_px @ inverses[:, :, :2].transpose(0, 2, 1)
    return np.asarray(turned + inverses[:, None, :, 2], np.float32)
