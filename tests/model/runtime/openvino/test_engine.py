"""The student run by OpenVINO beside the same student run by torch."""

import numpy as np
import pytest
import torch

from by_openvino import engine_of
from distilpose.model import crop, geometry
from distilpose.model.arrays import CropsBHWC
from distilpose.model.load import packaged_student
from distilpose.model.networks import Student, build
from distilpose.model.runtime.engine import PoseArrays, PoseEngine
from distilpose.model.runtime.openvino import graphs
from distilpose.model.runtime.openvino.engine import OpenVinoEngine
from distilpose.model.runtime.pytorch.engine import TorchEngine
from distilpose.model.weights import load
from golden_rules import scaled_error
from odd_images import read
from photos import BUS_BOXES_XYXY_PX, photo
from precisions import MAX_RAW_SCORE_CHANGE, MAX_SHIFT_CROP_PX, MIN_OKS, pose_changes

WITHIN_PX = 0.02
"""Crop pixels: the tolerance for batch composition and runtime in float32."""


def packaged() -> Student:
    network = load(packaged_student()).network
    assert isinstance(network, Student)
    return network


@pytest.fixture(scope="module")
def engine() -> OpenVinoEngine:
    return engine_of(packaged(), buckets=(1, 2, 4))


@pytest.fixture(scope="module")
def in_bfloat16() -> OpenVinoEngine:
    """The same student in bfloat16; on a CPU without it, OpenVINO computes in float32."""
    return engine_of(packaged(), precision="bfloat16", buckets=tuple(range(1, 9)))


@pytest.fixture(scope="module")
def crops_BHWC() -> CropsBHWC:
    """Five crops of bus.jpg: its four people, and the first one mirrored."""
    boxes_xyxy_px = np.array(BUS_BOXES_XYXY_PX, np.float32)
    crops = crop.cut(read(photo("bus.jpg")), geometry.crop_regions(boxes_xyxy_px))
    return np.concatenate([crops, crop.mirror(crops[:1])])


@pytest.fixture(scope="module")
def by_torch(crops_BHWC: CropsBHWC) -> PoseArrays:
    engine = TorchEngine(packaged(), device="cpu", precision="float32", buckets=(1, 2, 4))
    return engine.run(crops_BHWC)


def shift_px(some: PoseArrays, other: PoseArrays) -> float:
    return float((np.abs(some.xy_crop - other.xy_crop) * [192, 256]).max())


def test_it_answers_as_torch_does(
    engine: OpenVinoEngine, crops_BHWC: CropsBHWC, by_torch: PoseArrays
) -> None:
    answers = engine.run(crops_BHWC)
    assert shift_px(answers, by_torch) <= WITHIN_PX
    np.testing.assert_allclose(answers.raw_score, by_torch.raw_score, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(answers.sigma_cell, by_torch.sigma_cell, rtol=1e-4, atol=1e-4)
    assert [column.dtype for column in answers] == [np.float32] * 3


def test_a_padded_bucket_answers_as_a_full_one(
    engine: OpenVinoEngine, crops_BHWC: CropsBHWC, by_torch: PoseArrays
) -> None:
    answers = engine.run(crops_BHWC[:3])
    assert len(answers.raw_score) == 3
    assert shift_px(answers, PoseArrays(*(column[:3] for column in by_torch))) <= WITHIN_PX


def test_in_bfloat16_the_poses_are_nearly_those_in_float32(
    engine: OpenVinoEngine, in_bfloat16: OpenVinoEngine, crops_BHWC: CropsBHWC
) -> None:
    changes = pose_changes(engine.run(crops_BHWC), in_bfloat16.run(crops_BHWC))
    assert changes.oks.min() >= MIN_OKS
    assert changes.sure_shift_crop_px.max() <= MAX_SHIFT_CROP_PX
    assert changes.raw_score.max() <= MAX_RAW_SCORE_CHANGE
    assert bool(changes.raw_score.any()) == graphs.computes_bfloat16()


@pytest.mark.parametrize("which", ["engine", "in_bfloat16"])
def test_an_answer_does_not_depend_on_its_batch_in_any_bit(
    which: str, request: pytest.FixtureRequest, crops_BHWC: CropsBHWC
) -> None:
    engine: OpenVinoEngine = request.getfixturevalue(which)
    alone = [engine.run(crops_BHWC[index : index + 1]) for index in range(5)]
    for people in range(1, 6):
        answers = engine.run(crops_BHWC[:people])
        for column, *columns_alone in zip(answers, *alone, strict=True):
            np.testing.assert_array_equal(column, np.concatenate(columns_alone[:people]))


def test_mirrored_views_need_no_copy_by_the_caller(
    engine: OpenVinoEngine, crops_BHWC: CropsBHWC
) -> None:
    view = crop.mirror(crops_BHWC[:2])
    assert shift_px(engine.run(view), engine.run(view.copy())) <= WITHIN_PX


def on_trunk() -> Student:
    """A `distilpose-n` with random weights, the same each time."""
    torch.manual_seed(0)
    network = build("distilpose-n")
    assert isinstance(network, Student)
    return network


@pytest.fixture(scope="module")
def trunk_engines() -> tuple[OpenVinoEngine, PoseEngine]:
    """OpenVINO's, with a program for one person and one for three, and torch's."""
    by_torch = TorchEngine(on_trunk(), device="cpu", precision="float32", buckets=(1, 3))
    return engine_of(on_trunk(), buckets=(1, 3)), by_torch


@pytest.mark.parametrize("people", [1, 3])
def test_a_student_on_the_trunk_answers_as_by_torch(
    trunk_engines: tuple[OpenVinoEngine, PoseEngine], crops_BHWC: CropsBHWC, people: int
) -> None:
    answers, expected = (engine.run(crops_BHWC[:people]) for engine in trunk_engines)
    for ours, want in zip(answers, expected, strict=True):
        assert scaled_error(ours, want) <= 1e-4


def test_it_says_what_it_is(engine: OpenVinoEngine) -> None:
    assert engine.runtime == "openvino"
    assert (engine.device.kind, engine.precision) == ("cpu", "float32")
    assert list(engine.warm_up()) == [1, 2, 4]
