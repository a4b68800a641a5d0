"""What a run's network learns from: its objective, with all that must be loaded and wrapped."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from distilpose.model.networks import Student, Teacher
from distilpose.model.train.distributed import shared_gradients
from distilpose.model.train.helpers import Helped
from distilpose.model.train.objectives import (
    Objective,
    published_objective,
    student_objective,
    teacher_objective,
)
from distilpose.model.train.settings import TrainSettings
from distilpose.model.train.start import frozen_teacher


def objective(helped: Helped, settings: TrainSettings, device: torch.device) -> Objective:
    """What a step of this run goes down; a student's teacher is loaded.

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
