"""The student on the CPU: buckets, normalisation, precision."""

from pathlib import Path

import numpy as np
import pytest
import torch

from distilpose.model import crop, geometry
from distilpose.model.errors import ArrayError, ConfigError
from distilpose.model.load import packaged_student
from distilpose.model.networks import Student, build
from distilpose.model.runtime.engine import powers_of_two
from distilpose.model.runtime.precision import PRECISIONS
from distilpose.model.runtime.pytorch.engine import TorchEngine, cast_for_inference
from distilpose.model.weights import load
from golden_rules import filled_state, image_batch
from odd_images import read
from photos import BUS_BOXES_XYXY_PX, ZIDANE_BOXES_XYXY_PX, photo
from precisions import (
    MAX_RAW_SCORE_CHANGE,
    MAX_SHIFT_CROP_PX,
    MIN_OKS,
    PoseChanges,
    pose_changes,
)

GOLDEN_FOLDER = Path(__file__).parents[3] / "golden"
CPU = torch.device("cpu")


def student(name: str = "distilpose-s") -> Student:
    torch.manual_seed(0)
    network = build(name)
    assert isinstance(network, Student)
    return network


def engine(name: str = "distilpose-s", *, buckets: tuple[int, ...] = (1, 2, 4)) -> TorchEngine:
    return TorchEngine(student(name), device="cpu", precision="float32", buckets=buckets)


@pytest.fixture(scope="module")
def crops_BHWC() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (7, 8, 6, 3), np.uint8)
    return noise.repeat(32, 1).repeat(32, 2)


def test_buckets_are_powers_of_two_and_the_largest() -> None:
    assert powers_of_two(1) == (1,)
    assert powers_of_two(8) == (1, 2, 4, 8)
    assert powers_of_two(12) == (1, 2, 4, 8, 12)
    assert powers_of_two(8, each_up_to=8) == (1, 2, 3, 4, 5, 6, 7, 8)
    assert powers_of_two(24, each_up_to=4) == (1, 2, 3, 4, 8, 16, 24)
    assert powers_of_two(2, each_up_to=8) == (1, 2)


def test_answers_have_the_promised_shapes(crops_BHWC: np.ndarray) -> None:
    arrays = engine().run(crops_BHWC)
    assert [a.shape for a in arrays] == [(7, 17, 2), (7, 17), (7, 17, 2)]
    assert all(a.dtype == np.float32 for a in arrays)
    assert ((arrays.xy_crop >= 0) & (arrays.xy_crop <= 1)).all()
    assert (arrays.sigma_cell > 0).all()


def test_no_crops_give_no_answers() -> None:
    arrays = engine().run(np.zeros((0, 256, 192, 3), np.uint8))
    assert [a.shape for a in arrays] == [(0, 17, 2), (0, 17), (0, 17, 2)]


@pytest.mark.parametrize("name", ["distilpose-s", "distilpose-n"])
def test_a_crop_gets_the_same_answer_in_any_company(name: str, crops_BHWC: np.ndarray) -> None:
    student_engine = engine(name, buckets=(1, 4))
    together = student_engine.run(crops_BHWC)
    for index in range(len(crops_BHWC)):
        alone = student_engine.run(crops_BHWC[index : index + 1])
        shift_px = np.abs(alone.xy_crop[0] - together.xy_crop[index]) * [192, 256]
        assert shift_px.max() <= 0.02
        np.testing.assert_allclose(alone.raw_score[0], together.raw_score[index], atol=1e-4)


@pytest.mark.parametrize("name", ["distilpose-s", "distilpose-l"])
def test_folding_the_norms_changes_nothing_but_rounding(name: str) -> None:
    network = build(name)
    assert isinstance(network, Student)
    network.load_state_dict(filled_state(name))
    network.eval()
    batch = image_batch()
    with torch.inference_mode():
        expected = network(batch)
        folded = cast_for_inference(network, device="cpu", dtype=torch.float32)
        answered = folded(batch)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
    for ours, theirs in ((answered.xy_crop, expected.xy_crop), (answered[3], expected[3])):
        assert float(((ours - theirs).abs() / (1 + theirs.abs())).max()) < 1e-4


@pytest.fixture(scope="module")
def changed_by_bfloat16() -> PoseChanges:
    """The changes for people of two photos and their mirror images, with the packaged student."""
    crops = [
        crop.cut(read(photo(name)), geometry.crop_regions(np.array(boxes_xyxy_px, np.float32)))
        for name, boxes_xyxy_px in (
            ("bus.jpg", BUS_BOXES_XYXY_PX),
            ("zidane.jpg", ZIDANE_BOXES_XYXY_PX),
        )
    ]
    crops_BHWC = np.concatenate([*crops, *map(crop.mirror, crops)])
    exact, rough = (
        TorchEngine(
            load(packaged_student()).network, device="cpu", precision=precision, buckets=(4,)
        )
        for precision in PRECISIONS
    )
    return pose_changes(exact.run(crops_BHWC), rough.run(crops_BHWC))


def test_in_bfloat16_everyone_keeps_their_pose(changed_by_bfloat16: PoseChanges) -> None:
    assert changed_by_bfloat16.oks.min() >= MIN_OKS


def test_in_bfloat16_sure_keypoints_stay_within_half_a_heatmap_cell(
    changed_by_bfloat16: PoseChanges,
) -> None:
    assert len(changed_by_bfloat16.sure_shift_crop_px) >= 24
    assert changed_by_bfloat16.sure_shift_crop_px.max() <= MAX_SHIFT_CROP_PX


def test_in_bfloat16_the_output_stays_exact() -> None:
    rough = TorchEngine(student(), device="cpu", precision="bfloat16", buckets=(1,))
    dtypes = {parameter.dtype for parameter in rough.network.output_layer.parameters()}
    assert dtypes == {torch.float32}


def test_in_bfloat16_scores_stay_near(changed_by_bfloat16: PoseChanges) -> None:
    assert changed_by_bfloat16.raw_score.max() <= MAX_RAW_SCORE_CHANGE


def test_normalised_crops_are_the_published_tensor() -> None:
    geometry_golden = np.load(GOLDEN_FOLDER / "geometry.npz")
    warp = np.load(GOLDEN_FOLDER / "warp.npz")
    y, x = np.mgrid[:180, :240]
    squares = np.where((x // 12 + y // 12) % 2 == 1, 220, 20)
    image = np.stack([x * 255 // 239, y * 255 // 179, squares], -1).astype(np.uint8)
    box = geometry_golden["boxes"][warp["box_index"][0]]
    crops = crop.cut(image, geometry.crop_regions(geometry.xywh_to_xyxy(box[None])))
    tensor = engine().normalise(torch.from_numpy(crops)).numpy()
    # Eight grey levels of OpenCV's rounding are 8 / 255 / 0.224 of the normalised scale.
    np.testing.assert_allclose(tensor[0, :, ::8, ::8], warp["tensor_sub"][0], atol=0.15)
    assert np.abs(tensor[0, :, ::8, ::8] - warp["tensor_sub"][0]).mean() < 0.005


def test_warm_up_times_every_bucket() -> None:
    seconds = engine(buckets=(1, 2)).warm_up()
    assert list(seconds) == [1, 2]
    assert all(value > 0 for value in seconds.values())


def test_crops_of_another_size_are_refused() -> None:
    with pytest.raises(ArrayError, match=r"crops: expected shape .* got \(1, 128, 96, 3\)"):
        engine().run(np.zeros((1, 128, 96, 3), np.uint8))


@pytest.mark.parametrize("buckets", [(), (0, 1), (2, 1), (1, 1)])
def test_buckets_must_rise(buckets: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="buckets must rise"):
        TorchEngine(student(), device="cpu", precision="float32", buckets=buckets)
