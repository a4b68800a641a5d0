"""Objectives of a step: the losses of a teacher, and of a student with and without one."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from distilpose.model.networks import Student, StudentOut, Teacher, TeacherOut
from distilpose.model.train import losses
from distilpose.model.train.distributed import shared_gradients
from distilpose.model.train.feed.batch import Targets
from distilpose.model.train.helpers import Aids, Helped
from distilpose.model.train.settings import LossSettings, TrainSettings
from distilpose.model.train.start import frozen_teacher

Terms: TypeAlias = dict[str, Tensor]
"""Each loss by name, weighted."""

Objective: TypeAlias = Callable[[Tensor, Targets, float], Terms]
"""Crops, what is true of them, and how much of a helper that fades out is left (1 to 0) -> the
losses to sum."""

Ask: TypeAlias = Callable[[Tensor], TeacherOut]
"""Crops -> what a frozen teacher in evaluation mode says of them."""

Out = TypeVar("Out")
AskHelped: TypeAlias = Callable[[Tensor], tuple[Out, Aids]]
"""Crops -> what a network says of them, and what its helpers read."""


def objective(helped: Helped, settings: TrainSettings, device: torch.device) -> Objective:
    """Return the objective of this run; a student's teacher is loaded.

    Raises:
        WeightsError: the teacher's file is missing or no weights file.
        ConfigError: it cannot teach this network.
    """
    loss = settings.loss
    some_unused = settings.optimiser.trunk_frozen > 0 or loss.point == "token"
    shared = shared_gradients(helped, some_unused=some_unused)
    network = _quickest(shared, helped.network, compiled=settings.run.compile)
    if isinstance(helped.network, Teacher):
        return teacher_objective(network, loss)
    teacher = None
    if settings.teacher is not None:
        frozen = frozen_teacher(settings.teacher, helped.network.config).to(device)
        teacher = _quickest(frozen, frozen, compiled=settings.run.compile)
    if teacher and loss.heatmaps_of == "teacher":
        return published_objective(network, loss, teacher)
    return student_objective(network, loss, teacher)


def _quickest(
    module: nn.Module, network: Student | Teacher, *, compiled: bool
) -> Callable[..., Any]:
    """`module`, which computes with `network`, in the form that is quickest to run."""
    network.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    quickest: Callable[..., Any] = torch.compile(module) if compiled else module
    return quickest


def teacher_objective(network: AskHelped[TeacherOut], loss: LossSettings) -> Objective:
    """Heatmaps against Gaussians, with their spatial cross-entropy where it is asked for."""

    def terms(crops_BCHW: Tensor, targets: Targets, fade: float) -> Terms:
        out, _ = network(crops_BCHW)
        heatmaps_BKHW = out.heatmaps_BKHW.float()
        result = {"heatmap": losses.teacher_loss(heatmaps_BKHW, *targets.heatmaps)}
        if loss.cross_entropy:
            rows, columns = heatmaps_BKHW.shape[2:]
            entropy = losses.spatial_cross_entropy(
                heatmaps_BKHW, targets.shares((rows, columns)), targets.points.weight
            )
            result["cross_entropy"] = fade * loss.cross_entropy * entropy
        return result

    return terms


def student_objective(
    network: AskHelped[StudentOut], loss: LossSettings, teacher: Ask | None = None
) -> Objective:
    """Points, spreads, scores and helpers against the labels; a teacher's distillation on top."""
    distils = bool(loss.heatmap_dist or loss.vis_dist or loss.kpt_dist)

    def terms(crops_BCHW: Tensor, targets: Targets, _fade: float) -> Terms:
        taught = _asked(teacher, crops_BCHW) if teacher and distils else None
        out, aids = network(crops_BCHW)
        out = StudentOut(*(t.float() for t in out))
        result = _label_terms(out, targets, loss) | _helper_terms(aids, targets, loss)
        return result | _distilled(out, taught, targets, loss) if taught else result

    return terms


def published_objective(
    network: AskHelped[StudentOut], loss: LossSettings, teacher: Ask
) -> Objective:
    """The paper's five losses: the teacher's heatmaps in place of the labels'."""
    weights = losses.LossWeights(loss.reg, loss.vis_dist, loss.kpt_dist, loss.score, loss.reg2hm)

    def terms(crops_BCHW: Tensor, targets: Targets, _fade: float) -> Terms:
        taught = _asked(teacher, crops_BCHW)
        out, aids = network(crops_BCHW)
        result = losses.distilpose_loss(
            StudentOut(*(t.float() for t in out)),
            taught,
            targets.points,
            weights=weights,
            reg_beta=loss.reg_beta,
            heatmap_weighting=loss.heatmap_weighting,
            score_keypoints=loss.score_keypoints,
        )
        used = {name: term for name, term in result._asdict().items() if getattr(weights, name)}
        return used | _helper_terms(aids, targets, loss)

    return terms


def _asked(teacher: Ask, crops_BCHW: Tensor) -> TeacherOut:
    with torch.no_grad():
        return TeacherOut(*(t.float() for t in teacher(crops_BCHW)))


def _label_terms(out: StudentOut, targets: Targets, loss: LossSettings) -> Terms:
    points, heatmaps_BKHW = targets.points, targets.heatmaps.heatmaps_BKHW
    terms: Terms = {}
    if loss.reg:
        terms["reg"] = loss.reg * losses.point_loss(out.xy_crop, points, beta=loss.reg_beta)
    if loss.reg2hm:
        drawn = losses.drawn_heatmap_loss(out.xy_crop, out.sigma_cell, heatmaps_BKHW, points.weight)
        terms["reg2hm"] = loss.reg2hm * drawn
    if loss.score:
        score = losses.label_score_loss(out.raw_score, out.xy_crop, heatmaps_BKHW, targets.known)
        terms["score"] = loss.score * score
    return terms


def _helper_terms(aids: Aids, targets: Targets, loss: LossSettings) -> Terms:
    """Return what the helpers that are on ask for."""
    weight = targets.points.weight
    terms: Terms = {}
    for name, logits_BKHW in (("map", aids.map_logits_BKHW), ("dense", aids.dense_logits_BKHW)):
        if logits_BKHW is not None and getattr(loss, name):
            rows, columns = logits_BKHW.shape[2:]
            entropy = losses.spatial_cross_entropy(
                logits_BKHW.float(), targets.shares((rows, columns)), weight, sharpness=1.0
            )
            terms[name] = getattr(loss, name) * entropy
    if aids.attention_BKRC is not None:
        rows, columns = aids.attention_BKRC.shape[2:]
        entropy = losses.attention_cross_entropy(
            aids.attention_BKRC, targets.shares((rows, columns)), weight
        )
        terms["attention"] = loss.attention * entropy
    return terms


def _distilled(out: StudentOut, taught: TeacherOut, targets: Targets, loss: LossSettings) -> Terms:
    terms: Terms = {}
    if loss.heatmap_dist:
        drawn = losses.drawn_heatmap_loss(
            out.xy_crop, out.sigma_cell, taught.heatmaps_BKHW, targets.points.weight
        )
        terms["heatmap_dist"] = loss.heatmap_dist * drawn
    if loss.vis_dist:
        terms["vis_dist"] = loss.vis_dist * losses.token_loss(out.vis_token, taught.vis_token)
    if loss.kpt_dist:
        terms["kpt_dist"] = loss.kpt_dist * losses.token_loss(out.kpt_token, taught.kpt_token)
    return terms
