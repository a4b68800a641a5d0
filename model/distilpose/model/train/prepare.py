"""From a run's settings to a run: caches, loaders, networks, and where they go on from."""

import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch

from distilpose.model.data.labels.layouts import layout_for
from distilpose.model.data.people import PeopleFolder
from distilpose.model.errors import DataError
from distilpose.model.networks import Student, Teacher, build
from distilpose.model.runtime import devices
from distilpose.model.runtime.precision import Precision
from distilpose.model.train import checkpoint, precision
from distilpose.model.train.checkpoint import Checkpoint
from distilpose.model.train.distributed import agreed
from distilpose.model.train.feed.cache import EVALUATION, TRAINING, CropCache, build_cache, select
from distilpose.model.train.feed.loader import Loader, trusted_weight
from distilpose.model.train.feed.table import CropFormat
from distilpose.model.train.helpers import Helped
from distilpose.model.train.loop import Run
from distilpose.model.train.objectives import objective
from distilpose.model.train.observers import Observer, Observers
from distilpose.model.train.record import Record
from distilpose.model.train.schedule import Progress
from distilpose.model.train.settings import DataSettings, TrainSettings
from distilpose.model.train.start import FROM_NOTHING, start_weights
from distilpose.model.train.step import Step, frozen, make_optimiser
from distilpose.model.train.validate import EarlyFigures, HeldOut


def prepare(
    settings: TrainSettings,
    out: Path,
    *,
    observer: Observer,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 1,
    resumes: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Run:
    """A run ready to fit, which goes on from a checkpoint in `out`, if there is one, if it resumes.

    Cuts the caches that are not there yet. All processes of a run have to prepare it.

    Raises:
        ConfigError: `out` has a checkpoint, and the run is not to go on from it.
        WeightsError: what it starts from is missing or damaged, or the checkpoint is another run's.
        ModelError: data or device are not as the settings say.
    """
    if not resumes:
        checkpoint.refuse_any(out)  # before minutes of cutting
    device = torch.device(devices.choose_device(settings.run.device))
    if device.type == "cpu":
        cv2.setNumThreads(1)  # its own threads would wait for torch's
    observers = Observers([observer, Record(out)] if rank == 0 else [observer])
    cut = partial(_cut, settings.data, observers, workers=workers, on_progress=on_progress)
    training, label_notes = cut(settings.data.people, "train", TRAINING)
    loader = _loader(training, settings, device, rank=rank, world_size=world_size)
    held_out = None
    if settings.data.evaluate_on and rank == 0:
        people, _ = cut(settings.data.evaluate_on, "evaluate", EVALUATION)
        held_out = _held_out(people, settings.data.evaluate_limit, device)
    return _run(
        settings,
        out,
        loader,
        data_digest=training.digest,
        label_notes=label_notes,
        held_out=held_out,
        observer=observers,
        rank=rank,
    )


def _run(
    settings: TrainSettings,
    out: Path,
    loader: Loader,
    *,
    data_digest: str,
    label_notes: Sequence[str],
    held_out: HeldOut | None,
    observer: Observer,
    rank: int,
) -> Run:
    """Return the run on what a loader gives, as it begins or as its checkpoint left it."""
    torch.manual_seed(settings.run.seed)
    before = checkpoint.load_own(out, settings, data_digest, loader.device)
    network = build(settings.network).to(loader.device)
    # What a run began with need not be there any more when it goes on.
    start = FROM_NOTHING if before else start_weights(network, settings)
    averaged = frozen(deepcopy(network))
    helped = Helped(network, settings.loss).to(loader.device)
    helped.take(start.helpers)
    crops = loader.crops_per_step
    progress = Progress(settings.run, loader.steps_per_epoch, time.monotonic, crops_per_step=crops)
    optimiser = make_optimiser(helped, settings.optimiser)
    terms = objective(helped, settings, loader.device)
    if before:
        before.restore(helped=helped, averaged=averaged, optimiser=optimiser)
        progress.step, progress.spent_seconds = before.step, before.spent_seconds
    computes_in = _precision(settings, network, before, observer)
    autocast = partial(precision.autocast, computes_in, loader.device)
    return Run(
        settings,
        out,
        loader,
        data_digest,
        label_notes,
        held_out,
        observer,
        helped,
        averaged,
        optimiser,
        Step(network, averaged, terms, optimiser, settings.optimiser, autocast),
        progress,
        computes_in,
        origin=before.began_with if before else start.origin,
        crops_before=before.crops_before(crops) if before else start.crops_seen,
        figures=EarlyFigures(**before.figures) if before and before.figures else None,
        rank=rank,
    )


def _precision(
    settings: TrainSettings,
    network: Student | Teacher,
    before: Checkpoint | None,
    observer: Observer,
) -> Precision:
    """Return the precision that is set, else the checkpoint's, else the first process's choice."""
    if settings.run.precision != "auto":
        return settings.run.precision
    if before and before.precision:
        return before.precision
    device = next(network.parameters()).device
    trial = partial(precision.trial_seconds, network, batch_size=settings.run.batch_size)
    chosen, why = precision.choose(device, trial)
    observer.on_note(f"precision {why}")
    return "bfloat16" if agreed(float(chosen == "bfloat16"), device) else "float32"


class _Cut(NamedTuple):
    crops: CropCache
    label_notes: list[str]
    """Sentences about labels that were left out or repaired."""


def _cut(
    data: DataSettings,
    observer: Observer,
    folder: Path,
    name: str,
    crop_format: CropFormat,
    *,
    workers: int,
    on_progress: Callable[[int, int], None],
) -> _Cut:
    layout = data.layout if folder == data.people else layout_for(folder, data.layout)
    people = PeopleFolder(folder, sources=data.sources or None, layout=layout)
    notes = people.labels.notes()
    for note in notes:
        observer.on_note(f"{folder}: {note}")
    crops = build_cache(
        people,
        data.cache / name,
        crop_format=crop_format,
        workers=workers,
        on_progress=on_progress,
    )
    return _Cut(crops, notes)


def _loader(
    training: CropCache,
    settings: TrainSettings,
    device: torch.device,
    *,
    rank: int,
    world_size: int,
) -> Loader:
    data = settings.data
    rows = _labelled(training, "exclude", data.label_weight, data.min_keypoint_weight)[: data.limit]
    if not len(rows):
        raise DataError(f"{data.people}: nobody has a keypoint that counts")
    return Loader(
        training,
        rows,
        batch_size=settings.run.batch_size,
        seed=settings.run.seed,
        device=device,
        resident=data.resident,
        rank=rank,
        world_size=world_size,
        repeat=data.repeat,
        label_weight=data.label_weight,
        min_keypoint_weight=data.min_keypoint_weight,
    )


def _held_out(cache: CropCache, limit: int | None, device: torch.device) -> HeldOut:
    rows = _labelled(cache, "include")[:limit]
    people = Loader(cache, rows, batch_size=64, seed=0, device=device, resident=False)
    return HeldOut(people, cache.table.take(rows))


def _labelled(
    cache: CropCache,
    holdout: Literal["exclude", "include"],
    label_weight: Mapping[str, float] = MappingProxyType({}),
    min_keypoint_weight: float = 0.0,
) -> npt.NDArray[np.intp]:
    """The people who have a keypoint that counts: nobody else is worth a place in a batch."""
    rows = select(cache, holdout=holdout)
    weight = trusted_weight(cache.table.take(rows), label_weight, min_keypoint_weight)
    return np.asarray(rows[np.any(weight > 0, axis=1)])
