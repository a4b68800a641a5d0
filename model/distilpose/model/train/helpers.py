"""Auxiliary heads and losses of a network in training.

A student on the trunk learns where its keypoint tokens should attend: in attention, and in the map
of places from which its points start. A dense map, read from the trunk's finest features by a
separate layer, teaches the trunk. That layer is discarded after training.

Ours, not the paper's. Shape letters as in `networks.distilpose_n`, and R rows by C columns of
visual tokens.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from distilpose.model.networks import DistilPoseN, Student, StudentOut, Teacher, TeacherOut
from distilpose.model.networks.roles import Network
from distilpose.model.networks.trunk import Trunk
from distilpose.model.train.settings import LossSettings


class Aids(NamedTuple):
    """The intermediate results that the helpers use; None if one is off."""

    map_logits_BKHW: Tensor | None = None
    """(B, K, 32, 24), the map from which the points start."""
    dense_logits_BKHW: Tensor | None = None
    """(B, K, 32, 24), the map read from the trunk alone."""
    attention_BKRC: Tensor | None = None
    """(B, K, 16, 12), each visual token's share of a keypoint token's attention."""


class Helped(nn.Module):
    """A network in training, wrapped with its helpers."""

    def __init__(self, network: Student | Teacher, loss: LossSettings) -> None:
        super().__init__()
        self.network = network
        self._loss = loss
        self.dense: nn.Conv2d | None = None
        if isinstance(network, DistilPoseN) and loss.dense:
            self.dense = nn.Conv2d(Trunk.level_channels[0], network.config.keypoints, 1)

    def forward(self, crops_BCHW: Tensor) -> tuple[StudentOut | TeacherOut, Aids]:
        """Return the network's output, and the intermediate results for the helpers."""
        crops_BCHW = crops_BCHW.contiguous(memory_format=torch.channels_last)
        network = self.network
        if not isinstance(network, DistilPoseN):
            out: StudentOut | TeacherOut = network(crops_BCHW)
            return out, Aids()
        watched = network.observe(crops_BCHW, watch=self._loss.attention > 0)
        attention_BKRC = None
        if watched.attention_BKV is not None:
            shares_BKV = watched.attention_BKV
            attention_BKRC = shares_BKV.view(*shares_BKV.shape[:2], *network.config.token_grid_hw)
        dense = None if self.dense is None else self.dense(watched.features_BCHW)
        if self._loss.point == "token":
            # The map is not returned: with several processes, no output may be unused.
            return token_points(network, watched.out), Aids(None, dense, attention_BKRC)
        return watched.out, Aids(watched.map_logits_BKHW, dense, attention_BKRC)

    def own_state(self) -> dict[str, Tensor]:
        """The helpers' own weights without the network's, in the form for `load_state_dict`."""
        state: dict[str, Tensor] = self.state_dict()
        return {key: value for key, value in state.items() if not key.startswith("network.")}

    def take(self, state: dict[str, Tensor]) -> None:
        """Load the helper weights of another run that match by name and shape."""
        own = self.own_state()
        fitting = {
            key: value
            for key, value in state.items()
            if key in own and own[key].shape == value.shape
        }
        self.load_state_dict(fitting, strict=False)

    def freeze_trunk(self, frozen: bool) -> None:
        """Freeze or unfreeze the trunk's weights; optimisers skip frozen weights.

        Does nothing if that is already so, or if there is no trunk.
        """
        trunk = getattr(self.network, "trunk", None)
        if isinstance(trunk, Trunk) and next(trunk.parameters()).requires_grad == frozen:
            trunk.requires_grad_(not frozen)


class TokenPointed(Network):
    """A student that reads its points the way training with `loss.point: token` does."""

    def __init__(self, network: DistilPoseN) -> None:
        super().__init__(network.config)
        self.network = network

    def forward(self, crops_BCHW: Tensor) -> StudentOut:
        """Return the keypoints of normalised crops."""
        return token_points(self.network, self.network(crops_BCHW))


def as_trained(network: Student | Teacher, loss: LossSettings) -> Network:
    """Return a network that reads its points the way training with this loss does."""
    if isinstance(network, DistilPoseN) and loss.point == "token":
        return TokenPointed(network)
    return network


def token_points(network: DistilPoseN, out: StudentOut) -> StudentOut:
    """Return the answer with points from the tokens alone, without map or offset.

    The two numbers of the offset pass through a sigmoid instead, to cover the whole crop.
    """
    logits_BK2 = network.head(out.kpt_token.float())[..., :2].float()
    return out._replace(xy_crop=logits_BK2.sigmoid())
