"""What a network carries in training only: helper losses, and a joint student's heatmap head.

Two helpers end the plateau of a network from nothing, each off unless its weight is set. An
auxiliary heatmap is read from every visual token and compared as a distribution with the target's.
The keypoint tokens of the later blocks are told to attend to the patch that holds their keypoint.
A joint student has a teacher's last layers on its keypoint tokens, in place of a second network.
All of it is thrown away after training.

Ours, not the paper's. Shape letters as in `networks.layers`, and R rows by C columns of patches.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from distilpose.model.configs import CROP_HEIGHT, HEATMAP_HEIGHT, HEATMAP_WIDTH
from distilpose.model.heatmaps import heatmap_target, regression_target
from distilpose.model.networks import (
    Student,
    StudentOut,
    Teacher,
    TeacherOut,
    heatmap_head,
    initialise,
)
from distilpose.model.networks.layers import Attention, TokenHead
from distilpose.model.train.batch import TrainBatch
from distilpose.model.train.losses import spatial_cross_entropy
from distilpose.model.train.settings import LossSettings

_CELL_PX = CROP_HEIGHT // HEATMAP_HEIGHT
_TINY = 1e-6


class Aids(NamedTuple):
    """What the helpers read on the way; None where one is off."""

    auxiliary_BKHW: Tensor | None
    """Heatmap logits, (B, K, 64, 48) for crops of 256x192, smaller for smaller ones."""
    attention_BKRC: Tensor | None
    """Share of a keypoint token's attention that each patch has, mean of the later blocks."""
    heatmaps_BKHW: Tensor | None = None
    """What a joint student's heatmap head shows, (B, K, 64, 48)."""


class Helped(nn.Module):
    """A network in training with its helpers around it, and a heatmap head if `joint`."""

    def __init__(
        self, network: Student | Teacher, loss: LossSettings, *, joint: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        head = next(module for module in network.modules() if isinstance(module, TokenHead))
        _, self._keypoints, width = head.keypoint_token.shape
        self._patch_hw = head.patch_hw
        cells = self._patch_hw[0] * self._patch_hw[1]
        self.auxiliary = nn.Linear(width, self._keypoints * cells) if loss.auxiliary else None
        self.heatmap_head = heatmap_head(width) if joint else None
        if self.heatmap_head is not None:
            initialise(self.heatmap_head)
        self._watched: list[Tensor] = []
        if loss.attention:
            blocks = [m for m in head.transformer.modules() if isinstance(m, Attention)]
            for attention in blocks[len(blocks) // 2 :]:
                attention.to_qkv.register_forward_hook(self._watcher(attention.heads))

    def forward(self, crops_BCHW: Tensor) -> tuple[StudentOut | TeacherOut, Aids]:
        """Return what the network says, and what the helpers read meanwhile."""
        self._watched.clear()
        out: StudentOut | TeacherOut = self.network(crops_BCHW)
        height, width = crops_BCHW.shape[2:]
        patch_h, patch_w = self._patch_hw
        grid = (height // _CELL_PX // patch_h, width // _CELL_PX // patch_w)
        attention_BKRC = None
        if self._watched:
            shares_BKV = torch.stack(self._watched).mean(dim=0)
            attention_BKRC = shares_BKV.view(*shares_BKV.shape[:2], *grid)
        return out, Aids(
            self._auxiliary_heatmaps(out.vis_token, grid),
            attention_BKRC,
            self._heatmaps(out.kpt_token),
        )

    def own_state(self) -> dict[str, Tensor]:
        """The helpers' own weights, without the network's: what `load_state_dict` takes back."""
        state: dict[str, Tensor] = self.state_dict()
        return {key: value for key, value in state.items() if not key.startswith("network.")}

    def _watcher(self, heads: int) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        def watch(_: nn.Module, __: tuple[Tensor], qkv_BTD: Tensor) -> None:
            self._watched.append(attention_shares(qkv_BTD, heads=heads, keypoints=self._keypoints))

        return watch

    def _heatmaps(self, kpt_token: Tensor) -> Tensor | None:
        if self.heatmap_head is None:
            return None
        heatmaps_BKHW: Tensor = self.heatmap_head(kpt_token).unflatten(
            -1, (HEATMAP_HEIGHT, HEATMAP_WIDTH)
        )
        return heatmaps_BKHW

    def _auxiliary_heatmaps(self, vis_token: Tensor, grid: tuple[int, int]) -> Tensor | None:
        if self.auxiliary is None:
            return None
        patches = self.auxiliary(vis_token).unflatten(2, (self._keypoints, *self._patch_hw))
        by_row = patches.unflatten(1, grid).permute(0, 3, 1, 4, 2, 5)  # (B, K, R, h, C, w)
        heatmaps: Tensor = by_row.flatten(4, 5).flatten(2, 3)
        return heatmaps


def attention_shares(qkv_BTD: Tensor, *, heads: int, keypoints: int) -> Tensor:
    """Return the attention (B, K, V) of keypoint tokens to visual ones, mean of the heads.

    `qkv_BTD` is the joint projection (B, T, 3 * D). What is missing from 1 in a row is attention
    to keypoint tokens.
    """
    batch, tokens, _ = qkv_BTD.shape
    qkv = qkv_BTD.float().view(batch, tokens, 3, heads, -1)
    query, key, _ = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, head width)
    logits = query[:, :, :keypoints] @ key.transpose(-1, -2)
    shares: Tensor = (logits * query.shape[-1] ** -0.5).softmax(dim=-1)
    return shares[..., keypoints:].mean(dim=1)


def helper_terms(
    aids: Aids, batch: TrainBatch, loss: LossSettings, *, fade: float
) -> dict[str, Tensor]:
    """The helpers' losses, weighted. `fade` (1 to 0) multiplies the attention's.

    The auxiliary heatmap's stays: it does not compete with the network's own answer.
    """
    terms: dict[str, Tensor] = {}
    if aids.auxiliary_BKHW is None and aids.attention_BKRC is None:
        return terms
    heatmaps_BKHW = heatmap_target(batch.xy_crop_px, batch.weight).heatmaps_BKHW
    inside = regression_target(batch.xy_crop_px, batch.weight).weight
    if aids.auxiliary_BKHW is not None:
        logits = aids.auxiliary_BKHW.float()
        goal = functional.adaptive_avg_pool2d(heatmaps_BKHW, (*logits.shape[2:],))
        entropy = spatial_cross_entropy(logits, goal, inside, sharpness=1.0)
        terms["auxiliary"] = loss.auxiliary * entropy
    if aids.attention_BKRC is not None:
        goal = functional.adaptive_avg_pool2d(heatmaps_BKHW, (*aids.attention_BKRC.shape[2:],))
        entropy = attention_cross_entropy(aids.attention_BKRC, goal, inside)
        terms["attention"] = fade * loss.attention * entropy
    return terms


def attention_cross_entropy(attention_BKRC: Tensor, goal_BKRC: Tensor, weight: Tensor) -> Tensor:
    """Return the cross-entropy of attention with where the keypoint is, weighted by (B, K)."""
    goal = goal_BKRC.flatten(2)
    goal = goal / goal.sum(dim=2, keepdim=True).clamp(min=_TINY)
    entropy = -(goal * (attention_BKRC.flatten(2) + _TINY).log()).sum(dim=2)
    return (weight * entropy).sum() / weight.sum().clamp(min=1)
