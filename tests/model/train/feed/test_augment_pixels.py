"""Augmentation of pixels alone: colours, blur and cut-outs."""

import numpy as np
import numpy.typing as npt
import torch

from distilpose.model.configs import IMAGENET
from distilpose.model.train.feed.augment import augment, plain
from distilpose.model.train.feed.batch import StoredBatch
from stored_crops import STORE_HW, noisy_crops, only, pixels, seeded, stored_batch


def grey_crops(count: int, value: int = 100) -> StoredBatch:
    return stored_batch(np.full((count, *STORE_HW, 3), value, np.uint8))


def changed_pixels(batch: StoredBatch, **fields: float) -> npt.NDArray[np.float32]:
    got = augment(
        batch, only(**fields), generator=seeded(), normalisation=IMAGENET, size_hw=(64, 48)
    )
    return pixels(got.crops_BCHW)


def test_brightness_multiplies_within_its_bounds() -> None:
    values = changed_pixels(grey_crops(200), brightness=0.3)[:, 32, 24, 0]
    assert 70 <= values.min() < 75
    assert 125 < values.max() <= 130.01


def test_brightness_ends_at_white() -> None:
    assert changed_pixels(grey_crops(50, value=250), brightness=0.5).max() <= 255.001


def test_contrast_leaves_a_crop_of_one_colour() -> None:
    values = changed_pixels(grey_crops(8), contrast=0.5)
    np.testing.assert_allclose(values, 100, atol=0.01)


def test_contrast_spreads_pixels_about_the_mean() -> None:
    stored = np.full((50, *STORE_HW, 3), 80, np.uint8)
    stored[:, :176] = 120
    values = changed_pixels(stored_batch(stored), contrast=0.5)
    upper, lower = values[:, 10, 24, 0], values[:, 54, 24, 0]
    np.testing.assert_allclose(upper + lower, 200, atol=1)
    assert 10 <= (upper - 100).min() < 13
    assert 27 < (upper - 100).max() <= 30.5


def test_saturation_leaves_grey_and_the_luma_of_colours() -> None:
    stored = np.full((50, *STORE_HW, 3), (150, 90, 60), np.uint8)
    np.testing.assert_allclose(changed_pixels(grey_crops(4), saturation=1), 100, atol=0.01)
    values = changed_pixels(stored_batch(stored), saturation=0.5)[:, 32, 24]
    np.testing.assert_allclose(values @ [0.299, 0.587, 0.114], 104.52, atol=0.01)
    spread = values.max(1) - values.min(1)
    assert 45 <= spread.min() < 55
    assert 125 < spread.max() <= 135.01


def test_a_blurred_crop_has_lost_its_fine_detail_and_others_have_not() -> None:
    got = augment(
        stored_batch(noisy_crops(40)), only(blur=0.3), generator=seeded(), normalisation=IMAGENET
    )
    detail = pixels(got.crops_BCHW).std((1, 2, 3))
    blurred = detail < 0.5 * detail.max()
    assert 5 <= blurred.sum() <= 19
    assert detail[~blurred].min() > 0.9 * detail.max()


def test_cut_outs_paint_rectangles_of_one_colour_and_leave_the_rest_and_the_keypoints() -> None:
    batch = stored_batch(noisy_crops(40), (130, 170))
    got = augment(
        batch, only(cut_outs=1, cut_out_size=0.5), generator=seeded(), normalisation=IMAGENET
    )
    want = plain(batch, normalisation=IMAGENET)
    painted = (got.crops_BCHW != want.crops_BCHW).any(1)
    assert (
        0.03 < float(painted.float().mean()) < 0.07
    )  # a quarter each way, less what lies outside: 1/16
    for crop_HWC, mask in zip(pixels(got.crops_BCHW), painted.numpy(), strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        hole = crop_HWC[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert hole.shape[0] <= 128
        assert hole.shape[1] <= 96
        assert np.ptp(hole, axis=(0, 1)).max() < 1e-3
    assert torch.equal(got.weight, want.weight)
