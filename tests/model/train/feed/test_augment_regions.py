"""The regions of augmented crops: frequency and amount of changes, and half bodies."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from distilpose.model.configs import IMAGENET
from distilpose.model.train.feed.augment import AugmentSettings, augment, plain
from distilpose.model.train.feed.batch import StoredBatch, TrainBatch
from golden_rules import golden_arrays
from stored_crops import BOX_WH, black_crops, only, seeded, stored_batch

GEOMETRY = golden_arrays("geometry")
NOSE, RIGHT_ANKLE = 0, 16
REGION_WIDTH = BOX_WH[1] * 0.75 * 1.25


def many_tiny_people() -> StoredBatch:
    """2000 people whose nose is in the middle of their stored crop, their ankle 10 px to the right.

    The crops are smaller than the box, so that thousands of them are cheap.
    """
    xy_store_px = np.full((17, 2), (12.0, 16.0))
    xy_store_px[RIGHT_ANKLE] = 22.0, 16.0
    return stored_batch(black_crops(2000, (32, 24)), xy_store_px)


def tiny(batch: StoredBatch, settings: AugmentSettings) -> TrainBatch:
    return augment(batch, settings, generator=seeded(), normalisation=IMAGENET, size_hw=(8, 6))


def drawn_scale_and_degrees(settings: AugmentSettings) -> tuple[Tensor, Tensor]:
    """Scale and clockwise rotation of 2000 regions, relative to the plain one."""
    xy_crop_px = tiny(many_tiny_people(), settings).xy_crop_px
    dx, dy = (xy_crop_px[:, RIGHT_ANKLE] - xy_crop_px[:, NOSE]).unbind(1)
    scale = 10 * (192 / REGION_WIDTH) / torch.hypot(dx, dy)
    return scale, -torch.atan2(dy, dx).rad2deg()


def drawn_shift_in_boxes(settings: AugmentSettings) -> Tensor:
    """(2000, 2), the shifts of the regions' centres in sides of the box, if none is scaled."""
    nose_xy = tiny(many_tiny_people(), settings).xy_crop_px[:, NOSE]
    return (torch.tensor([96.0, 128.0]) - nose_xy) * (REGION_WIDTH / 192) / torch.tensor(BOX_WH)


def share(mask: Tensor) -> float:
    return float(mask.float().mean())


def test_half_of_the_crops_are_mirrored_with_left_and_right_swapped() -> None:
    weight = np.linspace(0.1, 0.9, 17)
    batch = stored_batch(black_crops(2000, (32, 24)), (12.0, 16.0), weight=weight)
    left, right = (tiny(batch, only(flip=0.5)).weight[:, side] for side in (1, 2))
    mirrored = left == batch.weight[0, 2]
    assert share(mirrored) == pytest.approx(0.5, abs=0.04)
    assert torch.equal(torch.where(mirrored, left, right), batch.weight[:, 2])
    assert torch.equal(torch.where(mirrored, right, left), batch.weight[:, 1])


def test_scales_are_normal_and_cut_at_the_setting() -> None:
    scale, _ = drawn_scale_and_degrees(only(scale=0.35))
    assert float(scale.min()) == pytest.approx(0.65, abs=1e-3)
    assert float(scale.max()) == pytest.approx(1.35, abs=1e-3)
    assert share((scale - 1).abs() > 0.349) == pytest.approx(0.317, abs=0.04)
    assert share(scale > 1) == pytest.approx(0.5, abs=0.04)


def test_six_in_ten_rotate_with_a_normal_angle_cut_at_twice_the_setting() -> None:
    _, degrees = drawn_scale_and_degrees(only(rotation_degrees=45))
    rotated = degrees[degrees.abs() > 1e-3]
    assert len(rotated) / 2000 == pytest.approx(0.6, abs=0.04)
    assert float(rotated.abs().max()) == pytest.approx(90, abs=1e-2)
    assert share(rotated.abs() < 45) == pytest.approx(0.683, abs=0.04)
    assert share(rotated > 0) == pytest.approx(0.5, abs=0.05)


def test_three_in_ten_shift_by_up_to_a_fifth_of_the_box() -> None:
    shift = drawn_shift_in_boxes(only(shift=0.2))
    shifted = shift[shift.abs().amax(1) > 1e-3]
    assert len(shifted) / 2000 == pytest.approx(0.3, abs=0.04)
    assert 0.19 < float(shifted.abs().max()) <= 0.2001
    assert share(shifted.abs() < 0.1) == pytest.approx(0.5, abs=0.05)


def test_jittered_boxes_move_and_change_size_as_their_edges_do() -> None:
    scale, _ = drawn_scale_and_degrees(only(box_jitter=0.1))
    shift = drawn_shift_in_boxes(only(box_jitter=0.1)) * scale[:, None]
    edge_deviation = 0.096  # of a tenth of a normal draw cut at two deviations
    assert float(shift.std()) == pytest.approx(edge_deviation / 2**0.5, rel=0.05)
    assert float(scale.std()) == pytest.approx(edge_deviation * 2**0.5, rel=0.05)


def golden_people(count: int, *, visible: npt.ArrayLike = 1.0) -> StoredBatch:
    crops_BHWC = black_crops(count, (32, 24))
    return stored_batch(crops_BHWC, GEOMETRY["half_body_joints"], weight=visible)


def golden_half(half: str) -> npt.NDArray[np.float32]:
    """The positions of all keypoints of the golden person if one half of it is the region."""
    center, width = GEOMETRY[f"half_body_{half}_center"], GEOMETRY[f"half_body_{half}_scale"][0]
    joints = GEOMETRY["half_body_joints"]
    return np.asarray((joints - center) * (192 / (200 * width)) + [96, 128], np.float32)


def shows(got: TrainBatch, half: str) -> Tensor:
    return (got.xy_crop_px - torch.from_numpy(golden_half(half))).abs().amax((1, 2)) < 0.01


def test_half_bodies_are_the_published_regions_the_upper_in_69_of_100() -> None:
    got = tiny(golden_people(2000), only(half_body=1))
    upper, lower = shows(got, "upper"), shows(got, "lower")
    assert torch.equal(upper, ~lower)
    assert share(upper) == pytest.approx(0.691, abs=0.04)


def test_three_in_ten_are_cut_to_a_half() -> None:
    got = tiny(golden_people(2000), only(half_body=0.3))
    assert share(shows(got, "upper") | shows(got, "lower")) == pytest.approx(0.3, abs=0.04)


def test_a_person_of_eight_keypoints_stays_whole() -> None:
    batch = golden_people(50, visible=[1] * 8 + [0] * 9)
    assert torch.equal(
        tiny(batch, only(half_body=1)).xy_crop_px, plain(batch, normalisation=IMAGENET).xy_crop_px
    )


def test_a_person_without_legs_is_cut_to_the_upper_half() -> None:
    got = tiny(golden_people(50, visible=[1] * 11 + [0] * 6), only(half_body=1))
    assert bool(shows(got, "upper").all())


def test_keypoints_in_one_place_are_not_magnified_without_end() -> None:
    batch = many_tiny_people()._replace(xy_store_px=torch.full((2000, 17, 2), 1.0))
    got = tiny(batch, only(half_body=1))
    assert bool(torch.isfinite(got.crops_BCHW).all())
    assert torch.equal(got.xy_crop_px, torch.tensor([96.0, 128.0]).expand(2000, 17, 2))
