"""Each loss and its gradients against the authors' code, and the two that we corrected."""

from typing import Final

import numpy as np
import pytest
import torch
from torch import Tensor

from distilpose.model import networks
from distilpose.model.configs import network_config
from distilpose.model.heatmaps import RegressionTarget
from distilpose.model.networks import StudentOut, TeacherOut
from distilpose.model.train import losses
from golden_rules import filled_state, golden_arrays, image_batch, scaled_error

GOLDEN: Final = golden_arrays("losses")
STEP: Final = golden_arrays("train_step_distilpose-s")
TERMS: Final = ("reg", "vis_dist", "kpt_dist", "score", "reg2hm")
INPUT_OF_FIELD: Final = {
    "vis_token": "vis_token",
    "kpt_token": "kpt_token",
    "xy_crop": "pred",
    "raw_score": "score",
    "sigma_cell": "sigma",
}


def _tensor(name: str) -> Tensor:
    return torch.from_numpy(GOLDEN[name].astype(np.float32))


def _student_out() -> StudentOut:
    fields = {
        "vis_token": _tensor("vis_token"),
        "kpt_token": _tensor("kpt_token"),
        "xy_crop": _tensor("pred"),
        "raw_score": _tensor("score")[..., 0],
        "sigma_cell": _tensor("sigma"),
    }
    return StudentOut(**{key: tensor.requires_grad_() for key, tensor in fields.items()})


def _teacher_out() -> TeacherOut:
    tokens = _tensor("teacher_vis_token"), _tensor("teacher_kpt_token")
    return TeacherOut(*tokens, _tensor("teacher_heatmap"))


def _target() -> RegressionTarget:
    return RegressionTarget(_tensor("target"), _tensor("target_weight")[..., 0])


def _published(student_out: StudentOut) -> losses.Losses:
    return losses.distilpose_loss(
        student_out,
        _teacher_out(),
        _target(),
        heatmap_weighting="published",
        score_keypoints="published",
    )


@pytest.mark.parametrize("term", [*TERMS, "total"])
def test_a_published_term_has_its_published_value(term: str) -> None:
    got: Tensor = getattr(_published(_student_out()), term)
    assert float(got.detach()) == pytest.approx(float(GOLDEN[f"{term}_loss"]), rel=1e-5)


@pytest.mark.parametrize("term", TERMS)
def test_a_published_term_has_its_published_gradients_and_no_others(term: str) -> None:
    student_out = _student_out()
    loss: Tensor = getattr(_published(student_out), term)
    gradients = torch.autograd.grad(loss, student_out, allow_unused=True)
    for field, gradient in zip(StudentOut._fields, gradients, strict=True):
        want = GOLDEN.get(f"grad_{term}_loss_{INPUT_OF_FIELD[field]}")
        assert (gradient is None) == (want is None), field
        if gradient is not None and want is not None:
            difference = gradient.numpy() - want.reshape(gradient.shape)
            assert np.abs(difference).max() <= 5e-3 * np.abs(want).max()


def test_scores_are_pulled_to_the_teachers_published_values() -> None:
    scores = losses.values_at(_tensor("teacher_heatmap"), _tensor("pred"))
    assert scaled_error(scores, GOLDEN["score_target"]) <= 1e-6


def test_the_simulated_heatmap_loss_weights_each_keypoint_by_its_own_weight() -> None:
    ours = losses.distilpose_loss(_student_out(), _teacher_out(), _target())
    want = float(GOLDEN["reg2hm_loss_per_sample_weighting"])
    assert float(ours.reg2hm.detach()) == pytest.approx(want, rel=1e-5)


def test_an_unlabelled_keypoint_is_not_pulled_to_the_teachers_heatmap() -> None:
    student_out, target = _student_out(), _target()
    loss = losses.distilpose_loss(student_out, _teacher_out(), target).reg2hm
    (gradient,) = torch.autograd.grad(loss, [student_out.xy_crop])
    unlabelled = target.weight == 0
    assert gradient[unlabelled].abs().max() == 0
    assert gradient[~unlabelled].abs().max() > 0


def test_the_published_simulated_heatmap_loss_pulls_an_unlabelled_keypoint() -> None:
    student_out, target = _student_out(), _target()
    (gradient,) = torch.autograd.grad(_published(student_out).reg2hm, [student_out.xy_crop])
    assert gradient[target.weight == 0].abs().max() > 0


def test_the_score_loss_covers_every_keypoint_of_a_labelled_person() -> None:
    raw_score, teacher_score = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.5, 0.2]])
    loss = losses.score_loss(raw_score, teacher_score, torch.tensor([[1.0, 0.0]]))
    assert float(loss) == pytest.approx((0.5 + 0.8) / 2)


def test_the_score_loss_skips_a_person_without_a_label() -> None:
    raw_score, teacher_score = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.5, 0.2]])
    assert float(losses.score_loss(raw_score, teacher_score, torch.zeros(1, 2))) == 0


def test_the_published_score_loss_skips_unlabelled_keypoints() -> None:
    raw_score, teacher_score = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.5, 0.2]])
    weight = torch.tensor([[1.0, 0.0]])
    loss = losses.score_loss(raw_score, teacher_score, weight, keypoints="published")
    assert float(loss) == pytest.approx(0.5 / 2)


def test_terms_are_multiplied_with_their_weights() -> None:
    doubled = losses.LossWeights(*(2 * weight for weight in losses.PUBLISHED_WEIGHTS))
    plain = losses.distilpose_loss(_student_out(), _teacher_out(), _target())
    twice = losses.distilpose_loss(_student_out(), _teacher_out(), _target(), weights=doubled)
    assert [float(term.detach()) for term in twice] == pytest.approx(
        [2 * float(term.detach()) for term in plain]
    )


def test_a_teachers_loss_has_its_published_value_and_gradient() -> None:
    heatmaps_BKHW = _tensor("teacher_heatmap").requires_grad_()
    mean_cell = (_tensor("target") * torch.tensor([48.0, 64.0]))[..., None, None]
    x_cell, y_cell = mean_cell.unbind(dim=2)
    columns, rows = torch.arange(48.0), torch.arange(64.0)[:, None]
    gaussians_BKHW = torch.exp(-((columns - x_cell) ** 2 + (rows - y_cell) ** 2) / (2 * 2**2))
    loss = losses.teacher_loss(heatmaps_BKHW, gaussians_BKHW, _tensor("target_weight")[..., 0])
    assert float(loss.detach()) == pytest.approx(float(GOLDEN["teacher_heatmap_loss"]), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, [heatmaps_BKHW])
    want = GOLDEN["grad_teacher_heatmap_loss_sub"]
    difference = gradient[:, :, ::8, ::8].numpy() - want
    assert np.abs(difference).max() <= 5e-3 * np.abs(want).max()


def test_the_regression_loss_grows_as_the_square_up_to_its_beta_then_as_the_distance() -> None:
    target = RegressionTarget(torch.zeros(1, 1, 2), torch.ones(1, 1))

    def loss(distance: float) -> float:
        return float(losses.regression_loss(torch.full((1, 1, 2), distance), target, beta=0.05))

    assert loss(0.02) == pytest.approx(0.5 * 0.02**2 / 0.05)
    assert loss(0.5) - loss(0.4) == pytest.approx(0.1)


def test_a_training_forward_has_the_published_regression_loss_and_batch_statistics() -> None:
    student = _filled("distilpose-s", seed=0).train()
    with torch.no_grad():
        student_out = student(image_batch().double())
    loss = losses.regression_loss(student_out.xy_crop, _target_of_step())
    assert float(loss) == pytest.approx(float(STEP["reg_loss"]), rel=1e-5)
    state = student.state_dict()
    for key in (key for key in STEP if key.startswith("after:")):
        assert scaled_error(state[key.removeprefix("after:")], STEP[key]) <= 1e-5, key


@pytest.mark.slow
def test_a_whole_training_step_has_the_published_losses_and_gradients() -> None:
    student = _filled("distilpose-s", seed=0).train()
    crops_BCHW = image_batch().double()
    with torch.no_grad():
        teacher_out = _filled("tokenpose-l", seed=1).eval()(crops_BCHW)
    terms = losses.distilpose_loss(
        student(crops_BCHW),
        teacher_out,
        _target_of_step(),
        heatmap_weighting="published",
        score_keypoints="published",
    )
    for term in (*TERMS, "total"):
        loss: Tensor = getattr(terms, term)
        assert float(loss.detach()) == pytest.approx(float(STEP[f"{term}_loss"]), rel=1e-5), term

    parameters = {key: value for key, value in student.named_parameters() if value.requires_grad}
    assert sorted(parameters) == sorted(STEP["grad_names"])
    by_order = torch.autograd.grad(terms.total, list(parameters.values()))
    gradients = dict(zip(parameters, by_order, strict=True))
    for key, norm in zip(STEP["grad_names"], STEP["grad_norms"], strict=True):
        assert float(gradients[key].norm()) == pytest.approx(norm, rel=2e-3), key
    for key in (key for key in STEP if key.startswith("grad:")):
        difference = gradients[key.removeprefix("grad:")].numpy() - STEP[key]
        assert np.abs(difference).max() <= 5e-3 * np.abs(STEP[key]).max(), key


def _target_of_step() -> RegressionTarget:
    xy_crop, weight = (torch.from_numpy(STEP[key]).double() for key in ("target", "target_weight"))
    return RegressionTarget(xy_crop, weight[..., 0])


def _filled(name: str, *, seed: int) -> networks.Student | networks.Teacher:
    network = networks.construct(network_config(name))
    network.load_state_dict(filled_state(name, seed=seed))
    return network.double()
