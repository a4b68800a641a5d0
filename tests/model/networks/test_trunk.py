"""The trunk by itself: features, norms, construction."""

import torch

from distilpose.model import networks
from distilpose.model.networks.trunk import Trunk


def test_the_trunk_has_the_channels_that_it_says() -> None:
    with torch.inference_mode():
        features = Trunk()(torch.zeros(1, 3, 64, 96))
    assert tuple(level.shape[1] for level in features.levels_BCHW) == Trunk.level_channels
    assert {point.shape[1] for point in features.points_BCHW} == {Trunk.point_channels}
    assert features.stride_4_BCHW.shape == (1, Trunk.stride_4_channels, 16, 24)
    assert [tuple(level.shape[2:]) for level in features.levels_BCHW] == [(8, 12), (4, 6), (2, 3)]


def test_the_trunk_has_no_batch_norm_to_depend_on_the_batch() -> None:
    kinds = {type(module).__name__ for module in Trunk().modules()}
    assert not any("BatchNorm" in kind for kind in kinds)


def test_building_the_trunk_leaves_the_generator_of_random_numbers_alone() -> None:
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    Trunk()
    assert torch.equal(torch.rand(3), want)


def test_a_trunk_without_pretraining_keeps_the_size_of_what_passes_through() -> None:
    torch.manual_seed(0)
    network = networks.build("distilpose-n").eval()
    with torch.inference_mode():
        features = network.convolutions(torch.rand(2, 3, 256, 192))
    assert len(features.levels_BCHW) == 3
    for level in features.levels_BCHW:
        assert 0.01 < float(level.std()) < 100
