"""Everything that a run needs to resume exactly, in one file that is replaced atomically."""

import json
import os
import pickle
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from distilpose.model.card import Card
from distilpose.model.errors import ConfigError, WeightsError
from distilpose.model.runtime.precision import Precision
from distilpose.model.train.helpers import Helped
from distilpose.model.train.settings import TrainSettings
from distilpose.model.train.validate import EarlyFigures

NAME: Final = "checkpoint.pt"
"""Name of the file in a run's folder."""

TRAINING_DATA: Final = "Those of the training data: ask whoever trained these weights."


class Origin(NamedTuple):
    """A file that a run took weights from."""

    file: str
    """The file's name, without folders."""
    architecture: str
    version: str
    """The version on the file's card, or the step of a checkpoint."""
    sha256: str
    """The file's digest, lower-case hexadecimal."""
    licences: tuple[str, ...]

    @classmethod
    def of_weights(cls, path: Path, card: Card, sha256: str) -> "Origin":
        """The weights file at `path`, which has this card and digest."""
        return cls(path.name, card.architecture, card.version, sha256, card.licences)

    def __str__(self) -> str:
        """The text for a card."""
        return f"{self.architecture} {self.version} ({self.file}, sha256 {self.sha256[:16]})"


UNKNOWN: Final = Origin(
    file="a file that its checkpoint does not name",
    architecture="weights",
    version="unknown",
    sha256="unknown",
    licences=(
        "Those of the weights that training began with, which its checkpoint does not name.",
    ),
)
"""The origin for checkpoints of older releases, which do not record it."""


def licences_after(origin: Origin | None) -> tuple[str, ...]:
    """The licences of weights trained from `origin`, or from nothing."""
    before = origin.licences if origin else ()
    return tuple(dict.fromkeys([*before, TRAINING_DATA]))


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after `step` steps."""

    step: int
    spent_seconds: float
    network: dict[str, Tensor]
    averaged: dict[str, Tensor]
    optimiser: dict[str, Any]
    settings: str
    """The run's settings as JSON."""
    data_digest: str
    code_version: str
    helpers: dict[str, Tensor] = field(default_factory=dict)
    """The state of `helpers.Helped`; empty if a run has none."""
    crops_seen: int | None = None
    """Crops that the weights have learned from, including earlier runs; None if unknown."""
    precision: Precision | None = None
    """The precision of the run."""
    origin: dict[str, Any] | None = field(default_factory=UNKNOWN._asdict)
    """The fields of the run's starting `Origin`; None if it started from nothing."""
    figures: dict[str, float] | None = None
    """The run's latest early figures by name; None before the first."""

    @property
    def began_with(self) -> Origin | None:
        """The weights that the run started from; None for nothing."""
        return None if self.origin is None else Origin(**self.origin)

    @property
    def network_name(self) -> str:
        """The network that was trained."""
        return str(json.loads(self.settings)["network"])

    @classmethod
    def of(
        cls,
        *,
        step: int,
        spent_seconds: float,
        network: torch.nn.Module,
        helpers: dict[str, Tensor],
        averaged: torch.nn.Module,
        optimiser: torch.optim.Optimizer,
        settings: TrainSettings,
        data_digest: str,
        crops_seen: int | None,
        precision: Precision,
        origin: Origin | None,
        figures: EarlyFigures | None,
    ) -> "Checkpoint":
        """The state of a run as it stands."""
        return cls(
            step=step,
            spent_seconds=spent_seconds,
            network=network.state_dict(),
            helpers=helpers,
            averaged=averaged.state_dict(),
            optimiser=optimiser.state_dict(),
            settings=settings.model_dump_json(),
            data_digest=data_digest,
            code_version=version("distilpose"),
            crops_seen=crops_seen,
            precision=precision,
            origin=origin._asdict() if origin else None,
            figures=figures._asdict() if figures else None,
        )

    def crops_before(self, crops_per_step: int) -> int | None:
        """Return the number of crops seen before this run; None if unknown."""
        return None if self.crops_seen is None else self.crops_seen - self.step * crops_per_step

    def restore(
        self, *, helped: Helped, averaged: torch.nn.Module, optimiser: torch.optim.Optimizer
    ) -> None:
        """Load weights and the optimiser's state into a run's parts; `helped` has the network."""
        helped.network.load_state_dict(self.network)
        helped.load_state_dict(self.helpers, strict=False)
        averaged.load_state_dict(self.averaged)
        optimiser.load_state_dict(self.optimiser)

    def check_belongs_to(self, settings: TrainSettings, data_digest: str, path: Path) -> None:
        """Check that the run of `settings` on this data can continue from here.

        Raises:
            WeightsError: the checkpoint is of another network, batch size or dense map, or of
                other data.
        """
        if self.network_name != settings.network:
            raise WeightsError(f"{path}: is of {self.network_name}, not of {settings.network}")
        if self.data_digest != data_digest:
            raise WeightsError(f"{path}: was trained on other data; start anew in another folder")
        batch_size = json.loads(self.settings)["run"]["batch_size"]
        if batch_size != settings.run.batch_size:
            raise WeightsError(
                f"{path}: run.batch_size is {settings.run.batch_size}, was {batch_size}; a run "
                "keeps its batch size"
            )
        if bool(self.helpers) != settings.has_dense_map:
            before = "without" if settings.has_dense_map else "with"
            raise WeightsError(
                f"{path}: loss.dense is {settings.loss.dense:g}, but the run began {before} a "
                "dense map, which cannot be changed"
            )


def refuse_any(folder: Path) -> None:
    """Check that `folder` has no checkpoint, which a new run there would overwrite.

    Raises:
        ConfigError: it has one.
    """
    if (folder / NAME).exists():
        raise ConfigError(
            f"{folder}: already has the {NAME} of a run; continue it with --resume, or start "
            "in another folder"
        )


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` atomically; a reader finds the old one or this one, never a part.

    Only one process at a time may write to `path`. An unfinished file beside it, left by a killed
    process, is overwritten by the next.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            torch.save(vars(checkpoint), file)
            file.flush()
            os.fsync(file.fileno())  # a power failure may otherwise leave an empty file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def load_own(
    folder: Path, settings: TrainSettings, data_digest: str, device: torch.device
) -> Checkpoint | None:
    """Return the checkpoint from which the run of `settings` in `folder` resumes; None if none.

    Raises:
        WeightsError: the file is not a checkpoint, or is another run's.
    """
    path = folder / NAME
    if not path.exists():
        return None
    state = load(path, device)
    state.check_belongs_to(settings, data_digest, path)
    return state


def load(path: Path, device: torch.device) -> Checkpoint:
    """Load the checkpoint in `path`, with its tensors on `device`. No code in the file is run.

    Raises:
        WeightsError: the file is missing or not a checkpoint of a run.
    """
    try:
        return Checkpoint(**torch.load(path, map_location=device, weights_only=True))
    except FileNotFoundError as err:
        raise WeightsError(f"{path}: no such file") from err
    except (pickle.UnpicklingError, RuntimeError, EOFError, TypeError, OSError) as err:
        raise WeightsError(f"{path}: not a checkpoint of a run: {err}") from err
