"""The two roles that a network can have, and the answers that each must give.

Shape letters: B crops, K = 17 keypoints, V visual tokens, D token width, H = 64 rows and W = 48
columns of a heatmap.
"""

from typing import NamedTuple

from torch import Tensor, nn

from distilpose.model.configs import NetworkConfig


class StudentOut(NamedTuple):
    """What a student says of B crops."""

    vis_token: Tensor
    """(B, V, D), V = 256 of a published network and 192 of `distilpose-n`, for 256x192 crops."""
    kpt_token: Tensor
    """(B, K, D)."""
    xy_crop: Tensor
    """(B, K, 2), 0..1 over the crop; `distilpose-n` may point beyond it."""
    raw_score: Tensor
    """(B, K), unbounded."""
    sigma_cell: Tensor
    """(B, K, 2), spread in x and y, heatmap cells."""


class TeacherOut(NamedTuple):
    """What a teacher says of B crops."""

    vis_token: Tensor
    """(B, V, D), V = 256 of a published network and 192 of `tokenpose-n`, for 256x192 crops."""
    kpt_token: Tensor
    """(B, K, D)."""
    heatmaps_BKHW: Tensor
    """(B, K, 64, 48); published networks give this size for crops of any size."""


class Network(nn.Module):
    """What student and teacher have in common."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def convolutions(self) -> nn.Module:
        """The part that is quickest with its channels last in memory."""
        raise NotImplementedError

    @property
    def output_layer(self) -> nn.Module:
        """The last layers, which may be kept in a wider type than the rest."""
        raise NotImplementedError


class Student(Network):
    """A network that is served: normalised RGB crops (B, 3, 256, 192) to `StudentOut`."""


class Teacher(Network):
    """A network that students learn from: normalised RGB crops (B, 3, 256, 192) to `TeacherOut`."""
