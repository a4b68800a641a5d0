"""Neighbours from other pictures: who is pasted where, and labels that stay as they are."""

import numpy as np
import pytest
import torch
from torch import Tensor

from distilpose.model.configs import IMAGENET
from distilpose.model.train.feed import augment, augment_cpu
from distilpose.model.train.feed.augment import PUBLISHED, AugmentSettings
from distilpose.model.train.feed.batch import StoredBatch, TrainBatch
from distilpose.model.train.feed.draws import Draws
from distilpose.model.train.feed.neighbours import Neighbours, coverage, drawn_neighbours
from distilpose.model.train.feed.views import move_points, plain_views
from stored_crops import (
    STORE_HW,
    black_crops,
    noisy_crops,
    only,
    pixels,
    seeded,
    standing_people,
    stored_batch,
)

WAYS = [augment.augment, augment_cpu.augment]
COUNT = 200
WRISTS = slice(9, 11)
LEFT_ARM, RIGHT_ARM, BODY = slice(0, 3), slice(3, 6), slice(6, None)
"""Parts of a neighbour."""
EVERYONE = only(neighbour_probability=1)


def people(count: int, **columns: Tensor) -> StoredBatch:
    """Standing people of pictures of their own, each crop of one colour that nobody else has."""
    colours = torch.arange(count, dtype=torch.uint8)
    crops_BHWC = colours[:, None, None, None].expand(count, *STORE_HW, 3).numpy()
    batch = stored_batch(np.ascontiguousarray(crops_BHWC))
    return batch._replace(xy_store_px=standing_people(count), **columns)


def many(**columns: Tensor) -> StoredBatch:
    """COUNT standing people without pictures, for where nothing looks at pixels."""
    batch = people(1)
    alike = StoredBatch(*(column.expand(COUNT, *column.shape[1:]) for column in batch))
    return alike._replace(picture_id=torch.arange(COUNT))._replace(**columns)


def drawn(batch: StoredBatch, probability: float = 1, seed: int = 0) -> Neighbours:
    draws = Draws(seeded(seed), batch)
    return drawn_neighbours(batch, plain_views(batch), probability, draws)


def augmented(way: int, batch: StoredBatch, settings: AugmentSettings, seed: int = 0) -> TrainBatch:
    return WAYS[way](batch, settings, generator=seeded(seed), normalisation=IMAGENET)


def is_whole(neighbours: Neighbours) -> Tensor:
    return (neighbours.radius_crop_px[:, BODY] > 0).any(dim=1)


@pytest.mark.parametrize("way", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_labels_are_those_of_the_same_crops_without_neighbours(way: int, seed: int) -> None:
    batch = stored_batch(noisy_crops(8))._replace(xy_store_px=standing_people(8))
    alone = augmented(way, batch, PUBLISHED, seed)
    settings = PUBLISHED.model_copy(update={"neighbour_probability": 1.0})
    beside = augmented(way, batch, settings, seed)
    assert not torch.equal(beside.crops_BCHW, alone.crops_BCHW)
    for name in ("xy_crop_px", "weight", "outside"):
        assert torch.equal(getattr(beside, name), getattr(alone, name))


@pytest.mark.parametrize("way", [0, 1])
def test_covered_wrists_keep_their_weight(way: int) -> None:
    batch = people(40)
    got = augmented(way, batch, EVERYONE)
    shown = pixels(got.crops_BCHW)
    covered = 0
    for index, wrists in enumerate(got.xy_crop_px[:, WRISTS].round().int().tolist()):
        covered += sum(abs(shown[index, row, column, 0] - index) > 0.5 for column, row in wrists)
    assert covered > 20
    assert bool((got.weight == 1).all())


@pytest.mark.parametrize("way", [0, 1])
def test_the_same_seed_gives_the_same_neighbours_and_another_seed_others(way: int) -> None:
    batch = people(12)
    first, again, other = (augmented(way, batch, EVERYONE, seed) for seed in (1, 1, 2))
    assert torch.equal(first.crops_BCHW, again.crops_BCHW)
    assert not torch.equal(first.crops_BCHW, other.crops_BCHW)


def test_as_many_crops_get_a_neighbour_as_is_asked_for() -> None:
    share = torch.stack([drawn(many(), 0.3, seed).is_pasted.float() for seed in range(20)]).mean()
    assert share.item() == pytest.approx(0.3, abs=0.025)


@pytest.mark.parametrize("way", [0, 1])
def test_a_crop_without_a_neighbour_is_bit_equal_to_one_from_a_run_without_them(way: int) -> None:
    batch, settings = people(40), only(neighbour_probability=0.3)
    draws = Draws(seeded(), batch)
    views = augment.drawn_views(batch, settings, draws)
    is_pasted = drawn_neighbours(batch, views, 0.3, draws).is_pasted.numpy()
    beside, alone = (pixels(augmented(way, batch, each).crops_BCHW) for each in (settings, only()))
    is_same = (beside == alone).all(axis=(1, 2, 3))
    assert is_same[~is_pasted].all()
    assert not is_same[is_pasted].all()


@pytest.mark.parametrize("way", [0, 1])
def test_nobody_of_the_same_picture_is_pasted(way: int) -> None:
    """A person that an epoch repeats is of its own picture, and so excluded too."""
    picture_id = torch.arange(12) // 6
    got = pixels(augmented(way, people(12, picture_id=picture_id), EVERYONE).crops_BCHW)
    for index, crop_HWC in enumerate(got):
        others = [row for row in range(12) if picture_id[row] != picture_id[index]]
        low, high = min([index, *others]), max([index, *others])
        assert low - 0.01 <= crop_HWC.min() <= crop_HWC.max() <= high + 0.01
        assert np.ptp(crop_HWC) > 0.5
    rows = drawn(many(picture_id=torch.arange(COUNT) // 50)).row
    assert bool((rows // 50 != torch.arange(COUNT) // 50).all())


@pytest.mark.parametrize("way", [0, 1])
def test_people_of_one_picture_alone_get_no_neighbour(way: int) -> None:
    batch = people(6, picture_id=torch.full((6,), 7))
    assert torch.equal(
        augmented(way, batch, EVERYONE).crops_BCHW, augmented(way, batch, only()).crops_BCHW
    )


def test_only_people_with_a_labelled_arm_are_neighbours() -> None:
    weight = torch.ones(COUNT, 17)
    weight[::2, 9], weight[::2, 6] = 0, 0
    neighbours = drawn(many(weight=weight))
    assert bool(neighbours.is_pasted.all())
    assert bool((neighbours.row % 2 == 1).all())


def test_an_arm_that_is_not_labelled_is_not_cut_out() -> None:
    weight = torch.ones(COUNT, 17)
    weight[:, 9] = 0
    radius_px = drawn(many(weight=weight)).radius_crop_px
    assert bool((radius_px[:, RIGHT_ARM] > 0).all())
    assert bool((radius_px[:, 1:3] < 0).all())  # the left forearm and hand


def test_half_of_the_neighbours_are_one_arm() -> None:
    neighbours = drawn(many())
    whole = is_whole(neighbours)
    assert 0.4 < whole.float().mean().item() < 0.6
    arms = [(neighbours.radius_crop_px[:, arm] > 0).all(dim=1) for arm in (LEFT_ARM, RIGHT_ARM)]
    assert bool((arms[0] ^ arms[1])[~whole].all())
    assert bool((arms[0] & arms[1])[whole].all())


def test_an_arm_lies_with_its_forearm_at_a_wrist_of_the_target() -> None:
    batch = many()
    neighbours = drawn(batch)
    wrists = move_points(batch.xy_store_px, plain_views(batch))[:, WRISTS]
    away = []
    for part in (1, 4):
        first, last = neighbours.first_xy_crop_px[:, part], neighbours.last_xy_crop_px[:, part]
        shares = torch.linspace(0, 1, 50)[:, None]
        points = first[:, None] + shares * (last - first)[:, None]
        distance = torch.cdist(points, wrists).flatten(1).amin(dim=1)
        away.append(torch.where(neighbours.radius_crop_px[:, part] > 0, distance, 1e3))
    nearest_px = torch.stack(away).amin(dim=0)[~is_whole(neighbours)]
    assert nearest_px.max() < 45
    assert nearest_px.median() < 12


def test_a_whole_neighbour_stands_beside_the_target() -> None:
    batch = many()
    neighbours = drawn(batch)
    middle = plain_views(batch).center_xy_store_px[:, None]
    x_px = move_points(middle, neighbours.views)[:, 0, 0]
    distance_px = (x_px - 96).abs()[is_whole(neighbours)]
    width_px = 100 * 192 / plain_views(batch).width_store_px[0].item()
    smallest_px = 0.7 * width_px
    assert distance_px.min() > 0.69 * (width_px + smallest_px) / 2
    assert {-1, 1} == set((x_px - 96)[is_whole(neighbours)].sign().int().tolist())


def test_a_neighbour_is_about_as_large_as_the_target_whatever_its_box() -> None:
    scale = torch.where(torch.arange(COUNT) % 2 == 0, 1.0, 0.75)[:, None, None]
    middle = torch.tensor([132.0, 176.0])
    batch = many(xy_store_px=middle + scale * (standing_people(COUNT) - middle))
    neighbours = drawn(batch)
    moved = move_points(batch.xy_store_px, plain_views(batch))
    own_px = (moved[:, 5] - moved[:, 11]).norm(dim=1)
    torso = neighbours.last_xy_crop_px[:, 11] - neighbours.first_xy_crop_px[:, 11]
    ratio = torso.norm(dim=1) / own_px
    assert ratio.median().item() == pytest.approx(1, abs=0.06)
    assert 0.6 < ratio.min() < 0.8
    assert 1.2 < ratio.max() < 1.4


def test_a_target_without_labels_gets_a_neighbour_at_its_side() -> None:
    weight = torch.ones(COUNT, 17)
    weight[::2] = 0
    neighbours = drawn(many(weight=weight))
    assert bool(neighbours.is_pasted.all())
    covered = coverage(neighbours)[::2]
    assert bool(torch.isfinite(covered).all())
    assert (covered.amax(dim=(1, 2)) > 0.5).float().mean() > 0.9


def test_coverage_is_the_bodys_parts_with_soft_edges() -> None:
    neighbours = drawn(many())
    covered = coverage(neighbours)
    assert covered.shape == (COUNT, 64, 48)
    assert 0 <= covered.min() < covered.max() <= 1
    shares = covered.mean(dim=(1, 2))
    assert shares[is_whole(neighbours)].mean() > 2 * shares[~is_whole(neighbours)].mean()
    assert bool(((covered > 0.01) & (covered < 0.99)).any())


def test_the_stored_crops_are_left_as_they_were() -> None:
    stored = black_crops(4)
    stored[2:] = 200
    before = stored.copy()
    batch = stored_batch(stored)._replace(xy_store_px=standing_people(4))
    for way in (0, 1):
        augmented(way, batch, EVERYONE)
    np.testing.assert_array_equal(stored, before)
