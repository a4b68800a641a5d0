"""Targets that follow from the labels of a batch."""

import pytest
import torch

from distilpose.model import heatmaps
from distilpose.model.train.feed.batch import TrainBatch

MIDDLE_CROP_PX = (96.0, 128.0)


def one_person(*xy_crop_px: tuple[float, float], weight: float = 1.0) -> TrainBatch:
    places = torch.tensor([xy_crop_px])
    inside = ((places >= 0) & (places <= torch.tensor([191.0, 255.0]))).all(dim=2)
    return TrainBatch(torch.zeros(1, 3, 256, 192), places, weight * inside, ~inside)


def test_a_point_and_its_heatmap_are_at_one_place() -> None:
    targets = one_person(MIDDLE_CROP_PX, weight=0.5).targets()
    assert targets.points.xy_crop.tolist() == [[[0.5, 0.5]]]
    assert targets.points.weight.item() == targets.heatmaps.weight.item() == 0.5
    peak = heatmaps.decode(targets.heatmaps.heatmaps_BKHW)
    assert peak.xy_cell[0, 0].tolist() == pytest.approx([24, 32], abs=0.01)


def test_what_lies_outside_is_known_and_an_unlabelled_point_is_not() -> None:
    labelled = one_person(MIDDLE_CROP_PX, (-5.0, 9.0)).targets()
    assert labelled.known.tolist() == [[True, True]]
    assert labelled.points.weight.tolist() == [[1.0, 0.0]]
    unlabelled = one_person(MIDDLE_CROP_PX, weight=0.0).targets()
    assert unlabelled.known.tolist() == [[False]]


def test_shares_add_up_to_one_on_every_grid_and_to_none_of_an_empty_map() -> None:
    targets = one_person(MIDDLE_CROP_PX, (-5.0, 9.0)).targets()
    for grid_hw in ((64, 48), (32, 24), (16, 12)):
        shares = targets.shares(grid_hw)
        assert shares.shape == (1, 2, *grid_hw)
        assert shares.sum(dim=(2, 3))[0].tolist() == pytest.approx([1, 0])


def test_the_shares_of_a_grid_are_made_once() -> None:
    targets = one_person(MIDDLE_CROP_PX).targets()
    assert targets.shares((32, 24)) is targets.shares((32, 24))
