"""The people of a folder as crops of one size, decoded once and kept in a memory map.

A stored crop shows more than the network's input, so that rotation, shift and scale can be drawn
later on the device. Knows no networks and no torch. A cache is a folder of two files:

    OUT/crops.npy   uint8 RGB (N, height, width, 3), in the order of the table
    OUT/people.npz  the columns of a `PeopleTable`; the last file to be written
"""

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final, Literal, TypeAlias
from zipfile import BadZipFile

import cv2
import numpy as np
import numpy.typing as npt

from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.data.held_out import HOLDOUT_EVERY
from distilpose.model.data.people import PeopleFolder
from distilpose.model.errors import DataError
from distilpose.model.geometry import image_to_crop_affine
from distilpose.model.train.feed.table import CropFormat, PeopleTable, PictureRows, tabulate

STORE_HEIGHT: Final = 352
STORE_WIDTH: Final = 264
STORE_MARGIN: Final = 1.35
"""Gives one stored pixel about the size of a network pixel: 264 / 1.35 = 195.6 for the network's
192."""

TRAINING: Final = CropFormat(STORE_HEIGHT, STORE_WIDTH, STORE_MARGIN)
EVALUATION: Final = CropFormat(CROP_HEIGHT, CROP_WIDTH, margin=1.0)
"""The network's own input, pixel for pixel the same as from `crop.cut`."""

Holdout: TypeAlias = Literal["exclude", "only", "include"]

_CROPS: Final = "crops.npy"
_TABLE: Final = "people.npz"
_PARTIAL_CROPS: Final = f"partial-{_CROPS}"
_PARTIAL_TABLE: Final = f"partial-{_TABLE}"
_LOCK: Final = ".lock"
_VERSION: Final = 2
"""Part of the digest; increased when the cropping changes, so that older caches are not reused."""
_PICTURES_A_MESSAGE: Final = 64


@dataclass(frozen=True, eq=False)
class CropCache:
    """An opened cache; its crops stay on disk until they are read."""

    crops_NHWC: npt.NDArray[np.uint8]
    table: PeopleTable
    digest: str
    """SHA-256 of the labels, the pictures' names and the format."""

    def __len__(self) -> int:
        return len(self.table)


def build_cache(
    people_folder: PeopleFolder,
    out: Path,
    *,
    crop_format: CropFormat = TRAINING,
    workers: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> CropCache:
    """Build the cache of all people that `tabulate` finds in `out`, or reuse a matching one.

    `workers` processes cut crops in parallel, or only this one for 1. If several processes call
    this for one folder, one builds and the others wait. `on_progress` receives the number of
    pictures done and the total.

    Raises:
        DataError: if there is nobody, a picture cannot be read, the disk has too little space, or
            `out` has files of a cache's names that are none.

    """
    table, pictures = tabulate(people_folder, crop_format)
    digest = _digest(table, pictures, crop_format)
    if _holds(out, digest):
        return open_cache(out)
    _refuse_others(out)
    out.mkdir(parents=True, exist_ok=True)
    with _building_in(out):
        if not _holds(out, digest):  # another process may have built it in the meantime
            for stale in (_TABLE, _CROPS):
                (out / stale).unlink(missing_ok=True)
            shape = (len(table), crop_format.height_px, crop_format.width_px, 3)
            _create_crops(out / _PARTIAL_CROPS, shape)
            cut = partial(_cut, out / _PARTIAL_CROPS, _reader(people_folder), crop_format)
            for done, _ in enumerate(_each(cut, pictures, workers), start=1):
                on_progress(done, len(pictures))
            np.savez(out / _PARTIAL_TABLE, digest=np.array(digest), **vars(table))
            (out / _PARTIAL_CROPS).replace(out / _CROPS)
            (out / _PARTIAL_TABLE).replace(out / _TABLE)
    return open_cache(out)


def open_cache(folder: Path) -> CropCache:
    """Open the finished cache in `folder`.

    Raises:
        DataError: naming the folder, if there is none or it is broken.

    """
    try:
        with np.load(folder / _TABLE) as stored:
            table = PeopleTable(**{field.name: stored[field.name] for field in fields(PeopleTable)})
            digest = str(stored["digest"])
        crops_NHWC = np.load(folder / _CROPS, mmap_mode="r")
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as err:
        raise DataError(f"{folder}: is not a finished crop cache: {err}") from err
    if len(crops_NHWC) != len(table):
        raise DataError(f"{folder}: has {len(crops_NHWC)} crops for {len(table)} people")
    return CropCache(crops_NHWC, table, digest)


def select(
    cache: CropCache,
    *,
    holdout: Holdout = "exclude",
) -> npt.NDArray[np.intp]:
    """Ascending rows of the people that match.

    `holdout` selects by whether the picture's id is divisible by `HOLDOUT_EVERY`.

    Raises:
        DataError: if nobody matches.

    """
    table = cache.table
    wanted = np.ones(len(table), np.bool_)
    if holdout != "include":
        wanted &= (table.picture_id % HOLDOUT_EVERY == 0) == (holdout == "only")
    if not wanted.any():
        raise DataError(f"nobody is left of {len(table)} people: hold-out {holdout}")
    return np.flatnonzero(wanted)


def check_sources(cache: CropCache, sources: Iterable[str]) -> None:
    """Check that the cache has people from each of `sources`.

    Raises:
        DataError: naming one that it lacks and those that it has.

    """
    there = set(cache.table.source.tolist())
    for source in sources:
        if source not in there:
            raise DataError(f"the cache has no source {source}, only {', '.join(sorted(there))}")


def _digest(table: PeopleTable, pictures: list[PictureRows], crop_format: CropFormat) -> str:
    names = [(rows.picture.file_name, rows.picture.shard) for rows in pictures]
    digest = hashlib.sha256(repr((_VERSION, tuple(crop_format), names)).encode())
    for name, column in vars(table).items():
        digest.update(name.encode() + column.tobytes())
    return digest.hexdigest()


def _holds(out: Path, digest: str) -> bool:
    try:
        return open_cache(out).digest == digest
    except DataError:
        return False


def _refuse_others(out: Path) -> None:
    """Return if a cache was built in `out` before, or nothing there would be replaced.

    Raises:
        DataError: something would.
    """
    there = [name for name in (_TABLE, _CROPS) if (out / name).exists()]
    if there and not (out / _LOCK).exists():
        raise DataError(
            f"{out}: {there[0]} is there already, and no cache was built there; choose another "
            "folder for the cache"
        )


@contextmanager
def _building_in(out: Path) -> Iterator[None]:
    """Prevent other processes from building there, and remove anything half-finished."""
    with (out / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the system releases it when the process dies
        try:
            yield
        finally:
            for part in (_PARTIAL_CROPS, _PARTIAL_TABLE):
                (out / part).unlink(missing_ok=True)


def _create_crops(path: Path, shape: tuple[int, ...]) -> None:
    needed_bytes = int(np.prod(shape))
    free_bytes = shutil.disk_usage(path.parent).free
    if needed_bytes > free_bytes:
        raise DataError(
            f"{path.parent}: needs {needed_bytes / 1e9:.2f} GB for {shape[0]} people, "
            f"and the disk has {free_bytes / 1e9:.2f} GB left"
        )
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()


def _reader(people_folder: PeopleFolder) -> PeopleFolder:
    """The folder without its annotations, which would be sent to every process repeatedly."""
    reader = copy(people_folder)
    reader.pictures = []
    return reader


def _each(
    cut: Callable[[PictureRows], None], pictures: list[PictureRows], workers: int
) -> Iterator[None]:
    if workers == 1:
        yield from map(cut, pictures)
        return
    # Spawned, because torch's and OpenCV's threads do not survive a fork.
    with ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        yield from pool.map(cut, pictures, chunksize=_PICTURES_A_MESSAGE)


def _cut(
    path: Path, people_folder: PeopleFolder, crop_format: CropFormat, rows: PictureRows
) -> None:
    """Write the crops of one picture into the memory map at `path`."""
    image_HWC = people_folder.read(rows.picture)
    crops_NHWC = np.lib.format.open_memmap(path, mode="r+")
    size_wh = (crop_format.width_px, crop_format.height_px)
    for row, (center, region) in enumerate(zip(*rows.regions, strict=True), rows.first_row):
        affine = image_to_crop_affine(center, region[0] * crop_format.margin)
        affine *= crop_format.width_px / CROP_WIDTH
        crops_NHWC[row] = cv2.warpAffine(image_HWC, affine, size_wh, flags=cv2.INTER_LINEAR)
