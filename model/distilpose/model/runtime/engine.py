"""From uint8 crops to a student's arrays, whatever runs it. Knows no images, boxes or queues.

One instance belongs to one thread. Inputs are padded to a fixed set of batch sizes (buckets), so
that the device only sees shapes that `warm_up` has run.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar, NamedTuple

import numpy as np

from distilpose.model import crop, geometry
from distilpose.model.arrays import CropsBHWC, FloatArray, check_shape
from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.errors import ConfigError
from distilpose.model.runtime.devices import ComputeDevice, Runtime
from distilpose.model.runtime.precision import Precision
from distilpose.model.skeleton import MIRROR_ORDER


class PoseArrays(NamedTuple):
    """A student's output for B crops."""

    xy_crop: FloatArray
    """(B, 17, 2), crop frame: 0..1 over the crop's width and height."""
    raw_score: FloatArray
    """(B, 17), unbounded."""
    sigma_cell: FloatArray
    """(B, 17, 2), heatmap cells."""


def powers_of_two(largest: int, *, each_up_to: int = 1) -> tuple[int, ...]:
    """The buckets of a stage: every size up to `each_up_to`, then doubled ones, and `largest`."""
    buckets = list(range(1, min(each_up_to, largest) + 1))
    while buckets[-1] * 2 < largest:
        buckets.append(buckets[-1] * 2)
    return (*buckets, largest) if largest > buckets[-1] else tuple(buckets)


def time_buckets(run: Callable[[int], object], buckets: Sequence[int]) -> dict[int, float]:
    """Run every bucket, the smallest and the largest twice, since a first run is slower.

    Returns the seconds of each bucket's last run.
    """
    seconds = {}
    for bucket in (*buckets, *sorted({buckets[0], buckets[-1]})):
        began = time.perf_counter()
        run(bucket)
        seconds[bucket] = time.perf_counter() - began
    return seconds


class PoseEngine(ABC):
    """A student network ready to run on `device` in `precision`.

    Raises:
        ConfigError: `buckets` is empty or not ascending.
    """

    runtime: ClassVar[Runtime]
    """Name of the library that runs the network."""

    def __init__(
        self, *, device: ComputeDevice, precision: Precision, buckets: Sequence[int]
    ) -> None:
        if not buckets or buckets[0] < 1 or any(a >= b for a, b in pairwise(buckets)):
            raise ConfigError(f"buckets must rise and start at 1 or more, got {tuple(buckets)}")
        self.device = device
        self.precision = precision
        self.buckets = tuple(buckets)

    def restore(self) -> None:  # noqa: B027 - nothing is kept by most
        """Take all that earlier starts kept of the network."""

    def warm_up(self) -> dict[int, float]:
        """Run every bucket. Returns the seconds of each, as measured by `time_buckets`."""
        crops = np.zeros((self.buckets[-1], CROP_HEIGHT, CROP_WIDTH, 3), np.uint8)
        return time_buckets(lambda bucket: self.run(crops[:bucket]), self.buckets)

    def run(self, crops_BHWC: CropsBHWC) -> PoseArrays:
        """The student's output for any number of crops (B, 256, 192, 3), RGB uint8.

        More crops than the largest bucket are run as several batches.

        Raises:
            ArrayError: the crops have another shape.
            OutOfDeviceMemory: a batch does not fit into the device's memory.
            DeviceFault: the device no longer computes.
        """
        check_shape(crops_BHWC, (None, CROP_HEIGHT, CROP_WIDTH, 3), name="crops")
        largest = self.buckets[-1]
        parts = [
            self._run_bucket(crops_BHWC[start : start + largest])
            for start in range(0, max(len(crops_BHWC), 1), largest)
        ]
        return PoseArrays(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def run_flip_test(self, crops_BHWC: CropsBHWC) -> PoseArrays:
        """The mean of the output for the crops and of that for their mirror images.

        Raises:
            ArrayError: the crops have another shape.
            OutOfDeviceMemory: a batch does not fit into the device's memory.
            DeviceFault: the device no longer computes.
        """
        return merge_mirrored(self.run(crops_BHWC), self.run(crop.mirror(crops_BHWC)))

    def _run_bucket(self, crops_BHWC: CropsBHWC) -> PoseArrays:
        count = len(crops_BHWC)
        bucket = next(size for size in self.buckets if size >= count)
        padding = [(0, bucket - count), (0, 0), (0, 0), (0, 0)]
        padded = np.pad(crops_BHWC, padding) if bucket > count else crops_BHWC
        return PoseArrays(*(column[:count] for column in self._answer(padded)))

    @abstractmethod
    def _answer(self, crops_BHWC: CropsBHWC) -> PoseArrays:
        """The network's output for a full bucket."""


def merge_mirrored(
    plain: PoseArrays, mirrored: PoseArrays, *, published: bool = False
) -> PoseArrays:
    """The flip test: the mean of the student's outputs for N crops and their mirror images.

    Left and right of the mirrored output are swapped, scores and sigmas too. `published` leaves
    the scores unswapped and half a pixel of bias in x, as the authors' code does.

    *Source:* DistilPose's released test path, with its two errors corrected.
    """
    order = np.arange(len(MIRROR_ORDER)) if published else MIRROR_ORDER
    xy_crop = geometry.mirror_xy_crop(mirrored.xy_crop, published=published)
    return PoseArrays(
        _mean(plain.xy_crop, xy_crop),
        _mean(plain.raw_score, mirrored.raw_score[:, order]),
        _mean(plain.sigma_cell, mirrored.sigma_cell[:, MIRROR_ORDER]),
    )


def _mean(some: FloatArray, other: FloatArray) -> FloatArray:
    return (some + other) * np.float32(0.5)
