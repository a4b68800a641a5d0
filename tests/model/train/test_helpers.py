"""Helpers used in training only: the values that they read, and that they leave no trace."""

import pytest
import torch

from distilpose.model.networks import DistilPoseN, build
from distilpose.model.train.helpers import Aids, Helped, TokenPointed
from distilpose.model.train.settings import LossSettings

OFF = LossSettings(map=0, dense=0, attention=0)
CROPS = torch.rand(2, 3, 256, 192, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def student() -> DistilPoseN:
    torch.manual_seed(0)
    network = build("distilpose-n").eval()
    assert isinstance(network, DistilPoseN)
    return network


def test_a_student_on_the_trunk_is_read_on_the_way(student: DistilPoseN) -> None:
    out, aids = Helped(student, LossSettings())(CROPS)
    assert aids.map_logits_BKHW is not None
    assert aids.map_logits_BKHW.shape == (2, 17, 32, 24)
    assert aids.dense_logits_BKHW is not None
    assert aids.dense_logits_BKHW.shape == (2, 17, 32, 24)
    assert aids.attention_BKRC is not None
    assert aids.attention_BKRC.shape == (2, 17, 16, 12)
    assert torch.allclose(out.xy_crop, student(CROPS).xy_crop, atol=1e-6)


def test_attention_and_dense_map_are_not_made_where_nothing_asks_for_them(
    student: DistilPoseN,
) -> None:
    helped = Helped(student, OFF)
    _, aids = helped(CROPS)
    assert (aids.dense_logits_BKHW, aids.attention_BKRC) == (None, None)
    assert helped.own_state() == {}


def test_the_dense_maps_layer_is_the_helpers_own(student: DistilPoseN) -> None:
    assert set(Helped(student, LossSettings()).own_state()) == {"dense.weight", "dense.bias"}
    assert not any("dense" in name for name in student.state_dict())


def test_helpers_of_another_shape_are_left(student: DistilPoseN) -> None:
    helped = Helped(student, LossSettings())
    weight = helped.own_state()["dense.weight"].clone()
    helped.take({"dense.weight": torch.ones(3, 3, 1, 1), "dense.bias": torch.full((17,), 4.0)})
    assert torch.equal(helped.own_state()["dense.weight"], weight)
    assert helped.own_state()["dense.bias"].tolist() == [4] * 17


@pytest.mark.parametrize("name", ["distilpose-s", "tokenpose-s", "tokenpose-n"])
def test_other_networks_have_no_helpers(name: str) -> None:
    helped = Helped(build(name).eval(), LossSettings())
    _, aids = helped(CROPS[:1])
    assert aids == Aids()
    assert helped.own_state() == {}


def test_a_point_from_the_token_alone_is_a_sigmoid_of_two_of_its_numbers(
    student: DistilPoseN,
) -> None:
    out, aids = Helped(student, LossSettings(point="token", map=0))(CROPS)
    values = student.head(out.kpt_token)
    assert torch.equal(out.xy_crop, values[..., :2].sigmoid())
    assert torch.equal(out.raw_score, values[..., 2])
    assert aids.map_logits_BKHW is None
    measured = TokenPointed(student)(CROPS)
    assert torch.allclose(measured.xy_crop, out.xy_crop, atol=1e-6)


def test_points_from_tokens_leave_the_map_without_a_gradient(student: DistilPoseN) -> None:
    helped = Helped(student, LossSettings(point="token", map=0))
    out, _ = helped(CROPS)
    out.xy_crop.sum().backward()
    try:
        assert all(p.grad is None for p in (*student.ask.parameters(), *student.spots.parameters()))
        assert student.kpt.grad is not None
    finally:
        student.zero_grad()


def test_a_frozen_trunk_gets_no_gradient_and_later_does(student: DistilPoseN) -> None:
    helped = Helped(student, LossSettings())
    for frozen in (True, False):
        helped.freeze_trunk(frozen)
        out, _ = helped(CROPS[:1])
        out.xy_crop.sum().backward()
        first = next(student.trunk.parameters())
        assert (first.grad is None) == frozen
        assert student.embed.weight.grad is not None
        student.zero_grad()


def test_freezing_a_network_without_a_trunk_does_nothing() -> None:
    network = build("distilpose-s")
    before = [parameter.requires_grad for parameter in network.parameters()]
    Helped(network, OFF).freeze_trunk(True)
    assert [parameter.requires_grad for parameter in network.parameters()] == before
