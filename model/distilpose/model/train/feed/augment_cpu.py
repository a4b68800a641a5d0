"""The augmentation of `augment` for a CPU: the same draws, one crop at a time, by OpenCV.

A stored crop is sampled once, as bytes, to the network's size; colours are changed in bytes too. On
one thread this takes less than half a millisecond per crop, where whole batches in floating point
take several.

Shape letters as in `augment`.
"""

from typing import Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distilpose.model.arrays import ImageHWC
from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH, Normalisation
from distilpose.model.train.feed.augment import (
    BLUR_SHRINK,
    LUMA_RGB,
    AugmentSettings,
    drawn_views,
)
from distilpose.model.train.feed.batch import StoredBatch, TrainBatch
from distilpose.model.train.feed.draws import Draws
from distilpose.model.train.feed.neighbours import Neighbours, coverage, drawn_neighbours
from distilpose.model.train.feed.views import Views, move_keypoints

_Matrices: TypeAlias = npt.NDArray[np.float64]

_CROP_WH: Final = (CROP_WIDTH, CROP_HEIGHT)
_COARSE_WH: Final = (CROP_WIDTH // BLUR_SHRINK, CROP_HEIGHT // BLUR_SHRINK)


def augment(
    batch: StoredBatch,
    settings: AugmentSettings,
    *,
    generator: torch.Generator,
    normalisation: Normalisation,
    size_hw: tuple[int, int] = (CROP_HEIGHT, CROP_WIDTH),
) -> TrainBatch:
    """Return the network's inputs for a batch, augmented with `generator` only.

    The channels are last in memory, which is fastest for convolutions on a CPU.
    """
    draws = Draws(generator, batch)
    views = drawn_views(batch, settings, draws)
    matrices_B23 = _matrices(views)
    changed_BHWC = np.empty((len(matrices_B23), CROP_HEIGHT, CROP_WIDTH, 3), np.uint8)
    for stored_HWC, matrix, crop_HWC in zip(
        batch.crops_BHWC.numpy(), matrices_B23, changed_BHWC, strict=True
    ):
        cv2.warpAffine(stored_HWC, matrix, _CROP_WH, dst=crop_HWC, flags=cv2.INTER_LINEAR)
    if settings.neighbour_probability > 0:
        neighbours = drawn_neighbours(batch, views, settings.neighbour_probability, draws)
        _paste_(changed_BHWC, batch, neighbours)
    if settings.blur > 0:
        _blur_(changed_BHWC, draws.happens(settings.blur))
    if settings.brightness > 0 or settings.contrast > 0 or settings.saturation > 0:
        _recolour_(changed_BHWC, settings, draws)
    if settings.cut_out_size > 0:
        _cut_out_(changed_BHWC, settings, draws)
    changed_BHWC = _resized(changed_BHWC, size_hw)
    return TrainBatch(_normalised(changed_BHWC, normalisation), *move_keypoints(batch, views))


def _matrices(views: Views) -> _Matrices:
    """Return the maps from pixels of the stored crops to those of the 256x192 crops, (B, 2, 3)."""
    angle = views.rotation_radians.double()
    zoom = CROP_WIDTH / views.width_store_px.double()
    sign = 1 - 2 * views.mirrored.double()
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    rows = torch.stack([sign * cos, sin, -sign * sin, cos], dim=1).view(-1, 2, 2)
    middle = rows.new_tensor([CROP_WIDTH / 2, CROP_HEIGHT / 2])
    shift = middle - (rows @ views.center_xy_store_px.double()[..., None])[..., 0]
    return np.asarray(torch.cat([rows, shift[..., None]], dim=2))


def _paste_(crops_BHWC: npt.NDArray[np.uint8], batch: StoredBatch, neighbours: Neighbours) -> None:
    """Blend the neighbours in where one was drawn."""
    stored_BHWC = batch.crops_BHWC.numpy()
    pasted = neighbours.is_pasted.nonzero()[:, 0]
    drawn = neighbours.take(pasted)
    matrices_B23, covered_BHW = _matrices(drawn.views), coverage(drawn).numpy()
    for index, row, matrix, coarse_HW in zip(
        pasted.tolist(), drawn.row.tolist(), matrices_B23, covered_BHW, strict=True
    ):
        other_HWC = cv2.warpAffine(stored_BHWC[row], matrix, _CROP_WH, flags=cv2.INTER_LINEAR)
        covered_HW = cv2.resize(coarse_HW, _CROP_WH, interpolation=cv2.INTER_LINEAR)
        cv2.blendLinear(
            other_HWC, crops_BHWC[index], covered_HW, 1 - covered_HW, dst=crops_BHWC[index]
        )


def _blur_(crops_BHWC: npt.NDArray[np.uint8], is_blurred: Tensor) -> None:
    for index in is_blurred.nonzero()[:, 0].tolist():
        coarse = cv2.resize(crops_BHWC[index], _COARSE_WH, interpolation=cv2.INTER_AREA)
        crops_BHWC[index] = cv2.resize(coarse, _CROP_WH, interpolation=cv2.INTER_LINEAR)


def _recolour_(crops_BHWC: npt.NDArray[np.uint8], settings: AugmentSettings, draws: Draws) -> None:
    """Change saturation, contrast and brightness: one 3x3 matrix and offset for each crop."""
    brightness, contrast, saturation = (
        draws.factor(amount).numpy()
        for amount in (settings.brightness, settings.contrast, settings.saturation)
    )
    luma = np.array(LUMA_RGB, np.float32)
    mix_B33 = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * luma)
    grey_gain_B = (brightness * (1 - contrast))[:, 0, 0]
    for crop_HWC, mix, grey_gain in zip(crops_BHWC, mix_B33, grey_gain_B, strict=True):
        offset = grey_gain * float(np.dot(cv2.mean(crop_HWC)[:3], luma))
        cv2.transform(crop_HWC, np.column_stack([mix, np.full(3, offset)]), dst=crop_HWC)


def _cut_out_(crops_BHWC: npt.NDArray[np.uint8], settings: AugmentSettings, draws: Draws) -> None:
    """Paint rectangles of random position, size and colour."""
    for _ in range(settings.cut_outs):
        middle_xy = draws.uniform(2, 1)[..., 0].numpy()
        half_wh = settings.cut_out_size / 2 * draws.uniform(2, 1)[..., 0].numpy()
        colours = (255 * draws.uniform(3, 1, 1)[..., 0, 0]).round().byte().numpy()
        # The pixels whose centres lie inside.
        first_xy = np.maximum(np.floor((middle_xy - half_wh) * _CROP_WH - 0.5) + 1, 0).astype(int)
        end_xy = np.ceil((middle_xy + half_wh) * _CROP_WH - 0.5).astype(int)
        for crop_HWC, (left, top), (right, bottom), colour in zip(
            crops_BHWC, first_xy, end_xy, colours, strict=True
        ):
            crop_HWC[top : max(bottom, 0), left : max(right, 0)] = colour


def _resized(crops_BHWC: npt.NDArray[np.uint8], size_hw: tuple[int, int]) -> ImageHWC:
    height, width = size_hw
    if size_hw == crops_BHWC.shape[1:3]:
        return crops_BHWC
    area = cv2.INTER_AREA
    return np.stack([cv2.resize(crop, (width, height), interpolation=area) for crop in crops_BHWC])


def _normalised(crops_BHWC: npt.NDArray[np.uint8], normalisation: Normalisation) -> Tensor:
    """Return the network's input (B, C, H, W), with channels last in memory."""
    pixels_BCHW = torch.from_numpy(crops_BHWC).permute(0, 3, 1, 2).float()
    mean, std = (255 * pixels_BCHW.new_tensor(values)[:, None, None] for values in normalisation)
    if mean.any():
        pixels_BCHW.sub_(mean)
    return pixels_BCHW.div_(std)
