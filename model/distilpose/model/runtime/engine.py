"""Run the student on one device, from uint8 crops to arrays. Knows no images, boxes or queues.

One instance belongs to one thread. Inputs are padded to a fixed set of batch sizes (buckets), so
that the device only sees shapes that `warm_up` has run.
"""

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar, NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from distilpose.model.arrays import CropsBHWC, FloatArray, check_shape
from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.errors import ConfigError
from distilpose.model.networks import Student, StudentOut, Teacher
from distilpose.model.runtime.devices import faults_as_errors, torch_dtype
from distilpose.model.runtime.precision import Precision

Network = TypeVar("Network", bound=Student | Teacher)


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


class PoseEngine:
    """A student network ready to run on `device` in `precision`; takes ownership of the network.

    A teacher needs a `TeacherEngine`.

    Raises:
        ConfigError: `buckets` is empty or not ascending.
    """

    runtime: ClassVar[str] = "torch"
    """Name of the runtime."""

    def __init__(
        self,
        network: Student | Teacher,
        *,
        device: torch.device,
        precision: Precision,
        buckets: Sequence[int],
        compile_network: bool = False,
    ) -> None:
        if not buckets or buckets[0] < 1 or any(a >= b for a, b in pairwise(buckets)):
            raise ConfigError(f"buckets must rise and start at 1 or more, got {tuple(buckets)}")
        self.device = device
        self.precision = precision
        self.buckets = tuple(buckets)
        self._dtype = torch_dtype(precision)
        self.network = cast_for_inference(network, device=device, dtype=self._dtype)
        self._forward = torch.compile(self.network) if compile_network else self.network
        mean_rgb, std_rgb = network.config.normalisation
        self._mean = torch.tensor(mean_rgb, device=device).mul(255)
        self._std = torch.tensor(std_rgb, device=device).mul(255)

    def warm_up(self) -> dict[int, float]:
        """Run every bucket. Returns the seconds of each, as measured by `time_buckets`."""
        crops = np.zeros((self.buckets[-1], CROP_HEIGHT, CROP_WIDTH, 3), np.uint8)
        return time_buckets(lambda bucket: self.run(crops[:bucket]), self.buckets)

    @torch.inference_mode()
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

    def _run_bucket(self, crops_BHWC: CropsBHWC) -> PoseArrays:
        count = len(crops_BHWC)
        bucket = next(size for size in self.buckets if size >= count)
        padding = [(0, bucket - count), (0, 0), (0, 0), (0, 0)]
        padded = np.pad(crops_BHWC, padding) if bucket > count else crops_BHWC
        with faults_as_errors():
            return PoseArrays(*(column[:count] for column in self._answer(padded)))

    def _answer(self, crops_BHWC: CropsBHWC) -> PoseArrays:
        """The network's output for a full bucket."""
        out = cast("StudentOut", self._forward(self.normalise(torch.from_numpy(crops_BHWC))))
        columns = (out.xy_crop, out.raw_score, out.sigma_cell)
        return PoseArrays(*(column.float().cpu().numpy() for column in columns))

    def normalise(self, crops_BHWC: torch.Tensor) -> torch.Tensor:
        """uint8 RGB (B, 256, 192, 3) -> the network's input (B, 3, 256, 192)."""
        crops = crops_BHWC.to(self.device, non_blocking=True).float()
        return crops.sub_(self._mean).div_(self._std).permute(0, 3, 1, 2).to(self._dtype)


def cast_for_inference(network: Network, *, device: torch.device, dtype: torch.dtype) -> Network:
    """Prepare the network in place: norms folded, on `device`, in `dtype` except its output layer.

    Coordinates are 0..1: in bfloat16 their resolution would be only 0.75 crop pixels.
    """
    network.eval().requires_grad_(False)
    fold_batch_norms(network.convolutions)
    network.to(device=device, dtype=dtype)
    network.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    network.output_layer.float()
    return network


def fold_batch_norms(module: nn.Module) -> None:
    """Merge each convolution with the norm registered right behind it, in place.

    In evaluation mode the two are one linear map: it saves 40 % of the stem's time on a CPU.
    """
    for (name, conv), (norm_name, norm) in pairwise(list(module.named_children())):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(conv, norm))
            setattr(module, norm_name, nn.Identity())
    for child in module.children():
        fold_batch_norms(child)
