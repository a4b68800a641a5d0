"""The objectives of a step: compared with the student's prototype, and with a teacher.

The reference is the loss of the prototype of `distilpose-n`, in float32 on a CPU, with
the weights and crops of `golden_rules` and the labels of `batch`.
"""

import numpy as np
import pytest
import torch

from distilpose.model import networks
from distilpose.model.configs import network_config
from distilpose.model.networks import TeacherOut
from distilpose.model.train import losses
from distilpose.model.train.feed.batch import TrainBatch
from distilpose.model.train.helpers import Helped
from distilpose.model.train.objectives import (
    Objective,
    Terms,
    published_objective,
    student_objective,
    teacher_objective,
)
from distilpose.model.train.settings import LossSettings
from golden_rules import filled, filled_state, image_batch

PROTOTYPE_LOSS = {
    "reg": 0.08830412477254868,
    "reg2hm": 0.000826737261377275,
    "score": 0.007457629777491093,
    "map": 0.06649559736251831,
    "dense": 0.06689470261335373,
    "attention": 0.0276013296097517,
}
PROTOTYPE_GRADIENT_NORM = {
    "network.kpt": 0.6381699442863464,
    "dense.weight": 0.0012739074882119894,
    "network.trunk.layers.0.conv.weight": 0.02393386885523796,
    "network.head.1.weight": 0.25111353397369385,
    "network.spots.weight": 0.002263161586597562,
    "network.blocks.3.qkv.weight": 0.10646606981754303,
}
DISTILLED = {"heatmap_dist", "vis_dist", "kpt_dist"}


def batch() -> TrainBatch:
    """Two people: of 34 keypoints 11 are unlabelled, some half trusted, 6 outside the crop."""
    random = np.random.RandomState(7)
    xy_crop_px = torch.from_numpy(
        random.uniform([-20, -20], [212, 276], (2, 17, 2)).astype(np.float32)
    )
    weight = torch.from_numpy(random.choice([0, 0.5, 1], (2, 17)).astype(np.float32))
    last_px = torch.tensor([191.0, 255.0])
    inside = ((xy_crop_px >= 0) & (xy_crop_px <= last_px)).all(dim=2)
    return TrainBatch(image_batch(), xy_crop_px, weight * inside, (weight > 0) & ~inside)


def helped(loss: LossSettings) -> Helped:
    network = networks.construct(network_config("distilpose-n")).eval()
    network.load_state_dict(filled_state("distilpose-n"))
    result = Helped(network, loss)
    if result.dense is not None:
        for name, parameter in result.dense.named_parameters():
            parameter.data.copy_(filled(f"dense.{name}", tuple(parameter.shape)))
    return result


def taught(crops_BCHW: torch.Tensor) -> TeacherOut:
    """A teacher with empty heatmaps."""
    count = len(crops_BCHW)
    return TeacherOut(
        torch.zeros(count, 192, 192), torch.zeros(count, 17, 192), torch.zeros(count, 17, 64, 48)
    )


def terms_of(objective: Objective, people: TrainBatch, *, fade: float = 1.0) -> Terms:
    return objective(people.crops_BCHW, people.targets(), fade)


def values(terms: Terms) -> dict[str, float]:
    return {name: term.item() for name, term in terms.items()}


def test_losses_and_gradients_are_the_prototypes() -> None:
    loss = LossSettings()
    network = helped(loss)
    terms = terms_of(student_objective(network, loss), batch())
    assert values(terms) == pytest.approx(PROTOTYPE_LOSS, rel=1e-5)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]  # torch's own
    norms = {
        name: torch.as_tensor(network.get_parameter(name).grad).norm().item()
        for name in PROTOTYPE_GRADIENT_NORM
    }
    assert norms == pytest.approx(PROTOTYPE_GRADIENT_NORM, rel=1e-4)


def test_a_term_of_no_weight_is_not_computed() -> None:
    loss = LossSettings(reg2hm=0, score=0, map=0, dense=0, attention=0)
    assert set(terms_of(student_objective(helped(loss), loss), batch())) == {"reg"}


def test_a_teacher_adds_its_heatmaps_and_tokens_to_the_labels_terms() -> None:
    loss = LossSettings(heatmap_dist=0.5, vis_dist=0.25)
    network = helped(loss)
    alone = values(terms_of(student_objective(network, loss), batch()))
    both = values(terms_of(student_objective(network, loss, taught), batch()))
    assert {name: both[name] for name in alone} == pytest.approx(alone)
    assert set(both) - set(alone) == DISTILLED
    out, _ = network(batch().crops_BCHW)
    assert both["vis_dist"] == pytest.approx(0.25 * out.vis_token.square().mean().item(), rel=1e-4)
    drawn = losses.drawn_heatmap_loss(
        out.xy_crop, out.sigma_cell, torch.zeros(2, 17, 64, 48), batch().weight
    )
    assert both["heatmap_dist"] == pytest.approx(0.5 * drawn.item(), rel=1e-4)


def test_a_term_of_a_teacher_that_has_no_weight_is_not_computed() -> None:
    loss = LossSettings(heatmap_dist=0, kpt_dist=0)
    terms = terms_of(student_objective(helped(loss), loss, taught), batch())
    assert DISTILLED & set(terms) == {"vis_dist"}


def test_a_teacher_of_whom_nothing_is_wanted_is_not_asked() -> None:
    def never(_: torch.Tensor) -> TeacherOut:
        raise AssertionError("asked")

    loss = LossSettings(heatmap_dist=0, vis_dist=0, kpt_dist=0)
    terms = terms_of(student_objective(helped(loss), loss, never), batch())
    assert set(terms) == set(PROTOTYPE_LOSS)


def test_the_published_losses_compare_with_the_teachers_heatmaps() -> None:
    loss = LossSettings(heatmaps_of="teacher", map=0, dense=0, attention=0, reg2hm=2.0)
    network = helped(loss)
    terms = terms_of(published_objective(network, loss, taught), batch())
    assert set(terms) == {"reg", "vis_dist", "kpt_dist", "score", "reg2hm"}
    out, _ = network(batch().crops_BCHW)
    empty = torch.zeros(2, 17, 64, 48)
    simulated = losses.simulated_heatmap_loss(out.xy_crop, out.sigma_cell, empty, batch().weight)
    assert terms["reg2hm"].item() == pytest.approx(2 * simulated.item(), rel=1e-4)


def test_a_published_term_of_no_weight_is_not_computed() -> None:
    def of_other_tokens(crops_BCHW: torch.Tensor) -> TeacherOut:
        tokens = torch.zeros(len(crops_BCHW), 5, 7)
        return taught(crops_BCHW)._replace(vis_token=tokens, kpt_token=tokens)

    off = {"map": 0, "dense": 0, "attention": 0, "vis_dist": 0, "kpt_dist": 0}
    loss = LossSettings.model_validate({"heatmaps_of": "teacher", **off})
    terms = terms_of(published_objective(helped(loss), loss, of_other_tokens), batch())
    assert set(terms) == {"reg", "score", "reg2hm"}


def test_unlabelled_people_teach_nothing() -> None:
    loss = LossSettings()
    nothing = batch()._replace(
        weight=torch.zeros(2, 17), outside=torch.zeros(2, 17, dtype=torch.bool)
    )
    terms = values(terms_of(student_objective(helped(loss), loss), nothing))
    assert terms == dict.fromkeys(PROTOTYPE_LOSS, 0)


def test_scores_of_points_known_to_lie_outside_are_drawn_to_nothing() -> None:
    loss = LossSettings(reg=0, reg2hm=0, map=0, dense=0, attention=0, score=1.0)
    outside = batch()._replace(
        weight=torch.zeros(2, 17), outside=torch.ones(2, 17, dtype=torch.bool)
    )
    network = helped(loss)
    terms = terms_of(student_objective(network, loss), outside)
    out, _ = network(outside.crops_BCHW)
    assert terms["score"].item() == pytest.approx(out.raw_score.abs().mean().item(), rel=1e-5)


def test_a_teacher_learns_heatmaps_and_where_asked_for_their_cross_entropy() -> None:
    torch.manual_seed(0)
    loss = LossSettings(cross_entropy=0.5)
    network = Helped(networks.build("tokenpose-n"), loss)
    objective = teacher_objective(network, loss)
    terms, faded = (values(terms_of(objective, batch(), fade=fade)) for fade in (1.0, 0.25))
    assert set(terms) == {"heatmap", "cross_entropy"}
    assert terms["heatmap"] > 0
    assert terms["cross_entropy"] > 0
    assert faded == pytest.approx(
        {"heatmap": terms["heatmap"], "cross_entropy": terms["cross_entropy"] / 4}
    )
