"""Load batches of stored people for one of several training processes, reproducibly by seed.

The order of an epoch depends only on the seed and the epoch's number, so that a resumed run
continues exactly where it was. Knows no augmentation and no networks.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distilpose.model.arrays import FloatArray
from distilpose.model.errors import DataError
from distilpose.model.train.feed.batch import StoredBatch
from distilpose.model.train.feed.cache import CropCache, check_sources
from distilpose.model.train.feed.table import PeopleTable

Indices: TypeAlias = npt.NDArray[np.intp]
Stored: TypeAlias = npt.NDArray[np.uint8]

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_CROPS_A_COPY: Final = 512


class Loader:
    """Batches of the people in rows `indices` of a cache, for process `rank` of `world_size`.

    Every batch of an epoch is full: the last one is filled up with the epoch's first people. The
    batches of all processes at one step together equal the batch of one process with `world_size`
    times the `batch_size`.

    If `resident`, all crops are copied to the device at the start; otherwise, and on the CPU, where
    the system caches them in memory anyway, each batch is read while the previous one is in use. An
    epoch has everyone once, or as often as `repeat` gives for their source. Keypoints with less
    trust than `min_keypoint_weight` get weight 0; the weights of the others are multiplied by their
    label's `label_weight`, 1 by default.

    Raises:
        DataError: if nobody is left, or the cache has no source that `repeat` names.

    """

    def __init__(
        self,
        cache: CropCache,
        indices: Indices,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        resident: bool,
        rank: int = 0,
        world_size: int = 1,
        repeat: Mapping[str, int] = _NOTHING,
        label_weight: Mapping[str, float] = _NOTHING,
        min_keypoint_weight: float = 0.0,
    ) -> None:
        check_sources(cache, repeat)
        table = cache.table.take(indices)
        times = [repeat.get(source, 1) for source in table.source.tolist()]
        self._visits = np.repeat(np.arange(len(table)), times)
        if not self._visits.size:
            raise DataError("nobody is left to load: no rows of the cache, or all repeated 0 times")
        self._count = len(table)
        self._batch_size, self._seed, self.device = batch_size, seed, device
        self._rank, self._world_size = rank, world_size
        weight = trusted_weight(table, label_weight, min_keypoint_weight)
        self._xy_store_px, self._weight, self._box_wh_store_px, self._picture_id = (
            torch.from_numpy(column).to(device)
            for column in (table.xy_store_px, weight, table.box_wh_store_px, table.picture_id)
        )
        crops = ResidentCrops if resident and device.type != "cpu" else MappedCrops
        self._crops: _Crops = crops(cache.crops_NHWC, indices, device)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, the same in every process."""
        return -(-len(self._visits) // self.crops_per_step)

    @property
    def crops_per_step(self) -> int:
        """Crops that all processes together use in a step."""
        return self._batch_size * self._world_size

    def epoch(self, number: int, *, first_step: int = 0) -> Iterator[StoredBatch]:
        """The batches of this process in epoch `number`, starting at `first_step`."""
        order = np.random.default_rng((self._seed, number)).permutation(self._visits)
        shape = (self.steps_per_epoch, self._world_size, self._batch_size)
        return self._batches(np.resize(order, shape)[first_step:, self._rank])

    def in_order(self) -> Iterator[StoredBatch]:
        """Everyone once in the order of the rows, alike in every process; the last may be short."""
        cuts = range(self._batch_size, self._count, self._batch_size)
        return self._batches(np.split(np.arange(self._count), cuts))

    def _batches(self, batches: Iterable[Indices]) -> Iterator[StoredBatch]:
        batches = list(batches)
        for people, crops_BHWC in zip(batches, self._crops.read(batches), strict=True):
            index = torch.from_numpy(people).to(self.device)
            yield StoredBatch(
                crops_BHWC=crops_BHWC,
                xy_store_px=self._xy_store_px[index],
                weight=self._weight[index],
                box_wh_store_px=self._box_wh_store_px[index],
                picture_id=self._picture_id[index],
            )


class _Crops(Protocol):
    """The crops of the loader's people, wherever they are stored."""

    def read(self, batches: list[Indices]) -> Iterator[Tensor]:
        """uint8 RGB (B, H, W, 3) on the device for each batch of people, numbered from 0."""


class ResidentCrops:
    """Crops in the device's memory, flattened: torch then copies each as a whole."""

    def __init__(self, crops_NHWC: Stored, rows: Indices, device: torch.device) -> None:
        self._shape_HWC = crops_NHWC.shape[1:]
        flat = crops_NHWC.reshape(len(crops_NHWC), -1)
        shape = (len(rows), flat.shape[1])
        self._flat = torch.empty(shape, dtype=torch.uint8, device=device)
        for first in range(0, len(rows), _CROPS_A_COPY):
            some = slice(first, first + _CROPS_A_COPY)
            self._flat[some] = torch.from_numpy(flat[rows[some]])

    def read(self, batches: list[Indices]) -> Iterator[Tensor]:
        """uint8 RGB (B, H, W, 3) for each batch of people, numbered from 0."""
        for people in batches:
            index = torch.from_numpy(people).to(self._flat.device)
            yield self._flat.index_select(0, index).view(-1, *self._shape_HWC)


class MappedCrops:
    """Crops on disk; a thread reads one batch ahead."""

    def __init__(self, crops_NHWC: Stored, rows: Indices, device: torch.device) -> None:
        self._crops_NHWC, self._rows, self.device = crops_NHWC, rows, device

    def read(self, batches: list[Indices]) -> Iterator[Tensor]:
        """uint8 RGB (B, H, W, 3) for each batch of people, numbered from 0."""
        with ThreadPoolExecutor(1) as reader:
            ahead: deque[Future[Tensor]] = deque()
            for people in batches:
                ahead.append(reader.submit(self._fill, self._buffer(len(people)), people))
                if len(ahead) > 1:
                    yield self._on_device(ahead.popleft().result())
            for last in ahead:
                yield self._on_device(last.result())

    def _buffer(self, count: int) -> Tensor:
        """Pinned memory for a GPU, if there is one; the reading thread must not create it."""
        shape = (count, *self._crops_NHWC.shape[1:])
        return torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")

    def _fill(self, buffer_BHWC: Tensor, people: Indices) -> Tensor:
        np.take(self._crops_NHWC, self._rows[people], 0, out=buffer_BHWC.numpy(), mode="clip")
        return buffer_BHWC

    def _on_device(self, crops_BHWC: Tensor) -> Tensor:
        return crops_BHWC.to(self.device, non_blocking=True)


def trusted_weight(
    table: PeopleTable, label_weight: Mapping[str, float], min_keypoint_weight: float
) -> FloatArray:
    """The weight of each keypoint (N, 17) in a table: its own weight times its label's."""
    factor = [label_weight.get(label, 1.0) for label in table.label.tolist()]
    trusted = table.weight * (table.weight >= min_keypoint_weight)
    return trusted * np.array(factor, np.float32)[:, None]
