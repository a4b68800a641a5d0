"""Blocks of the published networks: patch embedding, and the transformer over the tokens.

Notable:
- The 17 keypoint tokens come first, then the visual tokens of 4 x 3 heatmap cells each.
- The position code is fixed. It is added to the visual tokens after the patch embedding and again
  before every block but the first, so that it accumulates; keypoint tokens never get one.
- A layer norm precedes each sublayer and none follows the last block: the returned tokens are the
  raw residual stream, which token distillation compares.
- Attribute names are those of published checkpoints.

Shape letters: B batch, T = K + V tokens, K keypoint tokens, V visual tokens, D token width, C
channels, H height, W width.
Source: TokenPose, arXiv 2104.03516, as the DistilPose authors use it (logits scaled by the width of
a head).
"""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from distilpose.model.configs import HEATMAP_HEIGHT, HEATMAP_WIDTH, PublishedConfig


def position_code(rows: int, columns: int, width: int) -> Tensor:
    """Return the sine code of a grid, (1, rows * columns, width), float32, row by row.

    The first half of the width encodes the row, the second the column; sines and cosines alternate.
    """
    half = width // 2
    index = torch.arange(half)
    period = torch.pow(10000.0, 2 * (index // 2).float() / half)

    def waves(count: int) -> Tensor:
        turn = torch.arange(1, count + 1, dtype=torch.float32) / (count + 1e-6) * 2 * math.pi
        angle = turn[:, None] / period  # (count, half)
        return torch.where(index % 2 == 0, angle.sin(), angle.cos())

    of_row = waves(rows)[:, None].expand(rows, columns, half)
    of_column = waves(columns)[None].expand(rows, columns, half)
    return torch.cat([of_row, of_column], dim=-1).reshape(1, rows * columns, width)


class Attention(nn.Module):
    """Multi-head self-attention; query, key and value share one projection without bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        """Return tokens of the same shape."""
        batch, count, width = tokens_BTD.shape
        qkv = self.to_qkv(tokens_BTD).view(batch, count, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, head width)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        tokens: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return tokens


class FeedForward(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, width: int, hidden_width: int) -> None:
        super().__init__()
        # The published network has a dropout of rate 0 at index 2.
        self.net = nn.Sequential(
            nn.Linear(width, hidden_width),
            nn.GELU(),
            nn.Identity(),
            nn.Linear(hidden_width, width),
        )

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        """Return tokens of the same shape."""
        tokens: Tensor = self.net(tokens_BTD)
        return tokens


class Residual(nn.Module):
    """`x + sublayer(norm(x))`."""

    def __init__(self, width: int, sublayer: nn.Module) -> None:
        super().__init__()
        self.fn = nn.Sequential(OrderedDict(norm=nn.LayerNorm(width), fn=sublayer))

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        """Return tokens of the same shape."""
        tokens: Tensor = tokens_BTD + self.fn(tokens_BTD)
        return tokens


class Transformer(nn.Module):
    """Pre-norm blocks of attention and feed-forward."""

    def __init__(self, config: PublishedConfig) -> None:
        super().__init__()
        width = config.token_width
        self.layers = nn.ModuleList(
            nn.Sequential(
                Residual(width, Attention(width, config.heads)),
                Residual(width, FeedForward(width, config.mlp_width)),
            )
            for _ in range(config.depth)
        )

    def forward(self, tokens_BTD: Tensor, code_1TD: Tensor) -> Tensor:
        """Return tokens of the same shape; `code_1TD` is added before every block but the first."""
        for index, block in enumerate(self.layers):
            if index > 0:
                tokens_BTD = tokens_BTD + code_1TD
            tokens_BTD = block(tokens_BTD)
        return tokens_BTD


class TokenHead(nn.Module):
    """Embeds a feature map as tokens, and applies `mlp_head` to the keypoint tokens."""

    def __init__(self, config: PublishedConfig, *, channels: int, mlp_head: nn.Sequential) -> None:
        super().__init__()
        width = config.token_width
        self.patch_hw = config.patch_hw
        patch_h, patch_w = config.patch_hw
        self.grid_hw = (HEATMAP_HEIGHT // patch_h, HEATMAP_WIDTH // patch_w)
        self.keypoint_token = nn.Parameter(torch.zeros(1, config.keypoints, width))
        self.pos_embedding = nn.Parameter(
            position_code(*self.grid_hw, width=width), requires_grad=False
        )
        self.patch_to_embedding = nn.Linear(channels * patch_h * patch_w, width)
        self.transformer = Transformer(config)
        self.mlp_head = mlp_head

    def forward(self, features_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return visual tokens (B, V, D), keypoint tokens (B, K, D), and the head's (B, K, ...).

        `mlp_head` may have a higher precision than the rest; its output is float32 or wider, since
        coordinates need more than eight bits.
        """
        visual_BVD = self.patch_to_embedding(self._patches(features_BCHW))
        code_1VD = self._code(features_BCHW)
        keypoint_BKD = self.keypoint_token.expand(features_BCHW.shape[0], -1, -1)
        keypoints = keypoint_BKD.shape[1]
        tokens_BTD = torch.cat([keypoint_BKD, visual_BVD + code_1VD], dim=1)
        code_1TD = functional.pad(code_1VD, (0, 0, keypoints, 0))
        tokens_BTD = self.transformer(tokens_BTD, code_1TD)
        kpt_token, vis_token = tokens_BTD[:, :keypoints], tokens_BTD[:, keypoints:]
        values = self.mlp_head(kpt_token.to(self.mlp_head[0].weight.dtype))
        return vis_token, kpt_token, values.to(torch.promote_types(values.dtype, torch.float32))

    def _patches(self, features_BCHW: Tensor) -> Tensor:
        """Return patches row by row, (B, V, patch_h * patch_w * C), with channels last."""
        batch, channels, height, width = features_BCHW.shape
        patch_h, patch_w = self.patch_hw
        rows, columns = height // patch_h, width // patch_w
        grid = features_BCHW.reshape(batch, channels, rows, patch_h, columns, patch_w)
        return grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)

    def _code(self, features_BCHW: Tensor) -> Tensor:
        height, width = features_BCHW.shape[2:]
        rows, columns = height // self.patch_hw[0], width // self.patch_hw[1]
        if (rows, columns) == self.grid_hw:
            return self.pos_embedding
        return position_code(rows, columns, self.pos_embedding.shape[-1]).to(self.pos_embedding)
