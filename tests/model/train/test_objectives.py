"""What a joint student's step goes down; the terms themselves are tested in `test_losses.py`."""

import pytest
import torch

from distilpose.model.networks import build
from distilpose.model.train.batch import TrainBatch
from distilpose.model.train.helpers import Helped
from distilpose.model.train.objectives import joint_objective
from distilpose.model.train.settings import LossSettings

LOSS = LossSettings()
NETWORK = "backbone.conv1.weight"


def batch() -> TrainBatch:
    torch.manual_seed(0)
    xy_crop_px = torch.rand(2, 17, 2) * torch.tensor([190.0, 254.0])
    return TrainBatch(torch.randn(2, 3, 64, 48), xy_crop_px, torch.ones(2, 17))


def joint_student() -> Helped:
    torch.manual_seed(0)
    return Helped(build("distilpose-s"), LOSS, joint=True)


def test_a_joint_student_learns_from_labels_what_a_teacher_and_a_student_do() -> None:
    terms = joint_objective(joint_student(), LOSS)(batch(), 1.0)
    assert set(terms) == {"heatmap", "reg", "reg2hm", "score"}
    assert all(term.isfinite() and term > 0 for term in terms.values())


@pytest.mark.parametrize(
    ("term", "reaches_head"),
    [("heatmap", True), ("reg", False), ("reg2hm", False), ("score", False)],
)
def test_every_term_reaches_the_backbone_and_only_the_labels_teach_the_head(
    term: str, reaches_head: bool
) -> None:
    helped = joint_student()
    joint_objective(helped, LOSS)(batch(), 1.0)[term].backward()  # type: ignore[no-untyped-call]  # torch's own
    assert helped.heatmap_head is not None
    head = [p.grad is not None and bool(p.grad.any()) for p in helped.heatmap_head.parameters()]
    assert all(head) if reaches_head else not any(head)
    gradient = helped.network.get_parameter(NETWORK).grad
    assert gradient is not None
    assert gradient.any()


def test_unlabelled_people_teach_nothing() -> None:
    unlabelled = batch()._replace(weight=torch.zeros(2, 17))
    terms = joint_objective(joint_student(), LOSS)(unlabelled, 1.0)
    assert {name: term.item() for name, term in terms.items()} == dict.fromkeys(terms, 0.0)


def test_terms_are_weighted() -> None:
    changed = LossSettings(reg=3.0, reg2hm=0.5, score=0.02)
    plain, weighted = (
        joint_objective(joint_student(), loss)(batch(), 1.0) for loss in (LOSS, changed)
    )
    ratio = {name: (weighted[name] / plain[name]).item() for name in plain}
    assert ratio == pytest.approx({"heatmap": 1, "reg": 3, "reg2hm": 0.5, "score": 2})


def test_a_network_without_a_heatmap_head_is_refused() -> None:
    with pytest.raises(ValueError, match="needs its heatmap head"):
        joint_objective(Helped(build("distilpose-s"), LOSS), LOSS)(batch(), 1.0)
