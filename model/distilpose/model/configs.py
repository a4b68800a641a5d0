"""The published networks as frozen dataclasses, and the sizes that all of them share.

DistilPose networks are students (regression, served); TokenPose networks are teachers (heatmaps,
training only).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from distilpose.model.errors import ConfigError

CROP_HEIGHT: Final = 256
CROP_WIDTH: Final = 192
HEATMAP_HEIGHT: Final = 64
HEATMAP_WIDTH: Final = 48

Backbone: TypeAlias = Literal["stem", "hrnet-w48-3", "hrnet-w48-4"]
"""The stem alone, or HRNet-W48 with its first three or all four stages."""

Role: TypeAlias = Literal["student", "teacher"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """What tells one network from another; the defaults are those of all published ones."""

    name: str
    role: Role
    backbone: Backbone
    keypoints: int = 17
    patch_hw: tuple[int, int] = (4, 3)
    """Heatmap cells that make one visual token."""
    token_width: int = 192
    depth: int = 12
    heads: int = 8
    mlp_width: int = 576


NETWORKS: Final[Mapping[str, NetworkConfig]] = MappingProxyType(
    {
        config.name: config
        for config in (
            NetworkConfig(name="distilpose-s", role="student", backbone="stem"),
            NetworkConfig(name="distilpose-l", role="student", backbone="hrnet-w48-3"),
            NetworkConfig(name="tokenpose-s", role="teacher", backbone="stem"),
            NetworkConfig(name="tokenpose-l", role="teacher", backbone="hrnet-w48-4"),
        )
    }
)
"""The four published networks by name."""


def network_config(name: str) -> NetworkConfig:
    """Return the published network called `name`.

    Raises:
        ConfigError: naming the known networks.
    """
    if name not in NETWORKS:
        raise ConfigError(f"unknown network {name!r}; known are {', '.join(NETWORKS)}")
    return NETWORKS[name]
