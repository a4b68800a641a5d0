"""Order only: step, schedule, measure, save, stop. Knows no progress bars and no arguments."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from distilpose.model import devices
from distilpose.model.arrays import ImageHWC
from distilpose.model.configs import network_config
from distilpose.model.errors import ConfigError, ModelError
from distilpose.model.networks import Student, Teacher, build
from distilpose.model.train import checkpoint, examples, validate
from distilpose.model.train.augment import augment
from distilpose.model.train.batch import StoredBatch
from distilpose.model.train.distributed import agreed, shared_gradients
from distilpose.model.train.export import write_weights
from distilpose.model.train.helpers import Helped
from distilpose.model.train.loader import Loader
from distilpose.model.train.objectives import (
    Objective,
    joint_objective,
    regression_objective,
    student_objective,
    teacher_objective,
)
from distilpose.model.train.schedule import (
    Progress,
    augment_strength,
    helper_fade,
    input_size_hw,
    learning_rate,
)
from distilpose.model.train.settings import TrainSettings
from distilpose.model.train.start import start_heatmap_head, start_weights, teacher_file
from distilpose.model.train.step import Step, StepReport, frozen, make_optimiser
from distilpose.model.weights import load


class TrainingFailed(ModelError):
    """A loss that is not a number: nothing after it would be worth anything."""


class Observer(Protocol):
    """Is told how a run goes."""

    def on_log(self, entry: dict[str, float]) -> None:
        """Means since the last entry: losses, gradient norm, learning rate, crops a second."""

    def on_figures(self, step: int, figures: validate.EarlyFigures, examples_HWC: ImageHWC) -> None:
        """Early figures of the averaged weights, and some of their answers drawn."""

    def on_saved(self, step: int) -> None:
        """A checkpoint was written."""

    def close(self) -> None:
        """The run is over."""


@dataclass
class Run:
    """A run that is set up: `fit()` takes it to its end, or to where `stopping` is set."""

    settings: TrainSettings
    out: Path
    loader: Loader
    data_digest: str
    held_out: validate.HeldOut | None
    observer: Observer
    clock: Callable[[], float] = time.monotonic
    rank: int = 0
    stopping: bool = False
    network: Student | Teacher = field(init=False)
    averaged: Student | Teacher = field(init=False)
    progress: Progress = field(init=False)
    figures: validate.EarlyFigures | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        run = self.settings.run
        self.device = devices.choose_device(run.device)
        torch.manual_seed(run.seed)
        self.network = build(self.settings.network).to(self.device)
        start_weights(self.network, self.settings)
        self.averaged = frozen(deepcopy(self.network))
        self._helped = Helped(self.network, self.settings.loss, joint=self.settings.joint)
        if self._helped.heatmap_head is not None:
            start_heatmap_head(self._helped.heatmap_head, self.settings)
        self._helped.to(self.device)
        self.progress = Progress(run, self.loader.steps_per_epoch, self.clock)
        self._optimiser = make_optimiser(self._helped, self.settings.optimiser)
        self._step = Step(
            self.network,
            self.averaged,
            self._objective(),
            self._optimiser,
            self.settings.optimiser,
            self.autocast,
        )
        self._window: list[StepReport] = []
        self._people_in_window = 0
        self._last = dict.fromkeys(("log", "save", "figures"), self.clock())

    @property
    def checkpoint_path(self) -> Path:
        """Where the run can go on from."""
        return self.out / "checkpoint.pt"

    def autocast(self) -> AbstractContextManager[object]:
        """The precision that the networks compute in."""
        if self.settings.run.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def resume(self) -> None:
        """Go on from the checkpoint in the run's folder.

        Raises:
            WeightsError: there is none, or it belongs to another run.
        """
        state = checkpoint.load(self.checkpoint_path, self.device)
        state.check_belongs_to(self.settings, self.data_digest, self.checkpoint_path)
        self.network.load_state_dict(state.network)
        self._helped.load_state_dict(state.helpers, strict=False)
        self.averaged.load_state_dict(state.averaged)
        self._optimiser.load_state_dict(state.optimiser)
        self.progress.step = state.step
        self.progress.spent_seconds = state.spent_seconds

    def fit(self) -> None:
        """Train to the end of the schedule, saving and measuring on the way.

        Raises:
            TrainingFailed: a loss was not a number.
        """
        try:
            for batch in self._batches():
                share = agreed(1.0 if self.stopping else self.progress.share, self.device)
                if share >= 1:
                    break
                self._take(batch, share)
                self._now_and_then(share)
            if not self.stopping:
                self.measure()
            self.save()
        finally:
            self.observer.close()

    def _batches(self) -> Iterator[StoredBatch]:
        """From where the run stands, epoch after epoch; the same again when a run is resumed."""
        epoch, first_step = divmod(self.progress.step, self.loader.steps_per_epoch)
        while True:
            yield from self.loader.epoch(epoch, first_step=first_step)
            epoch, first_step = epoch + 1, 0

    def _take(self, stored: StoredBatch, share: float) -> None:
        step = self.progress.step
        with torch.no_grad():
            batch = augment(
                stored,
                self.settings.augment.scaled(augment_strength(self.settings, share)),
                generator=self._generator(step),
                normalisation=self.network.config.normalisation,
                size_hw=input_size_hw(self.settings.run, share),
            )
        rate = learning_rate(self.settings.optimiser, share, step)
        fade = helper_fade(self.settings.loss, share)
        self._window.append(self._step(batch, learning_rate=rate, step=step, fade=fade))
        self._people_in_window += len(batch.weight)
        self.progress.step += 1

    def _generator(self, step: int) -> torch.Generator:
        """Of seed, step and rank alone, so that a resumed run draws the same again."""
        drawn = np.random.SeedSequence((self.settings.run.seed, step, self.rank))
        return torch.Generator(self.device).manual_seed(int(drawn.generate_state(1)[0]))

    def _now_and_then(self, share: float) -> None:
        run = self.settings.run
        if self.progress.step % run.log_every_steps == 0:
            self._log()
        if self.clock() - self._last["save"] >= run.checkpoint_every_seconds:
            self.save()
        if self.clock() - self._last["figures"] >= run.evaluate_every_seconds:
            self.measure(share)

    def _log(self) -> None:
        if not self._window:
            return
        count = len(self._window)
        names = self._window[0].terms
        entry = {name: float(sum(r.terms[name] for r in self._window)) / count for name in names}
        entry["gradient_norm"] = float(sum(r.gradient_norm for r in self._window)) / count
        step = self.progress.step
        bad = [name for name, value in entry.items() if not math.isfinite(value)]
        if bad:
            raise TrainingFailed(f"{', '.join(bad)} not finite by step {step}; not saved")
        seconds = self.clock() - self._last["log"]
        entry |= {
            "step": step,
            "share": self.progress.share,
            "learning_rate": self._optimiser.param_groups[0]["lr"],
            "crops_per_second": self._people_in_window / max(seconds, 1e-9),
        }
        self._window, self._people_in_window = [], 0
        self._last["log"] = self.clock()
        self.observer.on_log(entry)

    def save(self) -> None:
        """Write the checkpoint."""
        self._log()
        if self.rank == 0:
            state = checkpoint.Checkpoint.of(
                step=self.progress.step,
                spent_seconds=self.progress.seconds,
                network=self.network,
                helpers=self._helped.own_state(),
                averaged=self.averaged,
                optimiser=self._optimiser,
                settings=self.settings,
                data_digest=self.data_digest,
            )
            checkpoint.save(self.checkpoint_path, state)
            write_weights(
                self.out / f"{self.settings.network}.safetensors",
                self.averaged,
                self.settings,
                step=self.progress.step,
                data_digest=self.data_digest,
                figures=self.figures,
            )
            self.observer.on_saved(self.progress.step)
        self._last["save"] = self._last["log"] = self.clock()

    def measure(self, share: float = 1.0) -> None:
        """Tell the observer early figures of the averaged weights, where people are held out."""
        self._log()
        if self.held_out and self.rank == 0:
            xy_crop, raw_score = validate.predict(
                self.averaged,
                self.held_out.people.in_order(),
                size_hw=input_size_hw(self.settings.run, share),
                autocast=self.autocast,
            )
            self.figures = validate.figures(
                xy_crop, raw_score, self.held_out.table, scores_trained=self.settings.trains_scores
            )
            drawn_HWC = examples.sheet(self.held_out.people, xy_crop, raw_score)
            self.observer.on_figures(self.progress.step, self.figures, drawn_HWC)
        self._last["figures"] = self._last["log"] = self.clock()

    def _objective(self) -> Objective:
        loss = self.settings.loss
        network = self._compiled(shared_gradients(self._helped), self.network)
        if network_config(self.settings.network).role == "teacher":
            return teacher_objective(network, loss)
        if self.settings.joint:
            return joint_objective(network, loss)
        path = teacher_file(self.settings)
        if path is None or not loss.needs_teacher:
            return regression_objective(network, loss)
        teacher = load(path).network
        if not isinstance(teacher, Teacher):
            raise ConfigError(f"{path}: is no teacher's weights")
        teacher = frozen(teacher.to(self.device))
        return student_objective(network, self._compiled(teacher, teacher), loss)

    def _compiled(self, module: nn.Module, network: Student | Teacher) -> Callable[..., Any]:
        """`module`, which computes with `network`, in the form that is quickest to run."""
        network.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        quickest: Callable[..., Any] = (
            torch.compile(module) if self.settings.run.compile else module
        )
        return quickest
