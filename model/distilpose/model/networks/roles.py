"""The two roles of networks, and the outputs that each must return.

Shape letters: B crops, K = 17 keypoints, V visual tokens, D token width, H = 64 rows and W = 48
columns of a heatmap.
"""

from typing import NamedTuple

from torch import Tensor, nn

from distilpose.model.configs import NetworkConfig


class StudentOut(NamedTuple):
    """A student's output for B crops."""

    vis_token: Tensor
    """Shape (B, V, D); for 256x192 crops V is 256 in published networks, 192 in `distilpose-n`."""
    kpt_token: Tensor
    """(B, K, D)."""
    xy_crop: Tensor
    """(B, K, 2), 0..1 over the crop; `distilpose-n` may point outside it."""
    raw_score: Tensor
    """(B, K), unbounded."""
    sigma_cell: Tensor
    """(B, K, 2), spread in x and y, in heatmap cells."""


class TeacherOut(NamedTuple):
    """A teacher's output for B crops."""

    vis_token: Tensor
    """Shape (B, V, D); for 256x192 crops V is 256 in published networks, 192 in `tokenpose-n`."""
    kpt_token: Tensor
    """(B, K, D)."""
    heatmaps_BKHW: Tensor
    """(B, K, 64, 48); published networks return this size for crops of any size."""


class Network(nn.Module):
    """The common interface of students and teachers."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def convolutions(self) -> nn.Module:
        """The part that is fastest with its channels last in memory."""
        raise NotImplementedError

    @property
    def output_layer(self) -> nn.Module:
        """The last layers, which may be kept in higher precision than the rest."""
        raise NotImplementedError


class Student(Network):
    """A network that is served: normalised RGB crops (B, 3, 256, 192) to `StudentOut`."""


class Teacher(Network):
    """A network that students learn from: normalised RGB crops (B, 3, 256, 192) to `TeacherOut`."""
