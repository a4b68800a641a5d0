"""Ultralytics' own trainer with what ours does otherwise. Knows no folders of people and no cards.

Theirs are the loss, the augmentation and the loop. Ours are the network with the class branch of
the published weights, when the run ends, how fast it learns, when it is saved, and that nothing is
downloaded or reported.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Final, Protocol, cast

import torch
from torch import Tensor, nn

from distilpose.model.errors import ConfigError, WeightsError
from distilpose.model.files import replacing
from distilpose.model.networks.offline import import_ultralytics
from distilpose.model.runtime.detector import PACKAGED
from distilpose.model.runtime.pytorch.yolo import person_network
from distilpose.model.train.detector.data import DetectorData

CALM_SHARE: Final = 0.15
"""Last part of a run: its epochs see whole pictures, no longer four put together to one."""
_WORKERS: Final = 2
"""Processes that read pictures; on a CPU the training does it."""
_EPOCHS: Final = 1_000_000
"""More than any run takes: `Pace` ends the run, by the clock too, and also a resumed one."""


@dataclass(frozen=True, kw_only=True)
class DetectorSettings:
    """Everything that a run depends on but for its data.

    Raises:
        ConfigError: not one of `epochs` and `budget_seconds` is given, or the size does not work.
    """

    epochs: float | None = None
    budget_seconds: float | None = None
    """Wall time of the training, without what comes before and after it."""
    start_from: Path | None = PACKAGED
    """Weights in our form, or None for random ones."""
    image_size_px: int = 640
    """Longer side of the pictures: a multiple of 32, at least 64."""
    batch_size: int = 16
    """Pictures a step."""
    device: str = "cpu"
    """As torch calls it."""
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.budget_seconds is None):
            raise ConfigError("a detector's training has a length in epochs or a time budget")
        if self.image_size_px < 64 or self.image_size_px % 32:
            raise ConfigError(f"image size {self.image_size_px} is not a multiple of 32 from 64 on")


class Pace(Protocol):
    """Says what is due when, and keeps track of what was done."""

    @property
    def share(self) -> float:
        """Share of the run that is done, 0..1."""

    @property
    def is_gentle(self) -> bool:
        """True if the network was trained before, so that it is fine-tuned."""

    @property
    def rate(self) -> float:
        """Learning rate of the next step."""

    @property
    def is_over(self) -> bool:
        """True if no further step is to be taken."""

    @property
    def is_save_due(self) -> bool:
        """True if the last checkpoint is old."""

    def begin(self, steps_per_epoch: int) -> int:
        """The first step is next; gives back how many there were before in this run."""

    def after_step(self, losses: Mapping[str, float]) -> None:
        """A step was taken; the losses are means of the epoch so far."""

    def after_save(self) -> None:
        """A checkpoint was written."""


def person_network_with(state: Mapping[str, Tensor], path: Path) -> Any:
    """The one-class network, not fused, with every one of its weights from `state`.

    Raises:
        WeightsError: naming `path`, if a tensor is missing, left over or of another shape.
    """
    module = person_network()
    try:
        module.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except RuntimeError as err:
        raise WeightsError(f"{path}: not every tensor fits the person detector: {err}") from err
    return module


def make_trainer(
    pace: Pace,
    settings: DetectorSettings,
    data: DetectorData,
    *,
    folder: Path,
    checkpoint: Path,
    module: Any | None,
) -> Any:
    """Ultralytics' trainer, whose `train()` trains `module`, or goes on from `checkpoint` for None.

    Its log comes into `folder`. When it is done, `ema.ema` is the averaged network. It seeds the
    random generators of the process.

    Raises:
        WeightsError: the checkpoint is missing or damaged.
    """
    base = import_ultralytics("models.yolo.detect").DetectionTrainer
    ours = {"pace": pace, "data_set": data, "checkpoint": checkpoint}
    overrides = {
        **_overrides(settings),
        "data": str(data.description),
        "save_dir": str(folder),
        "resume": False if module else str(checkpoint),
    }
    threads = torch.get_num_threads()
    try:
        trainer = type("PersonTrainer", (_Differences, base), ours)(overrides=overrides)
    except FileNotFoundError as err:  # whatever is wrong with a checkpoint
        raise WeightsError(f"{checkpoint}: cannot be gone on from: {err.__cause__}") from err
    torch.set_num_threads(threads)  # theirs leaves a core idle
    if module:
        trainer.model = module
    return trainer


def _overrides(settings: DetectorSettings) -> dict[str, Any]:
    """Ultralytics' settings, where they are not its own choice."""
    on_gpu = settings.device.startswith("cuda")
    return {
        "model": "yolov8n.yaml",
        "device": settings.device,
        # Another precision would be tried out first, on a network that is downloaded.
        "amp": "bf16" if on_gpu and torch.cuda.is_bf16_supported() else False,
        "imgsz": settings.image_size_px,
        "batch": settings.batch_size,
        "nbs": settings.batch_size,  # one step a batch
        "workers": _WORKERS,
        "seed": settings.seed,
        "epochs": _EPOCHS,
        "optimizer": "AdamW",
        "momentum": 0.9,
        "warmup_epochs": 0,
        "close_mosaic": 1,  # of `epochs`: not before `Pace` has it
        "patience": 0,
        "save": False,  # after an epoch; ours is saved when `Pace` says so, and at the end
        "deterministic": False,
        "plots": False,
    }


class _Differences:
    """Goes before ultralytics' trainer among the bases of a class."""

    pace: ClassVar[Pace]
    data_set: ClassVar[DetectorData]
    checkpoint: ClassVar[Path]

    def get_dataset(self) -> dict[str, Any]:
        """The folders of the pictures; ultralytics' own method downloads a font besides."""
        pictures = str(self.data_set.pictures)
        return {"train": pictures, "val": pictures, "names": {0: "person"}, "nc": 1, "channels": 3}

    def get_model(self, cfg: object = None, weights: Any = None, verbose: bool = True) -> Any:
        """The network of a checkpoint; theirs leaves random what does not fit their own."""
        return person_network_with(weights.state_dict(), self.checkpoint)

    def run_callbacks(self, event: str) -> None:
        """Only our own: those that ultralytics comes with report to services."""
        ours: dict[str, Callable[[], object]] = {
            "on_train_start": self._begin,
            "on_train_epoch_start": self._begin_epoch,
            "on_train_batch_start": self._set_rate,
            "on_train_batch_end": self._after_step,
            "on_train_end": self.save_model,
        }
        if event in ours:
            ours[event]()

    def get_validator(self) -> Any:
        """None of theirs, which needs torchvision: our own detector is measured instead."""
        return SimpleNamespace(metrics=SimpleNamespace(keys=[]))

    def validate(self) -> tuple[dict[str, float], None]:
        """No figures."""
        return {}, None

    def _model_train(self) -> None:
        """Training mode, but for the statistics of a network that was trained before.

        Those of a few pictures put together are far from those of many as they are.
        """
        trainer: Any = self
        cast("Any", super())._model_train()
        if self.pace.is_gentle:
            for module in trainer.model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def save_model(self) -> None:
        """Write the checkpoint beside the last one and put it in its place."""
        trainer: Any = self
        try:
            with replacing(self.checkpoint) as unfinished:
                trainer.last = trainer.best = unfinished
                cast("Any", super()).save_model()
        finally:
            trainer.last = trainer.best = self.checkpoint
        self.pace.after_save()

    def final_eval(self) -> None:
        """Nothing: theirs takes from the checkpoint what a run needs to go on."""

    def _begin(self) -> None:
        trainer: Any = self
        if steps_before := self.pace.begin(len(trainer.train_loader)):
            # Otherwise a resumed run would see the same pictures first again.
            trainer.train_loader.generator.manual_seed(steps_before)

    def _begin_epoch(self) -> None:
        trainer: Any = self
        trainer._oom_retries = math.inf  # none: they would go on with other batches than asked for
        if self.pace.share >= 1 - CALM_SHARE:
            trainer.args.close_mosaic = trainer.epochs

    def _set_rate(self) -> None:
        trainer: Any = self
        for group in trainer.optimizer.param_groups:
            group["lr"] = self.pace.rate

    def _after_step(self) -> None:
        trainer: Any = self
        self.pace.after_step({name: float(value) for name, value in trainer.tloss.items()})
        trainer.stop = self.pace.is_over
        if self.pace.is_save_due and not trainer.stop:
            self.save_model()
