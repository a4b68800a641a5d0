"""Tokens on the trunk: the part that `distilpose-n` and `tokenpose-n` share, up to their heads.

Notable:
- The 17 keypoint tokens come first, then the visual tokens, one for each cell of 16 pixels. A cell
  combines all the trunk's features there: finer levels are folded into its channels, the coarser
  one is repeated.
- Full blocks, in which every token attends to every token, come before lean ones, in which only the
  keypoint tokens attend and change; queries, keys and values share one projection in both.
- The position code is fixed. It is added to the visual tokens after they are embedded, and again
  after each full block except the network's last one.

Shape letters: B batch, T = K + V tokens, K keypoint tokens, V visual tokens, D token width, C
channels, H height, W width.
Source: the token-distilling encoder of DistilPose, arXiv 2303.02455, made cheaper.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from distilpose.model.configs import TrunkConfig
from distilpose.model.networks.layers import position_code
from distilpose.model.networks.roles import Network
from distilpose.model.networks.trunk import Trunk, TrunkOut, initialise_trunk

_PLACES_A_SIDE: Final = (2, 1, 1)
"""Places of a fine, a middle and a coarse map along one side of a cell; a coarse place covers two
cells."""
_CHANNELS_OF_A_CELL: Final = tuple(
    channels * side**2
    for of_maps in (Trunk.level_channels, (Trunk.point_channels,) * 3)
    for channels, side in zip(of_maps, _PLACES_A_SIDE, strict=True)
)
"""Channels of the levels, then of the points, each finest first: the order in which `embed` reads
them."""


class Encoded(NamedTuple):
    """Tokens of B crops, and the attention of the keypoint tokens."""

    kpt_token: Tensor
    """(B, K, D)."""
    vis_token: Tensor
    """(B, V, D)."""
    attention_BKV: Tensor | None
    """Each visual token's share of a keypoint token's attention, averaged over the heads of the
    later half of the blocks. None unless watched."""


class Block(nn.Module):
    """Pre-norm attention and feed-forward over keypoint tokens, then visual tokens."""

    def __init__(self, config: TrunkConfig, *, lean: bool) -> None:
        super().__init__()
        width = config.token_width
        self.lean, self.heads, self.keypoints = lean, config.heads, config.keypoints
        self.n1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.n2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, config.mlp_width)
        self.down = nn.Linear(config.mlp_width, width)

    def forward(self, tokens_BTD: Tensor, *, watch: bool = False) -> tuple[Tensor, Tensor | None]:
        """Return tokens of the same shape, and the keypoints' attention (B, K, V) if watched."""
        query, key, value = self._projected(self.n1(tokens_BTD))  # each (B, heads, ., head width)
        attention_BKV = None
        # On a CPU, torch's fused attention makes the whole backward pass a tenth slower.
        if watch or (torch.is_grad_enabled() and tokens_BTD.device.type == "cpu"):
            logits = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
            shares = torch.softmax(logits, dim=-1)
            if watch:
                attention_BKV = shares[:, :, : self.keypoints, self.keypoints :].float().mean(dim=1)
            mixed = shares.to(value.dtype) @ value
        else:
            mixed = functional.scaled_dot_product_attention(query, key, value)
        asking = self.keypoints if self.lean else tokens_BTD.shape[1]
        changed = tokens_BTD[:, :asking] + self.out(mixed.transpose(1, 2).flatten(2))
        changed = changed + self.down(functional.gelu(self.up(self.n2(changed))))
        if self.lean:
            changed = torch.cat([changed, tokens_BTD[:, asking:]], dim=1)
        return changed, attention_BKV

    def _projected(self, tokens_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if not self.lean:
            query, key, value = self._by_head(self.qkv(tokens_BTD), parts=3)
            return query, key, value
        width = tokens_BTD.shape[-1]
        of_queries, of_others = self.qkv.weight[:width], self.qkv.weight[width:]
        asking_BKD = functional.linear(tokens_BTD[:, : self.keypoints], of_queries)
        (query,) = self._by_head(asking_BKD, parts=1)
        key, value = self._by_head(functional.linear(tokens_BTD, of_others), parts=2)
        return query, key, value

    def _by_head(self, projected: Tensor, *, parts: int) -> Tensor:
        """Return (B, ., parts * D) as (parts, B, heads, ., head width)."""
        batch, count, width = projected.shape
        split = projected.view(batch, count, parts, self.heads, width // parts // self.heads)
        return split.permute(2, 0, 3, 1, 4)


class TrunkTokens(Network):
    """The trunk, and an encoder over its tokens; subclasses add a head."""

    config: TrunkConfig

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__(config)
        width = config.token_width
        self.trunk = Trunk()
        self.embed = nn.Linear(sum(_CHANNELS_OF_A_CELL), width)
        self.enorm = nn.LayerNorm(width)
        self.kpt = nn.Parameter(torch.zeros(1, config.keypoints, width))
        full, blocks = config.full_blocks, config.full_blocks + config.lean_blocks
        self.blocks = nn.ModuleList(Block(config, lean=index >= full) for index in range(blocks))
        code_1VD = position_code(*config.token_grid_hw, width=width)
        self.register_buffer("position_1VD", code_1VD, persistent=False)

    @property
    def convolutions(self) -> nn.Module:
        """The trunk."""
        return self.trunk

    def encode(self, features: TrunkOut, *, watch: bool = False) -> Encoded:
        """Return the tokens after the last block; attention is kept only if watched."""
        visual_BVD, code_1VD = self._visual_tokens(features)
        # A trace would turn `len` into a constant, and with it the example's batch size.
        keypoint_BKD = self.kpt.to(visual_BVD.dtype).expand(visual_BVD.shape[0], -1, -1)
        keypoints = keypoint_BKD.shape[1]
        tokens_BTD = torch.cat([keypoint_BKD, visual_BVD + code_1VD], dim=1)
        code_1TD = functional.pad(code_1VD, (0, 0, keypoints, 0))
        watched: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            if 0 < index <= self.config.full_blocks:
                tokens_BTD = tokens_BTD + code_1TD
            tokens_BTD, attention = block(
                tokens_BTD, watch=watch and index >= len(self.blocks) // 2
            )
            watched += [] if attention is None else [attention]
        return Encoded(
            kpt_token=tokens_BTD[:, :keypoints],
            vis_token=tokens_BTD[:, keypoints:],
            attention_BKV=torch.stack(watched).mean(dim=0) if watched else None,
        )

    def _visual_tokens(self, features: TrunkOut) -> tuple[Tensor, Tensor]:
        """Return a token for each cell of 16 pixels, (B, V, D), and their position code."""
        grid_BDHW = self._embedded(features)
        tokens_BVD = self.enorm(grid_BDHW.flatten(2).transpose(1, 2))
        return tokens_BVD, self._code(grid_BDHW).to(tokens_BVD)

    def _embedded(self, features: TrunkOut) -> Tensor:
        """Return `embed` of each cell's channels, (B, D, H, W).

        It is computed map by map: concatenating the maps first would copy them, and multiply the
        coarse ones once for each of the four cells that share a place.
        """
        maps_BCHW = (*features.levels_BCHW, *features.points_BCHW)
        kernels = torch.split(self.embed.weight, list(_CHANNELS_OF_A_CELL), dim=1)
        grids_BDHW = [
            functional.conv2d(
                map_BCHW, kernel.reshape(kernel.shape[0], -1, side, side), stride=side
            )
            for map_BCHW, kernel, side in zip(maps_BCHW, kernels, _PLACES_A_SIDE * 2, strict=True)
        ]
        levels, points = grids_BDHW[:3], grids_BDHW[3:]
        fine, middle, coarse = (level + point for level, point in zip(levels, points, strict=True))
        repeated = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        return fine + middle + repeated + self.embed.bias.view(-1, 1, 1)

    def _code(self, grid_BCHW: Tensor) -> Tensor:
        rows, columns = grid_BCHW.shape[2:]
        if (rows, columns) == self.config.token_grid_hw:
            return self.get_buffer("position_1VD")
        return position_code(rows, columns, width=self.config.token_width)


def initialise_tokens(network: TrunkTokens) -> None:
    """Draw the weights from torch's generator: the trunk's, and those of the encoder.

    | parameters                     | value                              |
    | ------------------------------ | ---------------------------------- |
    | trunk                          | see `initialise_trunk`             |
    | linear weight                  | truncated normal, 0.02, cut at +-2 |
    | linear bias                    | 0                                  |
    | keypoint tokens                | normal, 0.02                       |
    | layer norm                     | weight 1, bias 0                   |
    """
    initialise_trunk(network.trunk)
    nn.init.normal_(network.kpt, std=0.02)
    for module in [network.embed, network.enorm, *network.blocks.modules()]:
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()


def reset_layers(*modules: nn.Module) -> None:
    """Draw the layers of a head with torch's default initialisation."""
    for layer in (layer for module in modules for layer in module.modules()):
        if isinstance(layer, nn.LayerNorm | nn.Linear | nn.Conv2d):
            layer.reset_parameters()
