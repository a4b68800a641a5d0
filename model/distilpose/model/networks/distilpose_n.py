"""`distilpose-n`, a student on a pretrained trunk: 17 keypoints, each with a score and a spread.

Notable:
- A keypoint starts where its token attends: the dot product of the token's query with every place
  of a fine map, a softmax over the places, and their centre of mass. The head's offset moves it by
  at most a quarter of the crop.
- The head is a layer norm and one linear layer to five numbers per keypoint: offset x and y, score,
  sigma x and y. Spreads pass through a softplus; the score is unbounded.

Shape letters: B crops, K = 17 keypoints, V visual tokens, C channels, H rows and W columns of the
map of places.
Source: DistilPose, arXiv 2303.02455: the token-distilling encoder, the simulated heatmap and the
score; the trunk, and the map that the regression starts from, are this project's.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from distilpose.model.configs import TrunkConfig
from distilpose.model.networks.roles import Student, StudentOut
from distilpose.model.networks.tokens import TrunkTokens, initialise_tokens, reset_layers
from distilpose.model.networks.trunk import Trunk


class Observed(NamedTuple):
    """An answer, and the intermediate results that training compares with the labels."""

    out: StudentOut
    features_BCHW: Tensor
    """The trunk's finest level, (B, 64, 32, 24)."""
    map_logits_BKHW: Tensor
    """The score of each place for each keypoint, (B, K, 32, 24)."""
    attention_BKV: Tensor | None
    """(B, K, V), see `Encoded`; None unless watched."""


class DistilPoseN(TrunkTokens, Student):
    """The network `distilpose-n`."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__(config)
        width, query_width = config.token_width, config.query_width
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 5))
        self.ask = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, query_width))
        self.spots = nn.Conv2d(Trunk.level_channels[0], query_width, 1)

    @property
    def output_layer(self) -> nn.Module:
        """The norm and linear layer to the five numbers."""
        return self.head

    def forward(self, crops_BCHW: Tensor) -> StudentOut:
        """Return the keypoints of RGB crops in 0..1, (B, 3, H, W); H and W are multiples of 32."""
        return self.observe(crops_BCHW, watch=False).out

    def observe(self, crops_BCHW: Tensor, *, watch: bool = True) -> Observed:
        """Return the keypoints of crops, and the intermediate results that training uses."""
        features = self.trunk(crops_BCHW)
        encoded = self.encode(features, watch=watch)
        finest_BCHW = features.levels_BCHW[0]
        values_BK5 = _widened(self.head(encoded.kpt_token.to(next(self.head.parameters()).dtype)))
        map_logits_BKHW = self._map_logits(encoded.kpt_token, finest_BCHW)
        offset_crop = self.config.reach_crop * torch.tanh(values_BK5[..., :2])
        out = StudentOut(
            vis_token=encoded.vis_token,
            kpt_token=encoded.kpt_token,
            xy_crop=centre_of_mass(map_logits_BKHW) + offset_crop,
            raw_score=values_BK5[..., 2],
            sigma_cell=functional.softplus(values_BK5[..., 3:]),
        )
        return Observed(out, finest_BCHW, map_logits_BKHW, encoded.attention_BKV)

    def _map_logits(self, kpt_token: Tensor, finest_BCHW: Tensor) -> Tensor:
        queries_BKC, places_BCHW = self.ask(kpt_token), self.spots(finest_BCHW)
        logits = queries_BKC @ places_BCHW.flatten(2) / self.config.query_width**0.5
        batch, _, rows, columns = places_BCHW.shape
        return _widened(logits).view(batch, -1, rows, columns)


def centre_of_mass(map_logits_BKHW: Tensor) -> Tensor:
    """Return the centre of mass (B, K, 2) of a softmax over each map, 0..1 over the crop."""
    rows, columns = map_logits_BKHW.shape[2:]
    y, x = (
        (torch.arange(count, device=map_logits_BKHW.device, dtype=map_logits_BKHW.dtype) + 0.5)
        / count
        for count in (rows, columns)
    )
    shares_BKHW = map_logits_BKHW.flatten(2).softmax(dim=-1).view_as(map_logits_BKHW)
    # Written out, because autocast would round a matrix product's factors to eight bits.
    centre_x = (shares_BKHW.sum(dim=2) * x).sum(dim=-1)
    centre_y = (shares_BKHW.sum(dim=3) * y).sum(dim=-1)
    return torch.stack([centre_x, centre_y], dim=-1)


def _widened(values: Tensor) -> Tensor:
    """Return values in float32 or wider: coordinates need more than eight bits."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def initialise_student(network: DistilPoseN) -> None:
    """Draw the weights from torch's generator; the head starts near the middle of its range."""
    initialise_tokens(network)
    reset_layers(network.head, network.ask, network.spots)
    weight, bias = network.head[1].parameters()
    nn.init.normal_(weight, std=0.01)
    nn.init.zeros_(bias)
