"""Labels by networks with known answers."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from calibrations import constant_calibration
from distilpose.model.arrays import CropsBHWC, FloatArray, ImageHWC
from distilpose.model.calibration import Calibrated, Calibration
from distilpose.model.errors import ArrayError
from distilpose.model.predict import Predictor
from distilpose.model.runtime.engine import PoseArrays
from distilpose.model.runtime.pytorch.teacher import TeacherEngine
from distilpose.model.skeleton import KEYPOINT_NAMES
from distilpose.model.train.label.trust import MIN_WEIGHT, WIDENING, label, trust

BOXES_XYXY_PX = np.array([[50, 40, 122, 136]], np.float32)
"""A box of the crop's shape, so that the crop is 90 x 120 pixels around (86, 88)."""
GREY = np.full((180, 172, 3), 128, np.uint8)
NOSE, LEFT_HIP, RIGHT_HIP = (
    KEYPOINT_NAMES.index(name) for name in ("nose", "left_hip", "right_hip")
)


class Same(Predictor):
    """Finds every keypoint at the same place of its crop, for any crop."""

    def __init__(
        self, *xy_crop: float, raw_score: float, calibration: Calibration | None = None
    ) -> None:
        self.xy_crop, self.raw_score, self.calibration = xy_crop, raw_score, calibration

    def answers(self, crops_BHWC: CropsBHWC, *, flip_test: bool) -> PoseArrays:
        assert flip_test
        xy_crop = np.tile(np.array(self.xy_crop, np.float32), (len(crops_BHWC), 17, 1))
        raw_score = np.full((len(crops_BHWC), 17), self.raw_score, np.float32)
        return PoseArrays(xy_crop, raw_score, np.ones_like(xy_crop))


class Halves(TeacherEngine):
    """Finds left keypoints at the brightest place of the crop's left half, right ones likewise."""

    def __init__(self) -> None:
        pass

    def heatmaps(self, crops_BHWC: CropsBHWC) -> Tensor:
        light_BHW = torch.from_numpy(crops_BHWC[:, ::4, ::4, 0].astype(np.float32) / 255)
        heatmaps_BKHW = light_BHW[:, None].repeat(1, 17, 1, 1)
        for index, name in enumerate(KEYPOINT_NAMES):
            if name.startswith("left"):
                heatmaps_BKHW[:, index, :, 24:] = 0
            if name.startswith("right"):
                heatmaps_BKHW[:, index, :, :24] = 0
        return heatmaps_BKHW


def with_spots(*spots_xy_px: tuple[float, float]) -> ImageHWC:
    """Black except for round white spots of deviation 4 pixels."""
    rows, columns = np.mgrid[:180, :172]
    light: npt.NDArray[np.float64] = sum(
        (np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 32) for x, y in spots_xy_px),
        np.zeros((180, 172)),
    )
    return np.repeat(np.round(255 * light.clip(0, 1)).astype(np.uint8)[..., None], 3, axis=2)


def test_two_equal_views_give_the_raw_score_of_an_uncalibrated_network_as_the_weight() -> None:
    labels = label(Same(0.5, 0.5, raw_score=0.7), GREY, BOXES_XYXY_PX)
    np.testing.assert_allclose(labels.keypoints_xy_px, np.tile([86, 88], (1, 17, 1)), atol=1e-4)
    np.testing.assert_allclose(labels.weight, 0.7, atol=1e-4)


def test_a_calibrated_students_probability_is_the_weight_whatever_its_raw_score() -> None:
    calibration = constant_calibration(score=0.6, sigma_cell=1)
    student = Same(0.5, 0.5, raw_score=0.2, calibration=calibration)
    np.testing.assert_allclose(label(student, GREY, BOXES_XYXY_PX).weight, 0.6, atol=1e-4)


def test_a_calibration_gets_the_width_of_each_views_crop() -> None:
    widths_px: list[list[float]] = []

    class Sized(Calibration):
        def apply(
            self, raw_score: FloatArray, sigma_cell: FloatArray, crop_widths_px: FloatArray
        ) -> Calibrated:
            widths_px.append(crop_widths_px.tolist())
            return super().apply(raw_score, sigma_cell, crop_widths_px)

    sized = Sized.model_validate(constant_calibration(score=0.6, sigma_cell=1).model_dump())
    label(Same(0.5, 0.5, raw_score=0.2, calibration=sized), GREY, BOXES_XYXY_PX)
    assert widths_px == [[90], [pytest.approx(90 * WIDENING)]]


def test_a_moved_second_view_lowers_the_weight_by_the_oks_term() -> None:
    labels = label(Same(0.5, 0.25, raw_score=0.8), GREY, BOXES_XYXY_PX)
    # A quarter of 120 pixels above the centre, then of 144 turned by 20 degrees to the right:
    # (86, 58) and (98.31, 54.17), 12.89 pixels apart in an area of 0.53 * 72 * 96.
    np.testing.assert_allclose(labels.keypoints_xy_px[0, NOSE], [86, 58], atol=1e-3)
    expected = 0.8 * np.exp(-(12.895**2) / (2 * 3663.36 * 0.214**2))
    assert expected == pytest.approx(0.487, abs=0.001)
    assert labels.weight[0, LEFT_HIP] == pytest.approx(expected, abs=1e-4)
    assert labels.weight[0, NOSE] == 0


def test_a_mirrored_photo_gets_mirrored_labels() -> None:
    photo_HWC = with_spots((70, 80), (100, 95))
    mirrored_HWC = np.ascontiguousarray(photo_HWC[:, ::-1])
    mirrored_boxes = 171 - BOXES_XYXY_PX[:, [2, 1, 0, 3]]
    mirrored_boxes[:, [1, 3]] = BOXES_XYXY_PX[:, [1, 3]]
    labels = label(Predictor(Halves()), photo_HWC, BOXES_XYXY_PX)
    mirrored = label(Predictor(Halves()), mirrored_HWC, mirrored_boxes)
    np.testing.assert_allclose(labels.keypoints_xy_px[0, LEFT_HIP], [70, 80], atol=0.6)
    np.testing.assert_allclose(labels.keypoints_xy_px[0, RIGHT_HIP], [100, 95], atol=0.6)
    np.testing.assert_allclose(mirrored.keypoints_xy_px[0, LEFT_HIP], [71, 95], atol=0.6)
    np.testing.assert_allclose(mirrored.keypoints_xy_px[0, RIGHT_HIP], [101, 80], atol=0.6)
    assert min(labels.weight[0, LEFT_HIP], mirrored.weight[0, LEFT_HIP]) > 0.8


def test_several_people_are_labelled_each_in_their_box() -> None:
    photo_HWC = with_spots((40, 50), (120, 120))
    boxes = np.array([[4, 2, 76, 98], [84, 72, 156, 168]], np.float32)
    labels = label(Predictor(Halves()), photo_HWC, boxes)
    np.testing.assert_allclose(labels.keypoints_xy_px[:, NOSE], [[40, 50], [120, 120]], atol=0.6)


def test_what_lies_outside_the_picture_has_no_weight() -> None:
    narrow = GREY[:, :80]
    labels = label(Same(0.5, 0.5, raw_score=0.7), np.ascontiguousarray(narrow), BOXES_XYXY_PX)
    assert not labels.weight.any()


def test_nobody_has_no_labels() -> None:
    labels = label(Same(0.5, 0.5, raw_score=0.7), GREY, np.empty((0, 4), np.float32))
    assert labels.keypoints_xy_px.shape == (0, 17, 2)
    assert labels.weight.shape == (0, 17)


def test_boxes_of_another_shape_are_refused() -> None:
    with pytest.raises(ArrayError, match="boxes_xyxy_px"):
        label(Same(0.5, 0.5, raw_score=0.7), GREY, BOXES_XYXY_PX[0])


@pytest.mark.parametrize(
    ("raw_score", "weight"), [(1.3, 1), (0.4, 0.4), (MIN_WEIGHT - 0.01, 0), (-0.2, 0)]
)
def test_raw_scores_are_clamped_and_faint_ones_count_nothing(
    raw_score: float, weight: float
) -> None:
    labels = label(Same(0.5, 0.5, raw_score=raw_score), GREY, BOXES_XYXY_PX)
    np.testing.assert_allclose(labels.weight, np.full((1, 17), weight), atol=1e-4)


def test_a_distance_lowers_the_weight_less_on_a_larger_person() -> None:
    scores, distances_px = np.ones((2, 17), np.float32), np.full((2, 17), 20, np.float32)
    small, large = trust(scores, distances_px, areas_px2=np.array([3000, 30000], np.float32))
    assert (small <= large).all()
    assert small[LEFT_HIP] < large[LEFT_HIP]
