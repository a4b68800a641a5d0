"""Augmented batches: settings, seeds, keypoints that stay on their pixels, and no waiting."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from distilpose.model.configs import IMAGENET
from distilpose.model.train.feed.augment import OFF, PUBLISHED, AugmentSettings, augment, plain
from distilpose.model.train.feed.batch import StoredBatch
from stored_crops import (
    STORE_HW,
    bright_centers_crop_px,
    crops_with_blob,
    noisy_crops,
    pixels,
    seeded,
    stored_batch,
)

LEFT_WRIST, RIGHT_WRIST = 9, 10
EVERYTHING = AugmentSettings(
    box_jitter=0.05,
    brightness=0.3,
    contrast=0.3,
    saturation=0.4,
    blur=0.3,
    cut_outs=2,
    neighbour_probability=0.5,
)


def test_the_defaults_are_the_published_recipe() -> None:
    assert AugmentSettings() == PUBLISHED
    assert (PUBLISHED.flip, PUBLISHED.half_body, PUBLISHED.scale) == (0.5, 0.3, 0.35)
    assert (PUBLISHED.rotation_degrees, PUBLISHED.rotation_probability) == (45, 0.6)
    assert (PUBLISHED.shift, PUBLISHED.shift_probability) == (0.2, 0.3)
    assert (PUBLISHED.brightness, PUBLISHED.contrast, PUBLISHED.saturation) == (0, 0, 0)
    assert (PUBLISHED.blur, PUBLISHED.cut_outs, PUBLISHED.box_jitter) == (0, 0, 0)
    assert PUBLISHED.neighbour_probability == 0


def test_a_third_of_the_strength_shrinks_all_but_flip_detectors_error_and_neighbours() -> None:
    third = EVERYTHING.scaled(1 / 3)
    assert (third.flip, third.box_jitter) == (EVERYTHING.flip, EVERYTHING.box_jitter)
    assert third.neighbour_probability == EVERYTHING.neighbour_probability
    assert third.rotation_degrees == pytest.approx(15)
    assert third.half_body == pytest.approx(0.1)
    assert third.brightness == pytest.approx(0.1)
    assert third.rotation_probability == EVERYTHING.rotation_probability


def test_no_strength_changes_nothing_but_the_flip_the_box_and_neighbours() -> None:
    batch = stored_batch(noisy_crops(4), (130, 170))
    got = augment(
        batch,
        EVERYTHING.scaled(0).model_copy(
            update={"flip": 0, "box_jitter": 0, "neighbour_probability": 0}
        ),
        generator=seeded(),
        normalisation=IMAGENET,
    )
    assert torch.equal(got.crops_BCHW, plain(batch, normalisation=IMAGENET).crops_BCHW)


def test_a_strength_that_leaves_the_bounds_is_refused_by_the_fields_name() -> None:
    with pytest.raises(ValidationError, match="rotation_degrees"):
        PUBLISHED.scaled(2.1)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="rotate"):
        AugmentSettings.model_validate({"rotate": 45})


@pytest.mark.parametrize("size_hw", [(256, 192), (128, 96)])
@pytest.mark.parametrize("seed", range(3))
def test_a_mark_on_a_wrist_stays_on_that_wrist(seed: int, size_hw: tuple[int, int]) -> None:
    weight = np.zeros(17)
    weight[LEFT_WRIST] = 1
    batch = stored_batch(crops_with_blob(32, (150.25, 160.6)), (150.25, 160.6), weight=weight)
    settings = PUBLISHED.model_copy(update={"box_jitter": 0.05})
    got = augment(batch, settings, generator=seeded(seed), normalisation=IMAGENET, size_hw=size_hw)

    wrists = got.weight[:, [LEFT_WRIST, RIGHT_WRIST]]
    xy_crop_px = (got.xy_crop_px * got.weight[..., None]).sum(1)
    assert wrists.sum(1).tolist() == [1] * 32
    assert bool(((xy_crop_px > 15) & (xy_crop_px < torch.tensor([176, 240]))).all())  # all of it
    centers = bright_centers_crop_px(pixels(got.crops_BCHW))
    np.testing.assert_allclose(centers, xy_crop_px, atol=0.1)
    assert 0 < wrists[:, 1].sum() < 32  # some are mirrored, some not


def test_settings_that_change_nothing_give_the_plain_batch() -> None:
    batch = stored_batch(noisy_crops(2), (130, 170))
    for size_hw in ((256, 192), (128, 96)):
        got = augment(batch, OFF, generator=seeded(), normalisation=IMAGENET, size_hw=size_hw)
        for tensor, want in zip(
            got, plain(batch, normalisation=IMAGENET, size_hw=size_hw), strict=True
        ):
            assert torch.equal(tensor, want)


def test_a_plain_crop_is_normalised_as_for_serving() -> None:
    stored = np.full((1, *STORE_HW, 3), (0, 128, 255), np.uint8)
    middle = plain(stored_batch(stored), normalisation=IMAGENET).crops_BCHW[0, :, 128, 96]
    want = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert middle.tolist() == pytest.approx(want, abs=1e-5)


def test_the_same_seed_gives_the_same_batch_and_another_seed_another() -> None:
    batch = stored_batch(noisy_crops(4), (130, 170))
    first, again, other = (
        augment(
            batch, EVERYTHING, generator=seeded(seed), normalisation=IMAGENET, size_hw=(128, 96)
        )
        for seed in (1, 1, 2)
    )
    for tensor, same in zip(first, again, strict=True):
        assert torch.equal(tensor, same)
    assert not torch.equal(first.crops_BCHW, other.crops_BCHW)
    assert not torch.equal(first.xy_crop_px, other.xy_crop_px)


def test_nothing_is_drawn_from_torchs_own_generator() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    augment(
        stored_batch(noisy_crops(2)),
        EVERYTHING,
        generator=seeded(),
        normalisation=IMAGENET,
        size_hw=(64, 48),
    )
    assert torch.equal(torch.get_rng_state(), before)


def test_the_stored_crops_are_left_as_they_were() -> None:
    stored = noisy_crops(2)
    augment(stored_batch(stored), EVERYTHING, generator=seeded(), normalisation=IMAGENET)
    np.testing.assert_array_equal(stored, noisy_crops(2))


class RefuseWaiting(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own is untyped
    """Fails on operations that make the host wait for a GPU: reading or writing single values."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = func.name()
        reads = name in {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select"}
        hands_over = name == "aten::lift_fresh"
        by_mask = name.startswith("aten::index") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        waits = reads or hands_over or by_mask
        assert not waits, name
        return func(*args, **(kwargs or {}))


def refuse_waiting() -> AbstractContextManager[object]:
    mode: AbstractContextManager[object] = RefuseWaiting()  # type: ignore[no-untyped-call] # as above
    return mode


WAITING: dict[str, Callable[[Tensor], object]] = {
    "item": lambda tensor: tensor[0].item(),
    "mask": lambda tensor: tensor[tensor > 0],
    "literal": lambda tensor: tensor + torch.tensor([1.0, 2.0]),
}


@pytest.mark.parametrize("name", WAITING)
def test_the_check_for_waiting_finds_what_waits(name: str) -> None:
    with pytest.raises(AssertionError, match="aten::"), refuse_waiting():
        WAITING[name](torch.ones(2))


def test_the_host_never_waits_for_the_device() -> None:
    batch = stored_batch(noisy_crops(2), (130, 170))
    with refuse_waiting():
        augment(batch, EVERYTHING, generator=seeded(), normalisation=IMAGENET, size_hw=(128, 96))
        plain(batch, normalisation=IMAGENET)


@pytest.mark.gpu
def test_a_gpu_is_never_waited_for() -> None:
    on_gpu = StoredBatch(*(tensor.cuda() for tensor in stored_batch(noisy_crops(4), (130, 170))))
    generator = torch.Generator("cuda").manual_seed(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        augment(on_gpu, EVERYTHING, generator=generator, normalisation=IMAGENET, size_hw=(128, 96))
        plain(on_gpu, normalisation=IMAGENET)
    finally:
        torch.cuda.set_sync_debug_mode("default")
