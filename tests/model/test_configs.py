"""The networks by name."""

import dataclasses

import pytest

from distilpose.model.configs import (
    IMAGENET,
    NETWORKS,
    ZERO_TO_ONE,
    PublishedConfig,
    TrunkConfig,
    network_config,
)
from distilpose.model.errors import ConfigError


def test_the_four_published_networks_are_known() -> None:
    kinds = {
        name: (config.role, config.backbone)
        for name, config in NETWORKS.items()
        if isinstance(config, PublishedConfig)
    }
    assert kinds == {
        "distilpose-s": ("student", "stem"),
        "distilpose-l": ("student", "hrnet-w48-3"),
        "tokenpose-s": ("teacher", "stem"),
        "tokenpose-l": ("teacher", "hrnet-w48-4"),
    }


def test_a_student_and_a_teacher_stand_on_the_trunk() -> None:
    kinds = {
        name: (config.role, config.map_hw)
        for name, config in NETWORKS.items()
        if isinstance(config, TrunkConfig)
    }
    assert kinds == {"distilpose-n": ("student", (32, 24)), "tokenpose-n": ("teacher", (64, 48))}


def test_networks_on_the_trunk_see_pixels_as_ultralytics_networks_do_and_others_as_published() -> (
    None
):
    seen = {name: config.normalisation for name, config in NETWORKS.items()}
    on_trunk = {"distilpose-n", "tokenpose-n"}
    assert seen == {name: ZERO_TO_ONE if name in on_trunk else IMAGENET for name in NETWORKS}


def test_a_network_is_found_by_its_name() -> None:
    config = network_config("distilpose-s")
    assert isinstance(config, PublishedConfig)
    assert (config.name, config.token_width, config.depth, config.heads) == (
        "distilpose-s",
        192,
        12,
        8,
    )


def test_an_unknown_network_is_refused_with_the_known_names() -> None:
    with pytest.raises(
        ConfigError, match=r"'distilpose-m'.*distilpose-n, distilpose-s, distilpose-l, tokenpose"
    ):
        network_config("distilpose-m")


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        network_config("distilpose-s").heads = 6  # type: ignore[misc]  # the point
