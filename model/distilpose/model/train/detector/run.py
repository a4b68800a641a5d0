"""A detector's training as a run: its progress, its checkpoints, and the weights it ends with.

A run's folder has

    OUT/yolov8n-person.safetensors   averaged weights with a card, as `--detector` takes them
    OUT/checkpoint.{pt,json}         everything to go on from, and how far that is
    OUT/ultralytics/results.csv      losses, a line an epoch
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from distilpose.model.card import Card, Figure, version_of
from distilpose.model.data.labels.layouts import Layout
from distilpose.model.data.people import PeopleFolder
from distilpose.model.errors import WeightsError, one_line
from distilpose.model.files import replacing
from distilpose.model.runtime.pytorch.yolo import PACKAGED_ARCHITECTURE, person_network
from distilpose.model.train.detector.data import DetectorData, write_detector_data
from distilpose.model.train.detector.trainer import (
    DetectorSettings,
    make_trainer,
    person_network_with,
)
from distilpose.model.train.loop import TrainingFailed
from distilpose.model.train.schedule import Progress, learning_rate
from distilpose.model.train.settings import OptimiserSettings, RunSettings
from distilpose.model.weights import read_tensors, write_tensors

GENTLE: Final = OptimiserSettings(learning_rate=5e-5, warmup_steps=50)
"""For a network that was trained before: at four times the rate, the first 80 steps cost 6 points
of AP that a short run does not earn again."""
FROM_NOTHING: Final = OptimiserSettings(learning_rate=2e-3, warmup_steps=50)
"""For a random network: the rate that ultralytics takes for one class and AdamW."""
_SAVE_EVERY_SECONDS: Final = 120
_TRAINERS_LICENCE: Final = "AGPL-3.0 (Ultralytics' terms for weights that its trainer makes)"
_DATA_LICENCE: Final = "Those of the training data: ask whoever trained these weights."


class _State(BaseModel):
    """The state of a run that ultralytics' checkpoint does not hold."""

    data_digest: str
    start: str
    """The weights it began with, in words."""
    from_nothing: bool
    """True if those were random."""
    training_data: str
    """That of its start included."""
    licences: tuple[str, ...]
    step: int = 0
    spent_seconds: float = 0.0


@dataclass
class DetectorRun:
    """A run that is set up: `fit()` takes it to its end, or to where `stopping` is set.

    It is the `Pace` of ultralytics' trainer.
    """

    settings: DetectorSettings
    data: DetectorData
    out: Path
    on_step: Callable[[float, Mapping[str, float]], None] = lambda share, losses: None
    """Gets the share of the run that is done, and the losses: means of the epoch so far."""
    clock: Callable[[], float] = time.monotonic
    stopping: bool = False
    progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        run = RunSettings(epochs=self.settings.epochs, budget_seconds=self.settings.budget_seconds)
        self.progress = Progress(run, 1, self.clock)
        self._saved_at = self.clock()

    @property
    def weights_path(self) -> Path:
        """The averaged weights, there when `fit()` has ended."""
        return self.out / f"{PACKAGED_ARCHITECTURE}.safetensors"

    @property
    def checkpoint_path(self) -> Path:
        """The checkpoint that a resumed run starts from."""
        return self.out / "checkpoint.pt"

    def fit(self, *, resume: bool = False) -> None:
        """Train to the end from the settings' start, or go on from the checkpoint in `out`.

        Raises:
            WeightsError: the weights or the checkpoint are missing, damaged, or of something else.
            TrainingFailed: a loss was not a number.
        """
        module = None
        if resume:
            self._state = self._read_state()
        else:
            module, self._state = self._start()
        self.out.mkdir(parents=True, exist_ok=True)
        trainer = make_trainer(
            self,
            self.settings,
            self.data,
            folder=self.out / "ultralytics",
            checkpoint=self.checkpoint_path,
            module=module,
        )
        trainer.train()
        self._write_weights(trainer.ema.ema.state_dict())

    @property
    def share(self) -> float:
        """Share of the run that is done, 0..1."""
        return self.progress.share

    @property
    def is_gentle(self) -> bool:
        """True if the network was trained before, so that it is fine-tuned."""
        return not self._state.from_nothing

    @property
    def rate(self) -> float:
        """Learning rate of the next step."""
        optimiser = GENTLE if self.is_gentle else FROM_NOTHING
        return learning_rate(optimiser, self.share, self.progress.step)

    @property
    def is_over(self) -> bool:
        """True if no further step is to be taken."""
        return self.stopping or self.share >= 1

    @property
    def is_save_due(self) -> bool:
        """True if the last checkpoint is old."""
        return self.clock() - self._saved_at >= _SAVE_EVERY_SECONDS

    def begin(self, steps_per_epoch: int) -> int:
        """Start the clock; gives back the steps of earlier starts."""
        state, length = self._state, self.progress.run
        self.progress = Progress(
            length, steps_per_epoch, self.clock, state.step, state.spent_seconds
        )
        self._saved_at = self.clock()
        return state.step

    def after_step(self, losses: Mapping[str, float]) -> None:
        """Count a step.

        Raises:
            TrainingFailed: a loss is not a number.
        """
        self.progress.step += 1
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        if bad:
            step = self.progress.step
            raise TrainingFailed(f"{', '.join(bad)} not finite by step {step}; not saved")
        self.on_step(self.share, losses)

    def after_save(self) -> None:
        """Say beside a new checkpoint how far it is."""
        done = {"step": self.progress.step, "spent_seconds": self.progress.seconds}
        self._state = self._state.model_copy(update=done)
        with replacing(self._state_path) as unfinished:
            unfinished.write_text(self._state.model_dump_json(indent=2), "utf-8")
        self._saved_at = self.clock()

    @property
    def _state_path(self) -> Path:
        return self.checkpoint_path.with_suffix(".json")

    def _start(self) -> tuple[Any, _State]:
        """The network that a new run begins with, and what is known of it."""
        pictures = f"{self.data.count} pictures of {self.data.name}"
        data = " ".join([pictures, *(f"({note})" for note in self.data.label_notes)])
        path = self.settings.start_from
        licences: tuple[str, ...] = (_TRAINERS_LICENCE,)
        if path is None:
            torch.manual_seed(self.settings.seed)
            module = person_network()
            module.model[-1].bias_init()  # anew, as it was for 80 classes
            start = "random weights"
        else:
            tensors, card, sha256 = read_tensors(path)
            module = person_network_with(tensors, path)
            start = f"{card.architecture}, version {card.version} (sha256 {sha256[:16]})"
            data, licences = f"{data}; before that: {card.training_data}", card.licences
        return module, _State(
            data_digest=self.data.digest,
            start=start,
            from_nothing=path is None,
            training_data=data,
            licences=tuple(dict.fromkeys((*licences, _DATA_LICENCE))),
        )

    def _read_state(self) -> _State:
        path = self._state_path
        try:
            state = _State.model_validate_json(path.read_text("utf-8"))
        except FileNotFoundError as err:
            raise WeightsError(f"{path}: no such file, so there is nothing to go on from") from err
        except ValidationError as err:
            raise WeightsError(
                f"{path}: not the checkpoint of a detector: {one_line(err)}"
            ) from err
        if state.data_digest != self.data.digest:
            raise WeightsError(f"{path}: was trained on other data; start anew in another folder")
        return state

    def _write_weights(self, state: Mapping[str, Tensor]) -> None:
        path, settings, today = self.weights_path, self.settings, datetime.now(UTC)
        tensors = {
            name: tensor.cpu().half()
            for name, tensor in state.items()
            if tensor.is_floating_point()  # the rest are counters of the training
        }
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise WeightsError(f"{path}: not finite in float16")
        card = Card(
            architecture=PACKAGED_ARCHITECTURE,
            version=version_of(today),
            created=today.date(),
            source=(
                f"Trained by distilpose {version('distilpose')} with ultralytics' trainer for "
                f"{self.progress.step} steps of {settings.batch_size} pictures at "
                f"{settings.image_size_px} pixels, from {self._state.start}; averaged weights."
            ),
            training_data=self._state.training_data,
            licences=self._state.licences,
            calibrated=False,
            limitations=(
                "Small and fast: misses people that are tiny, crowded or mostly hidden.",
                f"Trained on images of {settings.image_size_px} pixels on the longer side.",
            ),
        )
        write_tensors(path, tensors, card)


def prepare(
    people: Path,
    out: Path,
    settings: DetectorSettings,
    *,
    layout: Layout | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> DetectorRun:
    """Write the people of a folder as ultralytics reads them, and return a run on them.

    `layout` chooses where the folder holds several. `on_progress` gets pictures done and pictures
    in all.

    Raises:
        DataError: the folder cannot be read, or nobody in it can be learned from.
    """
    folder = PeopleFolder(people, layout=layout)
    data = write_detector_data(folder, out / "data", on_progress=on_progress)
    return DetectorRun(settings, data, out)


def add_figures(path: Path, figures: Sequence[Figure]) -> None:
    """Put measured figures into the card of the weights in `path`, in place of those it has.

    Raises:
        WeightsError: the file is missing or no weights file.
    """
    tensors, card, _ = read_tensors(path)
    write_tensors(path, tensors, card.model_copy(update={"accuracy": tuple(figures)}))
