"""The networks as frozen dataclasses, and the sizes that all of them share.

DistilPose networks are students (regression, served); TokenPose networks are teachers (heatmaps,
training only). The four published ones are built on HRNet's stem or HRNet-W48; `-n` networks are
this project's, on the pretrained trunk of YOLO26n-pose.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias

from distilpose.model.errors import ConfigError

CROP_HEIGHT: Final = 256
CROP_WIDTH: Final = 192
HEATMAP_HEIGHT: Final = 64
HEATMAP_WIDTH: Final = 48

TRUNK: Final = "yolo26n-pose-trunk"
"""Architecture name of a weights file that holds only the trunk of the `-n` networks."""

Backbone: TypeAlias = Literal["stem", "hrnet-w48-3", "hrnet-w48-4"]
"""The stem alone, or HRNet-W48 with its first three or all four stages."""

Role: TypeAlias = Literal["student", "teacher"]


class Normalisation(NamedTuple):
    """Converts pixels to a network's input: `(pixels / 255 - mean) / std`, for each channel."""

    mean_rgb: tuple[float, float, float]
    std_rgb: tuple[float, float, float]


IMAGENET: Final = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's pixels."""
ZERO_TO_ONE: Final = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""Ultralytics' input: pixels / 255."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The properties that every network has."""

    name: str
    role: Role
    normalisation: Normalisation
    keypoints: int = 17
    token_width: int = 192
    heads: int = 8
    mlp_width: int = 576


@dataclass(frozen=True, kw_only=True)
class PublishedConfig(NetworkConfig):
    """A network by the DistilPose authors; the defaults are common to all four."""

    backbone: Backbone
    normalisation: Normalisation = IMAGENET
    patch_hw: tuple[int, int] = (4, 3)
    """Heatmap cells that make one visual token."""
    depth: int = 12


@dataclass(frozen=True, kw_only=True)
class TrunkConfig(NetworkConfig):
    """A network on the trunk of YOLO26n-pose."""

    normalisation: Normalisation = ZERO_TO_ONE
    token_grid_hw: tuple[int, int] = (16, 12)
    """Visual tokens of a 256x192 crop: the trunk's cells of 16 pixels."""
    map_hw: tuple[int, int]
    """Places of a 256x192 crop with which a keypoint's query is compared."""
    full_blocks: int
    """Blocks in which all tokens attend and change."""
    lean_blocks: int
    """Blocks after them, in which only keypoint tokens attend and change."""
    query_width: int = 64
    """Width of the dot product between a keypoint and a place."""
    reach_crop: float = 0.25
    """The largest distance by which an offset can move a student's point, in sides of the crop."""


NETWORKS: Final[Mapping[str, NetworkConfig]] = MappingProxyType(
    {
        config.name: config
        for config in (
            TrunkConfig(
                name="distilpose-n", role="student", map_hw=(32, 24), full_blocks=1, lean_blocks=3
            ),
            PublishedConfig(name="distilpose-s", role="student", backbone="stem"),
            PublishedConfig(name="distilpose-l", role="student", backbone="hrnet-w48-3"),
            TrunkConfig(
                name="tokenpose-n", role="teacher", map_hw=(64, 48), full_blocks=4, lean_blocks=0
            ),
            PublishedConfig(name="tokenpose-s", role="teacher", backbone="stem"),
            PublishedConfig(name="tokenpose-l", role="teacher", backbone="hrnet-w48-4"),
        )
    }
)
"""The known networks by name."""


def network_config(name: str) -> NetworkConfig:
    """Return the network called `name`.

    Raises:
        ConfigError: naming the known networks.
    """
    if name not in NETWORKS:
        raise ConfigError(f"unknown network {name!r}; known are {', '.join(NETWORKS)}")
    return NETWORKS[name]
