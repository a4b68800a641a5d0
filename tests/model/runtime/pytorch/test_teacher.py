"""A teacher in the student's place: its peaks as keypoints, its flip test on heatmaps."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from distilpose.model import crop
from distilpose.model.arrays import CropsBHWC
from distilpose.model.errors import ArrayError
from distilpose.model.heatmaps import heatmap_target
from distilpose.model.networks import Teacher, build
from distilpose.model.predict import Predictor
from distilpose.model.runtime.precision import Precision
from distilpose.model.runtime.pytorch.teacher import TeacherEngine
from distilpose.model.skeleton import KEYPOINT_NAMES
from golden_rules import filled_state

CPU = torch.device("cpu")
LEFT_WRIST = KEYPOINT_NAMES.index("left_wrist")
RIGHT_WRIST = KEYPOINT_NAMES.index("right_wrist")
CROPS = np.random.default_rng(0).integers(0, 256, (3, 256, 192, 3), np.uint8)
DARK_TO_BRIGHT = np.broadcast_to(
    np.arange(192, dtype=np.uint8)[:, None], (1, 256, 192, 3)
)  # mirrored, it is bright on the left


def teacher() -> Teacher:
    network = build("tokenpose-s")
    assert isinstance(network, Teacher)
    network.load_state_dict(filled_state("tokenpose-s"))
    return network.eval()


def on_trunk() -> Teacher:
    """A `tokenpose-n` with random weights, the same each time."""
    torch.manual_seed(0)
    network = build("tokenpose-n")
    assert isinstance(network, Teacher)
    return network.eval()


def engine_of(network: Teacher, precision: Precision = "float32") -> TeacherEngine:
    return TeacherEngine(network, device="cpu", precision=precision, buckets=(1, 2))


@pytest.fixture(scope="module")
def engine() -> TeacherEngine:
    return engine_of(teacher())


class LeftWristSeen(TeacherEngine):
    """Shows the left wrist at cell (20, 30), and in a mirrored crop at the mirrored place."""

    def __init__(self) -> None:
        self.buckets = (1,)

    def heatmaps(self, crops_BHWC: CropsBHWC) -> Tensor:
        mirrored = crops_BHWC[0, 0, 0, 0] > 0
        joint, column = (RIGHT_WRIST, 28) if mirrored else (LEFT_WRIST, 20)
        xy_crop_px = torch.tensor([column * 4.0, 30 * 4.0]).expand(1, 17, 2)
        seen = torch.arange(17)[None] == joint
        return heatmap_target(xy_crop_px, seen.float()).heatmaps_BKHW


@pytest.mark.parametrize("network", [teacher, on_trunk])
def test_heatmaps_are_the_networks_own_whatever_the_batches(network: Callable[[], Teacher]) -> None:
    engine = engine_of(network())
    with torch.inference_mode():
        want_BKHW = network()(engine.normalise(torch.from_numpy(CROPS))).heatmaps_BKHW
    torch.testing.assert_close(engine.heatmaps(CROPS), want_BKHW, atol=1e-4, rtol=1e-4)


def test_an_answer_has_the_shape_of_a_students(engine: TeacherEngine) -> None:
    arrays = engine.run(CROPS)
    assert [column.shape for column in arrays] == [(3, 17, 2), (3, 17), (3, 17, 2)]
    assert {column.dtype for column in arrays} == {np.dtype(np.float32)}


def test_keypoints_are_peaks_raw_scores_their_values_and_spreads_the_targets() -> None:
    arrays = LeftWristSeen().run(DARK_TO_BRIGHT)
    np.testing.assert_allclose(arrays.xy_crop[0, LEFT_WRIST], [20 / 48, 30 / 64], atol=1e-3)
    assert arrays.raw_score[0, LEFT_WRIST] == 1
    assert arrays.raw_score[0, RIGHT_WRIST] == 0
    assert (arrays.sigma_cell == 2).all()


def test_the_flip_test_averages_heatmaps_with_left_and_right_swapped_back() -> None:
    arrays = LeftWristSeen().run_flip_test(DARK_TO_BRIGHT)
    np.testing.assert_allclose(arrays.xy_crop[0, LEFT_WRIST], [20 / 48, 30 / 64], atol=1e-3)
    assert arrays.raw_score[0, LEFT_WRIST] == 1
    assert arrays.raw_score[0, RIGHT_WRIST] == 0


@pytest.mark.parametrize("flip_test", [False, True])
def test_a_predictor_asks_the_teacher_with_or_without_the_flip_test(flip_test: bool) -> None:
    asked = LeftWristSeen()
    arrays = Predictor(asked).answers(crop.mirror(DARK_TO_BRIGHT), flip_test=flip_test)
    want = asked.run_flip_test if flip_test else asked.run
    for got, column in zip(arrays, want(crop.mirror(DARK_TO_BRIGHT)), strict=True):
        np.testing.assert_array_equal(got, column)


def test_poses_lie_in_their_boxes(engine: TeacherEngine) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (300, 400, 3), np.uint8)
    box_xyxy_px = np.array([[100, 50, 190, 170]], np.float32)
    [pose] = Predictor(engine).poses(photo, box_xyxy_px, np.ones(1, np.float32))
    size_px = 120 * 1.25  # the crop's height
    assert (np.abs(pose.keypoints_xy_px - [145, 110]) <= size_px / 2).all()
    np.testing.assert_allclose(pose.sigma_px, 2 * size_px / 64, rtol=1e-5)


@pytest.mark.parametrize("network", [teacher, on_trunk])
def test_in_bfloat16_the_heatmap_layers_stay_exact(network: Callable[[], Teacher]) -> None:
    engine = engine_of(network(), "bfloat16")
    dtypes = {parameter.dtype for parameter in engine.network.output_layer.parameters()}
    assert dtypes == {torch.float32}
    assert engine.heatmaps(CROPS[:1]).dtype == torch.float32


def test_crops_of_another_size_are_refused(engine: TeacherEngine) -> None:
    with pytest.raises(ArrayError, match="crops"):
        engine.run(np.zeros((1, 192, 256, 3), np.uint8))
