"""One optimisation step."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from distilpose.model.train.feed.batch import TrainBatch
from distilpose.model.train.settings import OptimiserSettings
from distilpose.model.train.step import Step, average, make_optimiser

BATCH = TrainBatch(
    torch.zeros(1, 3, 4, 3), torch.zeros(1, 17, 2), torch.ones(1, 17), torch.zeros(1, 17) > 0
)


def line() -> nn.Linear:
    network = nn.Linear(1, 1)
    with torch.no_grad():
        network.weight.fill_(2.0)
        network.bias.fill_(0.0)
    return network


def step_of(network: nn.Linear, settings: OptimiserSettings) -> Step:
    averaged = line().requires_grad_(False)

    def objective(*_: object) -> dict[str, torch.Tensor]:
        out = network(torch.ones(1, 1)).squeeze()
        return {"first": 3 * out, "second": out}

    optimiser = make_optimiser(network, settings)
    return Step(network, averaged, objective, optimiser, settings, nullcontext)


def test_a_step_goes_down_the_sum_of_the_terms() -> None:
    network = line()
    settings = OptimiserSettings(weight_decay=0, clip_norm=100)
    report = step_of(network, settings)(BATCH, learning_rate=0.1, step=0)
    assert report.terms["first"].item() == pytest.approx(6)
    assert report.terms["second"].item() == pytest.approx(2)
    assert report.gradient_norm.item() == pytest.approx((4**2 + 4**2) ** 0.5)
    # Adam's first step is the learning rate against the gradient's sign.
    assert network.weight.item() == pytest.approx(1.9)
    assert network.bias.item() == pytest.approx(-0.1)


def test_only_matrices_decay() -> None:
    groups = make_optimiser(line(), OptimiserSettings(weight_decay=0.05)).param_groups
    decay = {tuple(p.shape): g["weight_decay"] for g in groups for p in g["params"]}
    assert decay == {(1, 1): 0.05, (1,): 0.0}


class OnTrunk(nn.Module):
    """Two linear layers, the first of which is called like a pretrained trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.rest = line(), line()


def test_a_trunk_learns_at_its_share_of_the_rate_and_decays_like_the_rest() -> None:
    network = OnTrunk()
    settings = OptimiserSettings(trunk_rate=0.25, weight_decay=0, clip_norm=100)

    def objective(*_: object) -> dict[str, torch.Tensor]:
        return {"sum": network.rest(network.trunk(torch.ones(1, 1))).squeeze()}

    optimiser = make_optimiser(network, settings)
    averaged = OnTrunk().requires_grad_(False)
    Step(network, averaged, objective, optimiser, settings, nullcontext)(
        BATCH, learning_rate=0.1, step=0
    )
    assert network.trunk.weight.item() == pytest.approx(2 - 0.025)
    assert network.rest.weight.item() == pytest.approx(2 - 0.1)
    decays = [
        group["weight_decay"]
        for group in make_optimiser(network, OptimiserSettings(weight_decay=0.05)).param_groups
    ]
    assert decays == [0.05, 0.0, 0.05, 0.0]


def test_gradients_are_clipped_and_reported_as_before_clipping() -> None:
    network = line()
    report = step_of(network, OptimiserSettings(clip_norm=1e-3))(BATCH, learning_rate=0.1, step=0)
    assert report.gradient_norm.item() > 5
    total = sum(float(p.grad.norm() ** 2) for p in network.parameters() if p.grad is not None)
    assert total**0.5 == pytest.approx(1e-3, rel=1e-3)


def test_early_averages_follow_quickly() -> None:
    network = line()
    step = step_of(network, OptimiserSettings(ema=0.999, weight_decay=0))
    step(BATCH, learning_rate=0.1, step=0)
    # At step 0 the memory is 1/10: nine tenths of the way from 2.0 to 1.9.
    assert isinstance(step.averaged, nn.Linear)
    assert step.averaged.weight.item() == pytest.approx(1.91)


def test_averages_take_over_counters_as_they_are() -> None:
    averaged, network = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    network(torch.randn(8, 2))
    average(averaged, network, memory=0.9)
    assert averaged.num_batches_tracked is not None
    assert averaged.num_batches_tracked.item() == 1
    assert averaged.running_mean is not None
    assert network.running_mean is not None
    assert torch.allclose(averaged.running_mean, 0.1 * network.running_mean)
