"""What a step goes down: the losses of a teacher, of students, and of the paper's baseline."""

from collections.abc import Callable
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from distilpose.model.heatmaps import heatmap_target, regression_target
from distilpose.model.networks import StudentOut, TeacherOut
from distilpose.model.train import losses
from distilpose.model.train.batch import TrainBatch
from distilpose.model.train.helpers import Aids, helper_terms
from distilpose.model.train.settings import LossSettings

Terms: TypeAlias = dict[str, Tensor]
"""Each loss by name, weighted."""

Objective: TypeAlias = Callable[[TrainBatch, float], Terms]
"""A batch and how much of the fading helpers is left (1 to 0) -> the losses to sum."""

Out = TypeVar("Out")
Helped: TypeAlias = Callable[[Tensor], tuple[Out, Aids]]
"""Crops -> what a network says of them, and what its helpers read."""


def teacher_objective(network: Helped[TeacherOut], loss: LossSettings) -> Objective:
    """Heatmaps against Gaussians, with their spatial cross-entropy where it is asked for."""

    def terms(batch: TrainBatch, fade: float) -> Terms:
        out, aids = network(batch.crops_BCHW)
        heatmaps_BKHW = out.heatmaps_BKHW.float()
        target = heatmap_target(batch.xy_crop_px, batch.weight)
        result = {
            "heatmap": losses.teacher_loss(heatmaps_BKHW, target.heatmaps_BKHW, target.weight)
        }
        if loss.cross_entropy:
            inside = regression_target(batch.xy_crop_px, batch.weight).weight
            entropy = losses.spatial_cross_entropy(heatmaps_BKHW, target.heatmaps_BKHW, inside)
            result["cross_entropy"] = fade * loss.cross_entropy * entropy
        return result | helper_terms(aids, batch, loss, fade=fade)

    return terms


def student_objective(
    network: Helped[StudentOut], teacher: Callable[[Tensor], TeacherOut], loss: LossSettings
) -> Objective:
    """The paper's five losses against a frozen teacher in evaluation mode."""
    weights = losses.LossWeights(loss.reg, loss.vis_dist, loss.kpt_dist, loss.score, loss.reg2hm)

    def terms(batch: TrainBatch, fade: float) -> Terms:
        with torch.no_grad():
            teacher_out = TeacherOut(*(t.float() for t in teacher(batch.crops_BCHW)))
        out, aids = network(batch.crops_BCHW)
        result = losses.distilpose_loss(
            StudentOut(*(t.float() for t in out)),
            teacher_out,
            regression_target(batch.xy_crop_px, batch.weight),
            weights=weights,
            reg_beta=loss.reg_beta,
            heatmap_weighting=loss.heatmap_weighting,
            score_keypoints=loss.score_keypoints,
        )
        used = {name: term for name, term in result._asdict().items() if getattr(weights, name)}
        return used | helper_terms(aids, batch, loss, fade=fade)

    return terms


def joint_objective(network: Helped[StudentOut], loss: LossSettings) -> Objective:
    """A student and the heatmap head on its tokens, both against the labels.

    Its score is compared with the head's value where the student points, as with a teacher's.
    There are no token losses: the tokens are the same.
    """

    def terms(batch: TrainBatch, fade: float) -> Terms:
        student_out, aids = network(batch.crops_BCHW)
        if aids.heatmaps_BKHW is None:
            raise ValueError("a joint student needs its heatmap head")
        out = StudentOut(*(t.float() for t in student_out))
        heatmaps_BKHW = aids.heatmaps_BKHW.float()
        points = regression_target(batch.xy_crop_px, batch.weight)
        shown = heatmap_target(batch.xy_crop_px, batch.weight)
        regression = losses.regression_loss(out.xy_crop, points, beta=loss.reg_beta)
        simulated = losses.simulated_heatmap_loss(
            out.xy_crop,
            out.sigma_cell,
            shown.heatmaps_BKHW,
            points.weight,
            weighting=loss.heatmap_weighting,
        )
        score = losses.score_loss(
            out.raw_score,
            losses.teacher_scores(heatmaps_BKHW.detach(), out.xy_crop),
            points.weight,
            keypoints=loss.score_keypoints,
        )
        result = {
            "heatmap": losses.teacher_loss(heatmaps_BKHW, shown.heatmaps_BKHW, shown.weight),
            "reg": loss.reg * regression,
            "reg2hm": loss.reg2hm * simulated,
            "score": loss.score * score,
        }
        return result | helper_terms(aids, batch, loss, fade=fade)

    return terms


def regression_objective(network: Helped[StudentOut], loss: LossSettings) -> Objective:
    """Coordinates alone, without a teacher: the baseline of the paper's ablation."""

    def terms(batch: TrainBatch, fade: float) -> Terms:
        target = regression_target(batch.xy_crop_px, batch.weight)
        out, aids = network(batch.crops_BCHW)
        regression = losses.regression_loss(out.xy_crop.float(), target, beta=loss.reg_beta)
        return {"reg": loss.reg * regression} | helper_terms(aids, batch, loss, fade=fade)

    return terms
