"""Order only: step, schedule, measure, save, stop. Knows no progress bars and no arguments."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from distilpose.model.errors import ModelError
from distilpose.model.networks import Student, Teacher, build
from distilpose.model.runtime import devices
from distilpose.model.train import checkpoint, examples, objectives, precision, validate
from distilpose.model.train.distributed import agreed
from distilpose.model.train.export import write_weights
from distilpose.model.train.feed import augment, augment_cpu
from distilpose.model.train.feed.batch import StoredBatch
from distilpose.model.train.feed.loader import Loader
from distilpose.model.train.helpers import Helped, as_trained
from distilpose.model.train.observers import Observer
from distilpose.model.train.precision import Precision
from distilpose.model.train.schedule import (
    Progress,
    augment_strength,
    helper_fade,
    input_size_hw,
    learning_rate,
)
from distilpose.model.train.settings import TrainSettings
from distilpose.model.train.start import FROM_NOTHING, start_weights
from distilpose.model.train.step import Step, StepReport, frozen, make_optimiser


class TrainingFailed(ModelError):
    """A loss that is not a number: nothing after it would be worth anything."""


@dataclass
class Run:
    """A run that is set up: `fit()` takes it to its end, or to where `stopping` is set.

    It begins anew, or where it `resumes` goes on from the checkpoint in `out`, if there is one.

    Raises:
        ConfigError: `out` has a checkpoint, and the run is not to go on from it.
        WeightsError: what it starts from is missing or damaged, or the checkpoint is another run's.
    """

    settings: TrainSettings
    out: Path
    loader: Loader
    data_digest: str
    held_out: validate.HeldOut | None
    observer: Observer
    clock: Callable[[], float] = time.monotonic
    rank: int = 0
    resumes: bool = False
    stopping: bool = False
    network: Student | Teacher = field(init=False)
    averaged: Student | Teacher = field(init=False)
    progress: Progress = field(init=False)
    figures: validate.EarlyFigures | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        run = self.settings.run
        self.device = devices.choose_device(run.device)
        torch.manual_seed(run.seed)
        before = self._before()
        self.network = build(self.settings.network).to(self.device)
        # What a run began with need not be there any more when it goes on.
        start = FROM_NOTHING if before else start_weights(self.network, self.settings)
        self._crops_before, self._origin = start.crops_seen, start.origin
        self.averaged = frozen(deepcopy(self.network))
        self._helped = Helped(self.network, self.settings.loss).to(self.device)
        self._helped.take(start.helpers)
        self.progress = Progress(
            run,
            self.loader.steps_per_epoch,
            self.clock,
            crops_per_step=self.loader.crops_per_step,
        )
        on_cpu = self.device.type == "cpu"
        self._augment = augment_cpu.augment if on_cpu else augment.augment
        self._precision: Precision | None = None if run.precision == "auto" else run.precision
        self._optimiser = make_optimiser(self._helped, self.settings.optimiser)
        self._step = Step(
            self.network,
            self.averaged,
            objectives.objective(self._helped, self.settings, self.device),
            self._optimiser,
            self.settings.optimiser,
            self.autocast,
        )
        self._window: list[StepReport] = []
        self._people_in_window = 0
        self._last = dict.fromkeys(("log", "save", "figures"), self.clock())
        if before:
            self._go_on_from(before)

    @property
    def checkpoint_path(self) -> Path:
        """Where the run can go on from."""
        return self.out / checkpoint.NAME

    @property
    def crops_seen(self) -> int | None:
        """Crops that the weights have learned from, earlier runs included; None if unknown."""
        if self._crops_before is None:
            return None
        return self._crops_before + self.progress.step * self.loader.crops_per_step

    @property
    def precision(self) -> Precision:
        """What the networks compute in; the first process chooses, where that is left to us."""
        if self._precision is None:
            chosen, why = precision.choose(self.device, self._trial_seconds)
            is_narrow = agreed(float(chosen == "bfloat16"), self.device)
            self._precision = "bfloat16" if is_narrow else "float32"
            self.observer.on_note(f"precision {why}")
        return self._precision

    def autocast(self) -> AbstractContextManager[object]:
        """The precision that the networks compute in."""
        return precision.autocast(self.precision, self.device)

    def _trial_seconds(self, of: Precision) -> float:
        batch_size = self.settings.run.batch_size
        return precision.trial_seconds(self.network, of, batch_size=batch_size)

    def _before(self) -> checkpoint.Checkpoint | None:
        """The checkpoint to go on from; None where the run begins."""
        if not self.resumes:
            checkpoint.refuse_any(self.out)
        if not self.checkpoint_path.exists():
            return None
        state = checkpoint.load(self.checkpoint_path, self.device)
        state.check_belongs_to(self.settings, self.data_digest, self.checkpoint_path)
        return state

    def _go_on_from(self, state: checkpoint.Checkpoint) -> None:
        self.network.load_state_dict(state.network)
        self._helped.load_state_dict(state.helpers, strict=False)
        self._precision = self._precision or state.precision
        self.averaged.load_state_dict(state.averaged)
        self._optimiser.load_state_dict(state.optimiser)
        self.progress.step = state.step
        self.progress.spent_seconds = state.spent_seconds
        self._origin = state.began_with
        self._crops_before = None
        if state.crops_seen is not None:
            self._crops_before = state.crops_seen - state.step * self.loader.crops_per_step
        if state.figures:
            self.figures = validate.EarlyFigures(**state.figures)

    def fit(self) -> None:
        """Train to the end of the schedule, saving and measuring on the way.

        Raises:
            TrainingFailed: a loss was not a number.
        """
        try:
            _ = self.precision  # settled here, where all processes are
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
        self._helped.freeze_trunk(share < self.settings.optimiser.trunk_frozen)
        with torch.no_grad():
            batch = self._augment(
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
                crops_seen=self.crops_seen,
                precision=self.precision,
                origin=self._origin,
                figures=self.figures,
            )
            checkpoint.save(self.checkpoint_path, state)
            if self.settings.loss.point == "map":  # nothing serves a network of another point
                self._write_weights()
            self.observer.on_saved(self.progress.step)
        self._last["save"] = self._last["log"] = self.clock()

    def _write_weights(self) -> None:
        write_weights(
            self.out / f"{self.settings.network}.safetensors",
            self.averaged,
            self.settings,
            step=self.progress.step,
            crops_seen=self.crops_seen,
            data_digest=self.data_digest,
            figures=self.figures,
            origin=self._origin,
        )

    def measure(self, share: float = 1.0) -> None:
        """Tell the observer early figures of the averaged weights, where people are held out."""
        self._log()
        if self.held_out and self.rank == 0:
            xy_crop, raw_score = validate.predict(
                as_trained(self.averaged, self.settings.loss),
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
