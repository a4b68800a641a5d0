"""From one image to poses: the flip test, mapping back, and the reference path."""

from pathlib import Path

import numpy as np
import pytest
import torch

from calibrations import constant_calibration
from distilpose.model import geometry, predict
from distilpose.model.errors import ArrayError, ConfigError
from distilpose.model.networks import Student, build
from distilpose.model.runtime.engine import PoseArrays, merge_mirrored
from distilpose.model.runtime.pytorch.engine import TorchEngine
from golden_rules import filled_state, image_batch

GOLDEN_FOLDER = Path(__file__).parents[1] / "golden"
CPU = torch.device("cpu")


def arrays_of(network: Student, crops_BCHW: torch.Tensor) -> PoseArrays:
    with torch.inference_mode():
        out = network(crops_BCHW)
    return PoseArrays(out.xy_crop.numpy(), out.raw_score.numpy(), out.sigma_cell.numpy())


@pytest.fixture(scope="module")
def golden_arrays() -> tuple[PoseArrays, PoseArrays]:
    network = build("distilpose-s")
    assert isinstance(network, Student)
    network.load_state_dict(filled_state("distilpose-s"))
    network.eval()
    batch = image_batch()
    return arrays_of(network, batch), arrays_of(network, batch.flip(3))


def test_the_published_flip_test_is_the_published_one(
    golden_arrays: tuple[PoseArrays, PoseArrays],
) -> None:
    golden = np.load(GOLDEN_FOLDER / "flip_test_distilpose-s.npz")
    merged = merge_mirrored(*golden_arrays, published=True)
    np.testing.assert_allclose(merged.xy_crop, golden["merged_pred"], atol=2e-5)
    np.testing.assert_allclose(merged.raw_score, golden["merged_score"][..., 0], atol=2e-5)
    regions = geometry.CropRegions(golden["center"], golden["scale"] * 200)
    xy_px = geometry.crop_to_image(merged.xy_crop, regions)
    np.testing.assert_allclose(xy_px, golden["preds"][..., :2], atol=0.02)


def test_our_flip_test_swaps_the_scores_of_left_and_right() -> None:
    points, scores = np.zeros((1, 17, 2), np.float32), np.zeros((1, 17), np.float32)
    plain = PoseArrays(points, scores, points)
    mirrored_score = scores.copy()
    mirrored_score[0, 9] = 1.0  # the left wrist of the mirror image is the right one
    mirrored = plain._replace(raw_score=mirrored_score)
    merged = merge_mirrored(plain, mirrored)
    assert merged.raw_score[0, 10] == 0.5
    assert merged.raw_score[0, 9] == 0.0


def test_a_symmetric_picture_gives_a_symmetric_merge(
    golden_arrays: tuple[PoseArrays, PoseArrays],
) -> None:
    plain, mirrored = golden_arrays
    one_way = merge_mirrored(plain, mirrored)
    other_way = merge_mirrored(mirrored, plain)
    back = geometry.mirror_xy_crop(other_way.xy_crop)
    np.testing.assert_allclose(one_way.xy_crop, back, atol=1e-5)


def test_scores_are_clamped_and_raw_scores_kept() -> None:
    raw = np.linspace(-1, 2, 17, dtype=np.float32)[None]
    arrays = PoseArrays(np.full((1, 17, 2), 0.5, np.float32), raw, np.ones((1, 17, 2), np.float32))
    box = np.array([[0, 0, 38.4, 51.2]], np.float32)
    [pose] = predict.assemble(arrays, geometry.crop_regions(box), box, np.array([0.5]))
    assert pose.keypoint_score.min() == 0
    assert pose.keypoint_score.max() == 1
    np.testing.assert_array_equal(pose.raw_score, raw[0])
    assert pose.score == pytest.approx(float(pose.keypoint_score.mean()) * 0.5)
    np.testing.assert_allclose(pose.keypoints_xy_px, np.full((17, 2), [19.2, 25.6]), atol=1e-4)
    np.testing.assert_allclose(pose.sigma_px, 1.0, rtol=1e-6)


def test_a_calibration_answers_scores_and_spreads_and_leaves_the_places() -> None:
    calibration = constant_calibration(score=0.75, sigma_cell=1.0)
    middle = np.full((1, 17, 2), 0.5, np.float32)
    arrays = PoseArrays(middle, np.full((1, 17), 0.2, np.float32), middle)
    box = np.array([[0, 0, 76.8, 102.4]], np.float32)
    regions, ones = geometry.crop_regions(box), np.ones(1, np.float32)
    [plain] = predict.assemble(arrays, regions, box, ones)
    [pose] = predict.assemble(arrays, regions, box, ones, calibration=calibration)
    np.testing.assert_allclose(pose.keypoint_score, 0.75)
    np.testing.assert_allclose(pose.sigma_px, 2.0, rtol=1e-6)  # a cell is 96 px / 48
    np.testing.assert_array_equal(pose.keypoints_xy_px, plain.keypoints_xy_px)
    np.testing.assert_array_equal(pose.raw_score, plain.raw_score)


@pytest.fixture(scope="module")
def predictor() -> predict.Predictor:
    torch.manual_seed(0)
    network = build("distilpose-s")
    assert isinstance(network, Student)
    engine = TorchEngine(network, device="cpu", precision="float32", buckets=(1, 4))
    return predict.Predictor(engine)


IMAGE = np.random.default_rng(1).integers(0, 256, (300, 400, 3), np.uint8)
BOXES = np.array([[10, 20, 110, 220], [200, 50, 390, 290]], np.float32)


def test_poses_come_in_the_order_of_the_boxes(predictor: predict.Predictor) -> None:
    both = predictor.poses(IMAGE, BOXES, np.ones(2, np.float32))
    [second] = predictor.poses(IMAGE, BOXES[1:], np.ones(1, np.float32))
    np.testing.assert_allclose(both[1].keypoints_xy_px, second.keypoints_xy_px, atol=0.05)


def test_no_boxes_give_no_poses(predictor: predict.Predictor) -> None:
    assert predictor.poses(IMAGE, np.zeros((0, 4), np.float32), np.zeros(0, np.float32)) == []


@pytest.mark.parametrize("flip_test", [False, True])
def test_moving_the_picture_moves_the_pose(predictor: predict.Predictor, flip_test: bool) -> None:
    ones = np.ones(2, np.float32)
    moved = np.zeros((340, 430, 3), np.uint8)
    moved[40:, 30:] = IMAGE
    inner = np.array([[80, 80, 200, 240], [150, 60, 260, 220]], np.float32)
    here = predictor.poses(IMAGE, inner, ones, flip_test=flip_test)
    there = predictor.poses(
        moved, inner + np.array([30, 40, 30, 40], np.float32), ones, flip_test=flip_test
    )
    assert len(here) == 2
    for a, b in zip(here, there, strict=True):
        moved_px = a.keypoints_xy_px + np.array([30, 40], np.float32)
        np.testing.assert_allclose(moved_px, b.keypoints_xy_px, atol=0.02)


def test_without_a_detector_nothing_is_detected(predictor: predict.Predictor) -> None:
    with pytest.raises(ConfigError, match="no detector"):
        predictor.detect([IMAGE], min_box_score=0.25)


def test_a_grey_image_is_refused(predictor: predict.Predictor) -> None:
    with pytest.raises(ArrayError, match=r"image: expected shape .* got \(300, 400\)"):
        predictor.poses(IMAGE[..., 0], BOXES, np.ones(2, np.float32))
