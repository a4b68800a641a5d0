"""The computations of the two stages on the device's thread, and the meaning of their failures."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from distilpose.model.arrays import ImageHWC
from distilpose.model.errors import DeviceFault, NotFinite, OutOfDeviceMemory
from distilpose.model.runtime.detector import Detections, PersonDetector
from distilpose.model.runtime.engine import PoseArrays, PoseEngine
from distilpose.service.words import Fault


class DetectItem(NamedTuple):
    """A letterboxed image, and the score below which its boxes are ignored."""

    canvas: ImageHWC
    min_box_score: float


def run_detector(
    detector: PersonDetector, buckets: Sequence[int]
) -> Callable[[Sequence[DetectItem]], list[Detections | Exception]]:
    """The detect stage's function for its batcher; black canvases pad a batch to its bucket."""

    def run(items: Sequence[DetectItem]) -> list[Detections | Exception]:
        bucket = next(size for size in buckets if size >= len(items))
        padding = [np.zeros((*detector.canvases[-1], 3), np.uint8)] * (bucket - len(items))
        canvases = [*(item.canvas for item in items), *padding]
        min_box_scores = np.full(bucket, np.inf, np.float32)
        min_box_scores[: len(items)] = [item.min_box_score for item in items]
        return list(detector.run(canvases, min_box_scores)[: len(items)])

    return run


def run_student(
    engine: PoseEngine,
) -> Callable[[Sequence[ImageHWC]], list[PoseArrays | Exception]]:
    """The pose stage's function for its batcher."""

    def run(crops: Sequence[ImageHWC]) -> list[PoseArrays | Exception]:
        arrays = engine.run(np.stack(crops))
        rows = [PoseArrays(*row) for row in zip(*arrays, strict=True)]
        return [row if _is_finite(row) else NotFinite("keypoints") for row in rows]

    return run


def kind_of(error: BaseException) -> Fault:
    """Classify a stage's failure."""
    kinds: list[tuple[type[BaseException], Fault]] = [
        (NotFinite, Fault.NAN),
        (OutOfDeviceMemory, Fault.OOM),
        (MemoryError, Fault.OOM),
        (DeviceFault, Fault.LOST),
    ]
    return next((kind for known, kind in kinds if isinstance(error, known)), Fault.FAULT)


def _is_finite(row: PoseArrays) -> bool:
    return all(bool(np.isfinite(column).all()) for column in row)
