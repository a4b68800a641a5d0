"""The choice between float32 and bfloat16."""

import pytest
import torch

from distilpose.model.networks import build
from distilpose.model.runtime.precision import Precision
from distilpose.model.train.precision import autocast, choose, trial_seconds

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("wide", "narrow", "chosen"), [(2.0, 1.0, "bfloat16"), (1.0, 2.0, "float32")]
)
def test_a_cpu_computes_in_what_a_trial_shows_to_be_quicker(
    wide: float, narrow: float, chosen: str
) -> None:
    def seconds(precision: Precision) -> float:
        return {"float32": wide, "bfloat16": narrow}[precision]

    assert choose(CPU, seconds)[0] == chosen
    assert f"{wide:.2f} s in float32, {narrow:.2f} s in bfloat16" in choose(CPU, seconds)[1]


def test_another_device_is_not_tried() -> None:
    def seconds(_: Precision) -> float:
        raise AssertionError

    assert choose(torch.device("mps"), seconds) == ("float32", "float32 on mps")


def test_a_trial_leaves_the_network_as_it_was() -> None:
    torch.manual_seed(0)
    network = build("distilpose-s").eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    drawn = torch.get_rng_state()
    for precision in ("float32", "bfloat16"):
        assert trial_seconds(network, precision, batch_size=1) > 0
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not network.training


def test_a_product_is_rounded_in_bfloat16_alone() -> None:
    factor = torch.full((1, 1), 1.001)
    with autocast("float32", CPU):
        assert (factor @ factor).dtype == torch.float32
    with autocast("bfloat16", CPU):
        assert (factor @ factor).dtype == torch.bfloat16
