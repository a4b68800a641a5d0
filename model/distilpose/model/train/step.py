"""One optimisation step, testable without a loop. Knows no files and no clock."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from distilpose.model.networks import Student, Teacher
from distilpose.model.train.batch import TrainBatch
from distilpose.model.train.objectives import Objective, Terms
from distilpose.model.train.settings import OptimiserSettings


class StepReport(NamedTuple):
    """What a step gave; tensors, so that reading them is what waits for the device."""

    terms: Terms
    """Each loss, weighted."""
    gradient_norm: Tensor
    """Before clipping."""


@dataclass
class Step:
    """Forward, backward, clip, update, and the averaged weights."""

    network: nn.Module
    averaged: nn.Module
    objective: Objective
    optimiser: torch.optim.Optimizer
    settings: OptimiserSettings
    autocast: Callable[[], AbstractContextManager[object]]

    def __call__(
        self, batch: TrainBatch, *, learning_rate: float, step: int, fade: float = 0.0
    ) -> StepReport:
        """Take step number `step` (from 0) with one batch; `fade` is the helpers' (1 to 0)."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.network.train()
        with self.autocast():
            terms = self.objective(batch, fade)
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]  # torch's own
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm)
        self.optimiser.step()
        average(
            self.averaged, self.network, memory=min(self.settings.ema, (step + 1) / (step + 10))
        )
        return StepReport({name: term.detach() for name, term in terms.items()}, norm)


@torch.no_grad()
def average(averaged: nn.Module, network: nn.Module, *, memory: float) -> None:
    """Move the averaged weights and buffers towards the network's; early ones remember less."""
    own, new = averaged.state_dict(), network.state_dict()
    floating = [name for name, value in own.items() if value.is_floating_point()]
    torch._foreach_lerp_(
        [own[name] for name in floating], [new[name] for name in floating], 1 - memory
    )
    for name in own.keys() - set(floating):
        own[name].copy_(new[name])


def make_optimiser(network: nn.Module, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """AdamW over what is trained; vectors, norms and tokens' biases have no weight decay."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=settings.learning_rate,
        betas=(0.9, settings.beta2),
        eps=settings.epsilon,
        fused=trained[0].device.type == "cuda",
    )


def frozen(network: Student | Teacher) -> Student | Teacher:
    """The network in evaluation mode, never trained and no child of anything that is."""
    return network.eval().requires_grad_(False)
