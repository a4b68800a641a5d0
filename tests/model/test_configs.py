"""The published networks by name."""

import dataclasses

import pytest

from distilpose.model.configs import NETWORKS, network_config
from distilpose.model.errors import ConfigError


def test_the_four_published_networks_are_known() -> None:
    kinds = {name: (config.role, config.backbone) for name, config in NETWORKS.items()}
    assert kinds == {
        "distilpose-s": ("student", "stem"),
        "distilpose-l": ("student", "hrnet-w48-3"),
        "tokenpose-s": ("teacher", "stem"),
        "tokenpose-l": ("teacher", "hrnet-w48-4"),
    }


def test_a_network_is_found_by_its_name() -> None:
    config = network_config("distilpose-s")
    assert (config.name, config.token_width, config.depth, config.heads) == (
        "distilpose-s",
        192,
        12,
        8,
    )


def test_an_unknown_network_is_refused_with_the_known_names() -> None:
    with pytest.raises(ConfigError, match=r"'distilpose-m'.*distilpose-s, distilpose-l, tokenpose"):
        network_config("distilpose-m")


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        network_config("distilpose-s").depth = 6  # type: ignore[misc]  # the point
