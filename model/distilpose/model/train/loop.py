"""A run from its first step to its last. Knows no progress bars, no arguments and no building.

A step, in order:

1. The processes agree on the share of the run that is done, and end where that is all of it.
2. The loader gives a batch of stored crops.
3. The trunk is frozen or thaws, and the schedule gives the strength of the augmentation, the size
   of the input, the learning rate and how much of a fading helper is left.
4. The batch is augmented, by random numbers that follow from seed, step and process.
5. The targets of all losses are made (from here on in `step`).
6. Forward: the network, its helpers and a frozen teacher answer, in the run's precision.
7. The losses compare the answers with the targets, and are summed.
8. Backward, gradients being averaged over the processes.
9. The gradients are clipped, and the optimiser takes its step.
10. The averaged weights follow.

Now and then the run logs, which is where losses that are not finite end it, saves and measures.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from distilpose.model.errors import ModelError
from distilpose.model.networks import Student, Teacher
from distilpose.model.runtime.precision import Precision
from distilpose.model.train import checkpoint, examples, validate
from distilpose.model.train.distributed import agreed
from distilpose.model.train.export import write_weights
from distilpose.model.train.feed import augment, augment_cpu
from distilpose.model.train.feed.batch import StoredBatch, TrainBatch
from distilpose.model.train.feed.loader import Loader
from distilpose.model.train.helpers import Helped, as_trained
from distilpose.model.train.observers import Observer
from distilpose.model.train.schedule import (
    Progress,
    augment_strength,
    helper_fade,
    input_size_hw,
    learning_rate,
)
from distilpose.model.train.settings import TrainSettings
from distilpose.model.train.step import Step, StepReport


class TrainingFailed(ModelError):
    """A loss that is not a number: nothing after it would be worth anything."""


@dataclass
class Run:
    """A run as `prepare` builds it: `fit()` takes it to its end, or to where `stopping` is set."""

    settings: TrainSettings
    out: Path
    loader: Loader
    data_digest: str
    label_notes: Sequence[str]
    """Sentences about labels that were left out or repaired."""
    held_out: validate.HeldOut | None
    observer: Observer
    helped: Helped
    """The network that is trained, with its helpers."""
    averaged: Student | Teacher
    optimiser: torch.optim.Optimizer
    step: Step
    progress: Progress
    precision: Precision
    """In which `step` computes."""
    origin: checkpoint.Origin | None
    """The weights that the run began with; None for random ones."""
    crops_before: int | None
    """Crops that its weights had learned from then; None if unknown."""
    figures: validate.EarlyFigures | None = None
    """The latest early figures."""
    rank: int = 0
    clock: Callable[[], float] = time.monotonic
    stopping: bool = False
    _window: list[StepReport] = field(default_factory=list, init=False)
    _people_in_window: int = field(default=0, init=False)
    _last: dict[str, float] = field(default_factory=dict, init=False)

    @property
    def network(self) -> Student | Teacher:
        """The network that is trained."""
        return self.helped.network

    @property
    def device(self) -> torch.device:
        """The device that the run computes on."""
        return self.loader.device

    @property
    def checkpoint_path(self) -> Path:
        """The checkpoint that a resumed run continues from."""
        return self.out / checkpoint.NAME

    @property
    def crops_seen(self) -> int | None:
        """Crops that the weights have learned from, earlier runs included; None if unknown."""
        if self.crops_before is None:
            return None
        return self.crops_before + self.progress.step * self.loader.crops_per_step

    def fit(self) -> None:
        """Train to the end of the schedule, saving and measuring on the way.

        Raises:
            TrainingFailed: a loss was not a number.
        """
        self._last = dict.fromkeys(("log", "save", "figures"), self.clock())
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
        self.helped.freeze_trunk(share < self.settings.optimiser.trunk_frozen)
        batch = self._augmented(stored, share)
        rate = learning_rate(self.settings.optimiser, share, step)
        fade = helper_fade(self.settings.loss, share)
        self._window.append(self.step(batch, learning_rate=rate, step=step, fade=fade))
        self._people_in_window += len(batch.weight)
        self.progress.step += 1

    @torch.no_grad()
    def _augmented(self, stored: StoredBatch, share: float) -> TrainBatch:
        on_cpu = self.device.type == "cpu"
        return (augment_cpu.augment if on_cpu else augment.augment)(
            stored,
            self.settings.augment.scaled(augment_strength(self.settings, share)),
            generator=self._generator(self.progress.step),
            normalisation=self.network.config.normalisation,
            size_hw=input_size_hw(self.settings.run, share),
        )

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
            "learning_rate": self.optimiser.param_groups[0]["lr"],
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
                helpers=self.helped.own_state(),
                averaged=self.averaged,
                optimiser=self.optimiser,
                settings=self.settings,
                data_digest=self.data_digest,
                crops_seen=self.crops_seen,
                precision=self.precision,
                origin=self.origin,
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
            label_notes=self.label_notes,
            figures=self.figures,
            origin=self.origin,
        )

    def measure(self, share: float = 1.0) -> None:
        """Tell the observer early figures of the averaged weights, where people are held out."""
        self._log()
        if self.held_out and self.rank == 0:
            xy_crop, raw_score = validate.predict(
                as_trained(self.averaged, self.settings.loss),
                self.held_out.people.in_order(),
                size_hw=input_size_hw(self.settings.run, share),
                autocast=self.step.autocast,
            )
            self.figures = validate.figures(
                xy_crop, raw_score, self.held_out.table, scores_trained=self.settings.trains_scores
            )
            drawn_HWC = examples.sheet(self.held_out.people, xy_crop, raw_score)
            self.observer.on_figures(self.progress.step, self.figures, drawn_HWC)
        self._last["figures"] = self._last["log"] = self.clock()
