"""A run's progress, and the learning rate, input size and augmentation that depend on it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.train.settings import (
    LossSettings,
    OptimiserSettings,
    RunSettings,
    TrainSettings,
)

PUBLISHED_MILESTONES = (200 / 300, 260 / 300)


@dataclass
class Progress:
    """The progress of a run: by its steps, or by the clock if it has a time budget."""

    run: RunSettings
    steps_per_epoch: int
    clock: Callable[[], float]
    step: int = 0
    spent_seconds: float = 0.0
    """Wall time of earlier starts of this run, in seconds."""
    crops_per_step: int = 1
    """Crops per step of all processes together; needed for a run whose length is in crops."""

    def __post_init__(self) -> None:
        self._began = self.clock()

    @property
    def seconds(self) -> float:
        """Wall time of this run in seconds, including earlier starts."""
        return self.spent_seconds + self.clock() - self._began

    @property
    def total_steps(self) -> int | None:
        """Length in steps, or None for a time budget."""
        if self.run.epochs is not None:
            return max(1, round(self.run.epochs * self.steps_per_epoch))
        if self.run.crops is not None:
            return math.ceil(self.run.crops / self.crops_per_step)
        return self.run.steps

    @property
    def share(self) -> float:
        """The share of the run that is done, 0 at the start and 1 at the end."""
        if (total := self.total_steps) is not None:
            return min(1.0, self.step / total)
        return min(1.0, self.seconds / (self.run.budget_seconds or math.inf))


def learning_rate(settings: OptimiserSettings, share: float, step: int) -> float:
    """The rate of step `step` (from 0) at `share` of the run; the trunk's is a fraction of it.

    *Source:* for `steps`, the published schedule: a tenth after epochs 200 and 260 of 300.
    """
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    if settings.schedule == "steps":
        factor = 0.1 ** sum(share >= milestone for milestone in PUBLISHED_MILESTONES)
    else:
        falling = max(0.0, (share - settings.flat) / max(1e-9, 1 - settings.flat))
        wave = 0.5 * (1 + math.cos(math.pi * falling))
        factor = settings.final + (1 - settings.final) * wave
    return settings.learning_rate * warm * factor


def input_size_hw(settings: RunSettings, share: float) -> tuple[int, int]:
    """Height and width of the network's input at `share` of the run, including its end."""
    small = settings.small_first
    if small and (share < small.until or small.until == 1):
        return small.height, small.height * 3 // 4
    return CROP_HEIGHT, CROP_WIDTH


def augment_strength(settings: TrainSettings, share: float) -> float:
    """Strength of the augmentation at `share` of the run."""
    return settings.augment_strength * (0.5 if share > 1 - settings.calm else 1.0)


def helper_fade(settings: LossSettings, share: float) -> float:
    """The remaining strength of a helper that fades out at `share` of the run, 1 at its start."""
    if settings.cross_entropy_until == 1:
        return 1.0
    return max(0.0, 1 - share / settings.cross_entropy_until)
