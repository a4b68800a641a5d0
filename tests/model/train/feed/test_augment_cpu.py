"""Augmentation by OpenCV: the same draws and positions as whole batches, and similar pixels."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from distilpose.model.configs import IMAGENET, ZERO_TO_ONE, Normalisation
from distilpose.model.train.feed import augment, augment_cpu
from distilpose.model.train.feed.augment import PUBLISHED, AugmentSettings
from distilpose.model.train.feed.batch import StoredBatch, TrainBatch
from photos import photo_path
from stored_crops import (
    crops_with_blob,
    noisy_crops,
    only,
    pixels,
    seeded,
    standing_people,
    stored_batch,
)

EVERYTHING = PUBLISHED.model_copy(update={"box_jitter": 0.05})
WHOLE = (256, 192)


def smooth_crops(count: int) -> StoredBatch:
    """Parts of a photo without fine detail, on which two ways of sampling hardly differ."""
    with Image.open(photo_path("bus.jpg")) as photo:
        image_HWC = cv2.GaussianBlur(np.asarray(photo), (0, 0), 3)
    tops = np.linspace(0, 700, count).astype(int)
    stored = [image_HWC[top : top + 352, 100:364] for top in tops]
    stored_BHWC = np.stack(stored).astype(np.uint8)
    xy_store_px = np.random.default_rng(0).uniform(-20, 300, (count, 17, 2))
    return stored_batch(stored_BHWC, xy_store_px)


def both(
    batch: StoredBatch, settings: AugmentSettings, size_hw: tuple[int, int] = WHOLE, seed: int = 0
) -> tuple[TrainBatch, TrainBatch]:
    whole, one_by_one = (
        way(batch, settings, generator=seeded(seed), normalisation=IMAGENET, size_hw=size_hw)
        for way in (augment.augment, augment_cpu.augment)
    )
    return whole, one_by_one


def difference(
    batch: StoredBatch, settings: AugmentSettings, seed: int = 0
) -> npt.NDArray[np.float32]:
    whole, one_by_one = both(batch, settings, seed=seed)
    off = pixels(one_by_one.crops_BCHW) - pixels(whole.crops_BCHW)
    return np.asarray(np.abs(off), np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_keypoints_lie_where_whole_batches_have_them(seed: int) -> None:
    whole, one_by_one = both(smooth_crops(16), EVERYTHING, seed=seed)
    for name in ("xy_crop_px", "weight", "outside"):
        assert torch.equal(getattr(one_by_one, name), getattr(whole, name))
    assert one_by_one.outside.any()


@pytest.mark.parametrize("seed", range(3))
def test_regions_are_those_of_whole_batches(seed: int) -> None:
    assert difference(smooth_crops(16), EVERYTHING, seed).mean() <= 0.6


@pytest.mark.parametrize("size_hw", [(128, 96), (64, 48)])
def test_small_inputs_show_the_same(size_hw: tuple[int, int]) -> None:
    whole, one_by_one = both(smooth_crops(8), EVERYTHING, size_hw)
    assert one_by_one.crops_BCHW.shape == (8, 3, *size_hw)
    off = np.abs(pixels(one_by_one.crops_BCHW) - pixels(whole.crops_BCHW))
    assert off.mean() <= 2  # two ways of averaging


def test_a_mark_is_where_its_keypoint_is() -> None:
    batch = stored_batch(crops_with_blob(16, (131.3, 184.8)), (131.3, 184.8))
    _, got = both(batch, EVERYTHING)
    light = pixels(got.crops_BCHW).sum(3)
    for crop_HW, xy_crop_px in zip(light, got.xy_crop_px[:, 0].numpy(), strict=True):
        row, column = np.unravel_index(crop_HW.argmax(), crop_HW.shape)
        np.testing.assert_allclose((column, row), xy_crop_px, atol=1.5)


@pytest.mark.parametrize("field", ["brightness", "contrast", "saturation"])
def test_colours_change_as_in_whole_batches(field: str) -> None:
    off = difference(smooth_crops(16), only(**{field: 0.5}))
    assert off.mean() <= 0.7
    assert off.max() <= 3


def test_the_same_crops_are_blurred() -> None:
    whole, one_by_one = both(stored_batch(noisy_crops(20)), only(blur=0.4))
    detail = [pixels(each.crops_BCHW).std((1, 2, 3)) for each in (whole, one_by_one)]
    blurred = [each < 0.5 * each.max() for each in detail]
    assert blurred[0].tolist() == blurred[1].tolist()
    assert 0 < blurred[0].sum() < 20
    assert difference(smooth_crops(20), only(blur=0.4)).mean() <= 1


def test_the_same_rectangles_are_painted_over() -> None:
    batch = stored_batch(np.zeros((40, 352, 264, 3), np.uint8))
    whole, one_by_one = both(batch, only(cut_outs=2, cut_out_size=0.6))
    painted = [pixels(each.crops_BCHW) for each in (whole, one_by_one)]
    assert np.abs(painted[0] - painted[1]).max() <= 1
    assert painted[0].max() > 200


@pytest.mark.parametrize("seed", range(3))
def test_the_same_neighbours_are_pasted(seed: int) -> None:
    batch = smooth_crops(16)._replace(xy_store_px=standing_people(16))
    settings = EVERYTHING.model_copy(update={"neighbour_probability": 0.7})
    whole, one_by_one = both(batch, settings, seed=seed)
    off = np.abs(pixels(one_by_one.crops_BCHW) - pixels(whole.crops_BCHW))
    assert off.mean() <= 0.6
    alone, _ = both(batch, EVERYTHING, seed=seed)
    assert np.abs(pixels(whole.crops_BCHW) - pixels(alone.crops_BCHW)).mean() > 2


@pytest.mark.parametrize("normalisation", [IMAGENET, ZERO_TO_ONE], ids=["imagenet", "0..1"])
def test_the_input_is_normalised_with_its_channels_last(normalisation: Normalisation) -> None:
    batch = stored_batch(np.full((2, 352, 264, 3), (0, 128, 255), np.uint8))
    got = augment_cpu.augment(batch, only(), generator=seeded(), normalisation=normalisation)
    mean, std = (np.array(values) for values in normalisation)
    want = (np.array([0, 128, 255]) / 255 - mean) / std
    assert got.crops_BCHW[0, :, 128, 96].tolist() == pytest.approx(want.tolist(), abs=1e-5)
    assert got.crops_BCHW.is_contiguous(memory_format=torch.channels_last)


def test_the_stored_crops_and_torchs_own_generator_are_left_as_they_were() -> None:
    stored = noisy_crops(2)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    settings = EVERYTHING.model_copy(
        update={"brightness": 0.3, "saturation": 0.3, "blur": 0.9, "cut_outs": 2}
    )
    augment_cpu.augment(
        stored_batch(stored), settings, generator=seeded(), normalisation=ZERO_TO_ONE
    )
    np.testing.assert_array_equal(stored, noisy_crops(2))
    assert torch.equal(torch.get_rng_state(), before)
