"""The losses as pure functions: the published ones, named as in the paper, and ours from labels.

Two published terms are peculiar, and ours differ unless the settings request the published ones:

- The simulated-heatmap loss weights a keypoint by its mean weight over the batch, so that even an
  unlabelled keypoint has a gradient. Ours weights each keypoint of each crop by its own.
- The score loss skips unlabelled keypoints, whose scores then mean nothing. Ours covers every
  keypoint of a person that has any label: the teacher has a value for all.

Tensors are (B, K, ...): B crops, K keypoints; weights are (B, K) in 0..1.
Source: DistilPose, arXiv 2303.02455, and the code that its authors published.
"""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from distilpose.model.configs import HEATMAP_HEIGHT, HEATMAP_WIDTH
from distilpose.model.heatmaps import RegressionTarget, simulated_heatmaps
from distilpose.model.networks import StudentOut, TeacherOut

HeatmapWeighting: TypeAlias = Literal["per_sample", "published"]
ScoreKeypoints: TypeAlias = Literal["all", "published"]

_TINY: Final = 1e-6


class LossWeights(NamedTuple):
    """The factor of each term; the defaults are the published ones."""

    reg: float = 1.0
    vis_dist: float = 5e-4
    kpt_dist: float = 5e-4
    score: float = 0.01
    reg2hm: float = 1.0


PUBLISHED_WEIGHTS: Final = LossWeights()


class Losses(NamedTuple):
    """A student's loss by its terms, each already multiplied by its weight."""

    reg: Tensor
    vis_dist: Tensor
    kpt_dist: Tensor
    score: Tensor
    reg2hm: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of the terms, which is what training minimises."""
        return torch.stack(self).sum()


def distilpose_loss(
    student_out: StudentOut,
    teacher_out: TeacherOut,
    target: RegressionTarget,
    *,
    weights: LossWeights = PUBLISHED_WEIGHTS,
    reg_beta: float = 1.0,
    heatmap_weighting: HeatmapWeighting = "per_sample",
    score_keypoints: ScoreKeypoints = "all",
) -> Losses:
    """Return the five losses of a student; `teacher_out` must not require gradients.

    A term whose weight is 0 is not computed, and is 0.
    """
    out, xy_crop, heatmaps_BKHW = student_out, student_out.xy_crop, teacher_out.heatmaps_BKHW

    def score() -> Tensor:
        values_BK = values_at(heatmaps_BKHW, xy_crop)
        return score_loss(out.raw_score, values_BK, target.weight, keypoints=score_keypoints)

    def reg2hm() -> Tensor:
        weighting = heatmap_weighting
        return simulated_heatmap_loss(
            xy_crop, out.sigma_cell, heatmaps_BKHW, target.weight, weighting=weighting
        )

    terms: dict[str, Callable[[], Tensor]] = {
        "reg": lambda: regression_loss(xy_crop, target, beta=reg_beta),
        "vis_dist": lambda: token_loss(out.vis_token, teacher_out.vis_token),
        "kpt_dist": lambda: token_loss(out.kpt_token, teacher_out.kpt_token),
        "score": score,
        "reg2hm": reg2hm,
    }
    nothing = xy_crop.new_zeros(())
    weight = weights._asdict()
    return Losses(
        **{name: weight[name] * term() if weight[name] else nothing for name, term in terms.items()}
    )


def regression_loss(xy_crop: Tensor, target: RegressionTarget, *, beta: float = 1.0) -> Tensor:
    """Return L_reg: the smooth L1 distance of weighted coordinates, averaged over all entries.

    It is quadratic up to `beta`, in sides of the crop. The published 1 is never reached; a smaller
    value keeps points that are far off from dominating the gradient.
    """
    weight_BK1 = target.weight[..., None]
    return functional.smooth_l1_loss(xy_crop * weight_BK1, target.xy_crop * weight_BK1, beta=beta)


def token_loss(student_token: Tensor, teacher_token: Tensor) -> Tensor:
    """Return L_VT or L_KT: the mean squared distance of visual or keypoint tokens (B, T, D)."""
    return functional.mse_loss(student_token, teacher_token)


def values_at(heatmaps_BKHW: Tensor, xy_crop: Tensor) -> Tensor:
    """Return the heatmaps' values (B, K) at the cells where the student places the keypoints.

    As published, 0..1 spans the cells' centres here, but the map's width in the simulated heatmap:
    a difference of up to one cell at the far edge. No gradient reaches `xy_crop`.
    """
    last_wh = xy_crop.new_tensor([HEATMAP_WIDTH - 1, HEATMAP_HEIGHT - 1])
    cell_xy = (xy_crop.detach().clamp(0, 1) * last_wh).round().long()
    index = cell_xy[..., 1] * HEATMAP_WIDTH + cell_xy[..., 0]
    return heatmaps_BKHW.flatten(2).gather(2, index[..., None])[..., 0]


def score_loss(
    raw_score: Tensor,
    teacher_score: Tensor,
    weight: Tensor,
    *,
    keypoints: ScoreKeypoints = "all",
) -> Tensor:
    """Return L_CS: the mean absolute distance of the score from `teacher_score`, all (B, K)."""
    if keypoints == "all":
        weight = (weight > 0).any(dim=1, keepdim=True).to(raw_score.dtype)
    return ((raw_score - teacher_score) * weight).abs().mean()


def simulated_heatmap_loss(
    xy_crop: Tensor,
    sigma_cell: Tensor,
    heatmaps_BKHW: Tensor,
    weight: Tensor,
    *,
    weighting: HeatmapWeighting = "per_sample",
) -> Tensor:
    """Return L_SH: the weighted mean squared distance of simulated from teacher's heatmaps.

    The weight enters squared. `published` replaces weight and distance of a crop by the batch's
    mean of each before they are multiplied.
    """
    simulated_BKHW, mask = simulated_heatmaps(xy_crop, sigma_cell)
    distance = (simulated_BKHW - heatmaps_BKHW).square().mean(dim=(2, 3))  # (B, K)
    weight = (weight * mask).square()
    if weighting == "published":
        return (weight.mean(dim=0) * distance.mean(dim=0)).mean()
    return (weight * distance).mean()


def point_loss(xy_crop: Tensor, target: RegressionTarget, *, beta: float) -> Tensor:
    """Return the smooth L1 distance of coordinates, weighted by keypoint and averaged over all.

    Unlike in `regression_loss`, a weight scales the loss and not the distance.
    """
    distance = functional.smooth_l1_loss(xy_crop, target.xy_crop, reduction="none", beta=beta)
    return (target.weight * distance.mean(dim=2)).mean()


def drawn_heatmap_loss(
    xy_crop: Tensor, sigma_cell: Tensor, heatmaps_BKHW: Tensor, weight: Tensor
) -> Tensor:
    """Return the weighted mean squared distance of a student's simulated heatmaps from others.

    Unlike in `simulated_heatmap_loss`, weights enter once, and a keypoint predicted far outside
    counts as an empty heatmap.
    """
    drawn_BKHW, _ = simulated_heatmaps(xy_crop, sigma_cell)
    return (weight * (drawn_BKHW - heatmaps_BKHW).square().mean(dim=(2, 3))).mean()


def label_score_loss(
    raw_score: Tensor, xy_crop: Tensor, heatmaps_BKHW: Tensor, known: Tensor
) -> Tensor:
    """Return the mean absolute distance of scores from the labels' heatmap at the predicted points.

    It covers the `known` keypoints, bool (B, K). A keypoint known to be outside the crop has an
    empty heatmap and should score 0.
    """
    distance = (raw_score - values_at(heatmaps_BKHW, xy_crop)).abs()
    return (known * distance).sum() / known.sum().clamp(min=1)


def teacher_loss(heatmaps_BKHW: Tensor, target_BKHW: Tensor, weight: Tensor) -> Tensor:
    """Return a teacher's own loss: the mean squared distance of weighted heatmaps.

    *Source:* TokenPose, arXiv 2104.03516, without the factor 1/2 of its authors' code.
    """
    return (weight[..., None, None] * (heatmaps_BKHW - target_BKHW)).square().mean()


def spatial_cross_entropy(
    heatmaps_BKHW: Tensor, shares_BKHW: Tensor, weight: Tensor, *, sharpness: float = 10.0
) -> Tensor:
    """Return the cross-entropy of heatmaps, as distributions over their cells, with shares of 1.

    Our addition: with a mean squared error the map stays blank for tens of thousands of people,
    while this has a gradient everywhere. Keypoints outside the map must have weight 0.
    """
    log_shares = functional.log_softmax(sharpness * heatmaps_BKHW.flatten(2), dim=2)
    return _cross_entropy(log_shares.view_as(heatmaps_BKHW), shares_BKHW, weight)


def attention_cross_entropy(attention_BKRC: Tensor, shares_BKRC: Tensor, weight: Tensor) -> Tensor:
    """Return the same for attention, as shares of 1 over R rows and C columns of visual tokens."""
    return _cross_entropy((attention_BKRC + _TINY).log(), shares_BKRC, weight)


def _cross_entropy(log_shares_BKRC: Tensor, shares_BKRC: Tensor, weight: Tensor) -> Tensor:
    entropy = -(shares_BKRC * log_shares_BKRC).sum(dim=(2, 3))  # (B, K)
    return (weight * entropy).sum() / weight.sum().clamp(min=1)
