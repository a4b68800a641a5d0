"""Helper losses: what they read, what they ask for, and that they leave nothing behind."""

import math

import pytest
import torch
from torch.nn import functional

from distilpose.model.networks import Student, Teacher, build
from distilpose.model.networks.layers import Attention
from distilpose.model.train.batch import TrainBatch
from distilpose.model.train.helpers import (
    Aids,
    Helped,
    attention_cross_entropy,
    attention_shares,
    helper_terms,
)
from distilpose.model.train.settings import LossSettings

BOTH = LossSettings(auxiliary=0.5, attention=0.25)


@pytest.fixture(scope="module")
def student() -> Student | Teacher:
    torch.manual_seed(0)
    return build("distilpose-s").eval()


def batch_at(x: float, y: float, *, size_hw: tuple[int, int] = (64, 48)) -> TrainBatch:
    """One person whose keypoints all lie at one place, in pixels of the 256x192 crop."""
    xy_crop_px = torch.tensor([x, y]).expand(1, 17, 2)
    return TrainBatch(torch.zeros(1, 3, *size_hw), xy_crop_px, torch.ones(1, 17))


def test_without_weights_nothing_is_added(student: Student) -> None:
    helped = Helped(student, LossSettings())
    batch = batch_at(90, 120)
    out, aids = helped(batch.crops_BCHW)
    assert aids == Aids(None, None)
    assert torch.equal(out.xy_crop, student(batch.crops_BCHW).xy_crop)
    assert helper_terms(aids, batch, LossSettings(), fade=1.0) == {}
    assert helped.own_state() == {}


def test_both_are_read_on_the_grid_of_the_input() -> None:
    helped = Helped(build("distilpose-s"), BOTH)
    _, aids = helped(torch.zeros(2, 3, 128, 96))
    assert aids.auxiliary_BKHW is not None
    assert aids.auxiliary_BKHW.shape == (2, 17, 32, 24)
    assert aids.attention_BKRC is not None
    assert aids.attention_BKRC.shape == (2, 17, 8, 8)


def test_a_cell_of_the_auxiliary_heatmap_comes_from_the_token_of_its_patch() -> None:
    helped = Helped(build("distilpose-s"), LossSettings(auxiliary=1.0))
    assert helped.auxiliary is not None
    with torch.no_grad():
        helped.auxiliary.weight.zero_()
        helped.auxiliary.bias.zero_()
        helped.auxiliary.weight[:, 0] = torch.arange(17 * 12.0)  # reads the token's first number
    vis_token = torch.zeros(1, 16, 192)
    vis_token[0, 4 * 2 + 3, 0] = 1.0  # the patch in row 2, column 3 of 4 x 4
    heatmaps = helped._auxiliary_heatmaps(vis_token, (4, 4))
    assert heatmaps is not None
    _, rows, columns = heatmaps[0].nonzero(as_tuple=True)
    assert set(rows.tolist()) == {8, 9, 10, 11}
    assert set(columns.tolist()) == {9, 10, 11}
    # Of keypoint 5: cells row by row.
    assert heatmaps[0, 5, 9, 9:12].tolist() == [5 * 12 + 3, 5 * 12 + 4, 5 * 12 + 5]


def test_attention_shares_are_those_that_the_block_computes_with() -> None:
    torch.manual_seed(1)
    attention = Attention(16, 4)
    tokens = torch.randn(2, 7, 16)
    qkv = attention.to_qkv(tokens)
    shares = attention_shares(qkv, heads=4, keypoints=3)
    query, key, value = qkv.view(2, 7, 3, 4, 4).permute(2, 0, 3, 1, 4)
    # Values that are 1 at one token and 0 elsewhere read the attention off the fused operation.
    expected = torch.stack(
        [
            functional.scaled_dot_product_attention(
                query, key, torch.eye(7)[token].view(1, 1, 7, 1).expand(2, 4, 7, 4)
            )[:, :, :3, 0].mean(dim=1)
            for token in range(3, 7)
        ],
        dim=-1,
    )
    assert value.shape == (2, 4, 7, 4)
    assert torch.allclose(shares, expected, atol=1e-6)


def test_the_attention_wanted_is_on_the_keypoints_patch() -> None:
    goal = torch.zeros(1, 1, 4, 4)
    goal[0, 0, 1, 2] = 3.0
    even, right = torch.full((1, 1, 4, 4), 1 / 16), torch.zeros(1, 1, 4, 4)
    right[0, 0, 1, 2] = 1.0
    weight = torch.ones(1, 1)
    assert attention_cross_entropy(even, goal, weight).item() == pytest.approx(math.log(16), 1e-3)
    assert attention_cross_entropy(right, goal, weight).item() == pytest.approx(0, abs=1e-5)


def test_a_keypoint_without_weight_asks_for_nothing() -> None:
    batch = batch_at(90, 120)._replace(weight=torch.zeros(1, 17))
    helped = Helped(build("distilpose-s"), BOTH)
    _, aids = helped(batch.crops_BCHW)
    terms = helper_terms(aids, batch, BOTH, fade=1.0)
    assert {name: term.item() for name, term in terms.items()} == {"auxiliary": 0, "attention": 0}


def test_terms_are_weighted_and_the_attentions_fades() -> None:
    batch = batch_at(90, 120)
    aids = Aids(torch.zeros(1, 17, 16, 12), torch.full((1, 17, 4, 4), 1 / 16))
    terms = helper_terms(aids, batch, BOTH, fade=0.5)
    assert terms["auxiliary"].item() == pytest.approx(0.5 * math.log(16 * 12), rel=1e-4)
    assert terms["attention"].item() == pytest.approx(0.5 * 0.25 * math.log(16), rel=1e-3)


def test_going_down_them_moves_attention_and_heatmap_to_the_keypoint() -> None:
    torch.manual_seed(0)
    helped = Helped(build("distilpose-s"), BOTH)
    batch = batch_at(60, 200)  # in the fourth row and the second column of 4 x 4 patches
    batch = batch._replace(crops_BCHW=torch.randn(1, 3, 64, 48))
    optimiser = torch.optim.Adam(helped.parameters(), lr=1e-3)
    for _ in range(15):
        _, aids = helped(batch.crops_BCHW)
        optimiser.zero_grad()
        sum(helper_terms(aids, batch, BOTH, fade=1.0).values()).backward()  # type: ignore[union-attr]  # never 0
        optimiser.step()
    assert aids.attention_BKRC is not None
    assert aids.auxiliary_BKHW is not None
    row, column = divmod(int(aids.attention_BKRC[0].mean(0).argmax()), 4)
    assert (row, column) == (3, 1)
    y, x = divmod(int(aids.auxiliary_BKHW[0].mean(0).argmax()), 12)
    assert abs(x - 60 / 16) <= 1
    assert abs(y - 200 / 16) <= 1
