"""One optimisation step, testable without a loop. Knows no files and no clock."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from distilpose.model.networks import Student, Teacher
from distilpose.model.train.feed.batch import TrainBatch
from distilpose.model.train.objectives import Objective, Terms
from distilpose.model.train.settings import OptimiserSettings

_RATE_SHARE: Final = "rate_share"
"""Key of a group of parameters: its part of the learning rate."""


class StepReport(NamedTuple):
    """Losses of a step; tensors, so that only reading them waits for the device."""

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
        self, batch: TrainBatch, *, learning_rate: float, step: int, fade: float = 1.0
    ) -> StepReport:
        """Take step number `step` (from 0) with one batch; `fade` is the objective's."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate * group[_RATE_SHARE]
        self.network.train()
        targets = batch.targets()
        with self.autocast():
            terms = self.objective(batch.crops_BCHW, targets, fade)
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
    """AdamW over what is trained, each group at its share of a step's learning rate.

    A pretrained trunk learns at a rate of its own. Vectors, norms and tokens' biases have no weight
    decay.
    """
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        in_trunk, is_matrix = "trunk" in name.split("."), parameter.ndim > 1
        group = groups.setdefault(
            (in_trunk, is_matrix),
            {
                "params": [],
                "weight_decay": settings.weight_decay if is_matrix else 0.0,
                _RATE_SHARE: settings.trunk_rate if in_trunk else 1.0,
            },
        )
        group["params"].append(parameter)
    return torch.optim.AdamW(
        list(groups.values()),
        lr=settings.learning_rate,
        betas=(0.9, settings.beta2),
        eps=settings.epsilon,
        fused=next(network.parameters()).device.type in {"cpu", "cuda"},
    )


def frozen(network: Student | Teacher) -> Student | Teacher:
    """The network in evaluation mode, never trained and no child of anything that is."""
    return network.eval().requires_grad_(False)
