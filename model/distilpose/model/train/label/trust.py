"""Label people with a network, and weight each label by how far it can be trusted.

The network sees a person twice: in the crop that it is trained on, and in a rotated and wider one;
both times with the flip test. The first look gives the keypoints. A keypoint's weight is

    weight = score * exp(-d^2 / (2 area k^2))

with `score` the first look's keypoint score, `d` the distance in image pixels between the two
looks, and the second factor the OKS term of the two, for the person's area and the joint's constant
k. Below `MIN_WEIGHT`, and outside the picture, the weight is 0.

The score of a calibrated student is the probability of an OKS term of 0.5 or more: of being right,
which is the trust that a label deserves. Without a calibration it is the raw score, and for a
teacher the heatmap's peak, both clamped to 0..1: they fall where a network is unsure, but they are
not probabilities.

Knows arrays and a network, but no files.
"""

from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from distilpose.model import geometry
from distilpose.model.arrays import CropsBHWC, FloatArray, ImageHWC, check_image, check_shape
from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.predict import Predictor, answered
from distilpose.model.similarity import oks_terms
from distilpose.model.skeleton import AREA_SHARE, KEYPOINT_COUNT

MIN_WEIGHT: Final = 0.05
"""A keypoint with less trust has no label."""
TURN_DEGREES: Final = 20.0
"""Rotation of the second look's crop."""
WIDENING: Final = 1.2
"""Size of the second look's region as a multiple of the first's, in width and in height."""


class Labels(NamedTuple):
    """Keypoints of the N people of one picture."""

    keypoints_xy_px: FloatArray
    """(N, 17, 2), including those with weight 0."""
    weight: FloatArray
    """Trust in each keypoint (N, 17): 0, or `MIN_WEIGHT` to 1."""


def label(predictor: Predictor, image_HWC: ImageHWC, boxes_xyxy_px: FloatArray) -> Labels:
    """The keypoints of the person in each of N boxes (N, 4), and their weights.

    Scores are calibrated if the predictor has a calibration.

    Raises:
        ArrayError: the image or the boxes have the wrong shape or type.
    """
    check_image(image_HWC)
    check_shape(boxes_xyxy_px, (None, 4), name="boxes_xyxy_px")
    if not len(boxes_xyxy_px):
        nobody = (0, KEYPOINT_COUNT)
        return Labels(np.empty((*nobody, 2), np.float32), np.empty(nobody, np.float32))
    xy_px, score = _look(predictor, image_HWC, boxes_xyxy_px)
    again_xy_px, _ = _look(
        predictor, image_HWC, boxes_xyxy_px, rotation_degrees=TURN_DEGREES, widening=WIDENING
    )
    weight = trust(
        score,
        np.linalg.norm(xy_px - again_xy_px, axis=-1),
        areas_px2=person_areas_px2(boxes_xyxy_px),
    )
    last_xy_px = np.array(image_HWC.shape[1::-1]) - 1
    inside = ((xy_px >= 0) & (xy_px <= last_xy_px)).all(axis=-1)
    return Labels(xy_px, weight * inside)


def trust(score: FloatArray, distance_px: FloatArray, *, areas_px2: FloatArray) -> FloatArray:
    """The weights (N, 17) of keypoints by the formula above, ignoring the picture's edge.

    `score` and `distance_px` are (N, 17), the people's `areas_px2` (N,).
    """
    weight = score * oks_terms(distance_px**2, area_px2=areas_px2)
    return np.where(weight >= MIN_WEIGHT, weight, 0).astype(np.float32)


def person_areas_px2(boxes_xyxy_px: FloatArray) -> FloatArray:
    """The areas (N,) of the people in boxes (N, 4): `AREA_SHARE` of the boxes'."""
    sides_px = boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]
    return np.asarray(sides_px.prod(axis=1) * AREA_SHARE, np.float32)


def _look(
    predictor: Predictor,
    image_HWC: ImageHWC,
    boxes_xyxy_px: FloatArray,
    *,
    rotation_degrees: float = 0,
    widening: float = 1,
) -> tuple[FloatArray, FloatArray]:
    """Keypoints (N, 17, 2) in image pixels and scores (N, 17), from one look at each box."""
    regions = geometry.crop_regions(boxes_xyxy_px)
    widths_px = regions.sizes_wh_px[:, 0] * widening
    affines = [
        geometry.image_to_crop_affine(center, width_px, rotation_degrees=rotation_degrees)
        for center, width_px in zip(regions.centers_xy_px, widths_px, strict=True)
    ]
    answers = predictor.answers(_cut(image_HWC, affines), flip_test=True)
    score = answered(answers, widths_px, predictor.calibration).keypoint_score
    xy_crop_px = answers.xy_crop * np.array([CROP_WIDTH, CROP_HEIGHT], np.float32)
    return _to_image(xy_crop_px, affines), score


def _cut(image_HWC: ImageHWC, affines: list[npt.NDArray[np.float64]]) -> CropsBHWC:
    """Same as `crop.cut`, for regions that may be rotated."""
    crops = [cv2.warpAffine(image_HWC, affine, (CROP_WIDTH, CROP_HEIGHT)) for affine in affines]
    return np.asarray(crops, np.uint8)


def _to_image(xy_crop_px: FloatArray, affines: list[npt.NDArray[np.float64]]) -> FloatArray:
    """Points (N, 17, 2) in pixels of the crops -> image pixels."""
    inverses = np.array([cv2.invertAffineTransform(affine) for affine in affines])
    turned = xy_crop_px @ inverses[:, :, :2].transpose(0, 2, 1)
    return np.asarray(turned + inverses[:, None, :, 2], np.float32)
