"""Batches of stored crops for tests."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distilpose.model.configs import IMAGENET
from distilpose.model.train.feed.augment import OFF, AugmentSettings
from distilpose.model.train.feed.batch import StoredBatch

STORE_HW = (352, 264)
BOX_WH = (100.0, 208.0)
"""Expanded to 3:4 and by 1.25 it is 195 stored pixels wide, close to 264 / 1.35."""


def stored_batch(
    crops_BHWC: npt.NDArray[np.uint8],
    xy_store_px: npt.ArrayLike = (0.0, 0.0),
    *,
    weight: npt.ArrayLike = 1.0,
    box_wh: npt.ArrayLike = BOX_WH,
) -> StoredBatch:
    """A batch of stored crops, each of a picture of its own.

    All but the crops may be given for one person or one keypoint.
    """
    count = len(crops_BHWC)
    return StoredBatch(
        torch.from_numpy(crops_BHWC),
        _for_all(xy_store_px, (count, 17, 2)),
        _for_all(weight, (count, 17)),
        _for_all(box_wh, (count, 2)),
        torch.arange(count),
    )


def standing_people(count: int) -> Tensor:
    """Keypoints (count, 17, 2) of a man of 200 stored pixels with hanging arms, head upwards."""
    xy = [(0, -92), (3, -95), (-3, -95), (7, -92), (-7, -92), (24, -64), (-24, -64), (28, -30)]
    xy += [(-28, -30), (32, 0), (-32, 0), (14, -6), (-14, -6), (14, 43), (-14, 43)]
    xy += [(14, 92), (-14, 92)]
    return (torch.tensor(xy) + torch.tensor([132.0, 176.0])).repeat(count, 1, 1)


def only(**fields: float) -> AugmentSettings:
    """Settings that change nothing except these fields."""
    return OFF.model_copy(update=fields)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy_crops(count: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, *STORE_HW, 3), np.uint8)


def black_crops(count: int, store_hw: tuple[int, int] = STORE_HW) -> npt.NDArray[np.uint8]:
    return np.zeros((count, *store_hw, 3), np.uint8)


def crops_with_blob(count: int, xy_store_px: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """Black crops with a round white spot of deviation 3 pixels."""
    x, y = xy_store_px
    rows, columns = np.mgrid[: STORE_HW[0], : STORE_HW[1]]
    spot = 250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
    return np.tile(np.round(spot).astype(np.uint8)[None, :, :, None], (count, 1, 1, 3))


def pixels(crops_BCHW: Tensor) -> npt.NDArray[np.float32]:
    """Network inputs as RGB 0..255, (B, H, W, 3)."""
    normalised = crops_BCHW.permute(0, 2, 3, 1).numpy()
    mean, std = (np.asarray(rgb, np.float32) for rgb in IMAGENET)
    return np.asarray(255 * (normalised * std + mean), np.float32)


def bright_centers_crop_px(pixels_BHWC: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the centre of each crop's light, (B, 2) in pixels of the 256x192 crop."""
    light = pixels_BHWC.sum(3, dtype=np.float64)
    height, width = light.shape[1:]
    total = light.sum((1, 2))
    x = (light.sum(1) * (np.arange(width) + 0.5)).sum(1) / total * (192 / width) - 0.5
    y = (light.sum(2) * (np.arange(height) + 0.5)).sum(1) / total * (256 / height) - 0.5
    return np.stack([x, y], 1)


def _for_all(values: npt.ArrayLike, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.broadcast_to(np.asarray(values, np.float32), shape).copy())
