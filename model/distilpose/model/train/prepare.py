"""From a run's settings to a run: caches and loaders."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch

from distilpose.model.data.people import PeopleFolder
from distilpose.model.errors import DataError
from distilpose.model.runtime import devices
from distilpose.model.train import checkpoint
from distilpose.model.train.feed.cache import EVALUATION, TRAINING, CropCache, build_cache, select
from distilpose.model.train.feed.loader import Loader, trusted_weight
from distilpose.model.train.feed.table import CropFormat
from distilpose.model.train.loop import Run
from distilpose.model.train.observers import Observer, Observers
from distilpose.model.train.record import Record
from distilpose.model.train.settings import TrainSettings
from distilpose.model.train.validate import HeldOut


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
    """A run ready to fit, which goes on from a checkpoint in `out` where it `resumes`.

    Cuts the caches that are not there yet.

    Raises:
        ConfigError: `out` has a checkpoint, and the run is not to go on from it.
        ModelError: data, weights or device are not as the settings say.
    """
    if not resumes:
        checkpoint.refuse_any(out)  # before minutes of cutting
    data = settings.data
    device = devices.choose_device(settings.run.device)

    def cut(folder: Path, name: str, crop_format: CropFormat) -> CropCache:
        people = PeopleFolder(folder, sources=data.sources or None)
        return build_cache(
            people,
            data.cache / name,
            crop_format=crop_format,
            workers=workers,
            on_progress=on_progress,
        )

    if device.type == "cpu":
        cv2.setNumThreads(1)  # its own threads would wait for torch's
    training = cut(data.people, "train", TRAINING)
    rows = _labelled(training, "exclude", data.label_weight, data.min_keypoint_weight)[: data.limit]
    if not len(rows):
        raise DataError(f"{data.people}: nobody has a keypoint that counts")
    loader = Loader(
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
    held_out = None
    if data.evaluate_on and rank == 0:
        held_out = _held_out(
            cut(data.evaluate_on, "evaluate", EVALUATION), data.evaluate_limit, device
        )
    observers = [observer, Record(out)] if rank == 0 else [observer]
    return Run(
        settings,
        out,
        loader,
        training.digest,
        held_out,
        Observers(observers),
        rank=rank,
        resumes=resumes,
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
