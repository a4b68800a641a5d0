"""Make, mirror, simulate and decode heatmaps and regression targets; pure functions of tensors.

A heatmap has 64 x 48 cells of 4 crop pixels; the centre of cell (row 0, column 0) is at (0, 0).

Shape letters: B batch, K keypoints, H = 64 rows, W = 48 columns. Frames: `_crop` 0..1 over the
crop, `_crop_px` pixels of the 256x192 crop, `_cell` heatmap cells.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH, HEATMAP_HEIGHT, HEATMAP_WIDTH
from distilpose.model.skeleton import MIRROR_ORDER

TARGET_SIGMA_CELL: Final = 2.0
"""Width of the Gaussian in a teacher's training targets."""

_CELL_CROP_PX: Final = CROP_WIDTH // HEATMAP_WIDTH
_TINY: Final = 1e-6
_BLUR_CELLS: Final = 11
_BLUR_SIGMA_CELL: Final = 2.0


class RegressionTarget(NamedTuple):
    """Positions of the keypoints of B crops, and the weight of each."""

    xy_crop: Tensor
    """(B, K, 2), 0..1 over the crop."""
    weight: Tensor
    """(B, K), 0 for keypoints that are not labelled or lie outside the crop."""


class HeatmapTarget(NamedTuple):
    """The target heatmaps of a teacher, and the weight of each."""

    heatmaps_BKHW: Tensor
    """(B, K, H, W), peak 1, all 0 where the weight is 0."""
    weight: Tensor
    """(B, K), 0 for keypoints that are not labelled or too far outside the crop."""


class Peaks(NamedTuple):
    """The highest point of each heatmap."""

    xy_cell: Tensor
    """(B, K, 2), with sub-cell precision; (-1, -1) where no value is positive."""
    value: Tensor
    """(B, K), the heatmap's maximum."""


def regression_target(xy_crop_px: Tensor, weight: Tensor) -> RegressionTarget:
    """Return the student's regression target for keypoints (B, K, 2) of weights (B, K)."""
    size_wh = xy_crop_px.new_tensor([CROP_WIDTH, CROP_HEIGHT])
    inside = ((xy_crop_px >= 0) & (xy_crop_px <= size_wh - 1)).all(dim=-1)
    return RegressionTarget(xy_crop_px / size_wh, weight * inside)


def heatmap_target(xy_crop_px: Tensor, weight: Tensor) -> HeatmapTarget:
    """Return the teacher's target for keypoints (B, K, 2) of weights (B, K).

    The Gaussian is centred on the keypoint's exact position, not rounded to a cell.
    """
    xy_cell = xy_crop_px / _CELL_CROP_PX
    sigma_cell = torch.full_like(xy_cell, TARGET_SIGMA_CELL)
    weight = weight * _reaches_map(xy_cell, sigma_cell)
    heatmaps_BKHW = _gaussians(xy_cell, sigma_cell.square())
    return HeatmapTarget(heatmaps_BKHW * (weight > 0)[..., None, None], weight)


def cell_shares(heatmaps_BKHW: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Return heatmaps as distributions over the cells of a grid (B, K, *grid_hw), averaged down.

    Each keypoint's shares sum to 1, or to 0 where its heatmap is empty.
    """
    shares = functional.adaptive_avg_pool2d(heatmaps_BKHW, grid_hw)
    return shares / shares.sum(dim=(2, 3), keepdim=True).clamp(min=_TINY)


def simulated_heatmaps(xy_crop: Tensor, sigma_cell: Tensor) -> tuple[Tensor, Tensor]:
    """Return the heatmaps (B, K, H, W) simulated from a student's outputs, and a mask (B, K).

    The peak is 1 for any score. Where the Gaussian does not reach the map, mask and heatmap are 0;
    elsewhere the mask is 1. Both arguments are (B, K, 2).

    *Source:* DistilPose, arXiv 2303.02455, simulated heatmaps.
    """
    xy_cell = xy_crop * xy_crop.new_tensor([HEATMAP_WIDTH, HEATMAP_HEIGHT])
    mask = _reaches_map(xy_cell, sigma_cell).to(xy_crop.dtype)
    heatmaps_BKHW = _gaussians(xy_cell, sigma_cell.square() + 1e-9)
    return heatmaps_BKHW * mask[..., None, None], mask


def mirror_heatmaps(heatmaps_BKHW: Tensor) -> Tensor:
    """Map a mirrored crop's heatmaps back to the crop itself, to be averaged with its own.

    Left and right are swapped and columns reversed; then all columns except the first move one to
    the right, as published.
    """
    order = torch.from_numpy(MIRROR_ORDER.copy()).to(heatmaps_BKHW.device)
    back = heatmaps_BKHW[:, order].flip(-1)
    return torch.cat([back[..., :1], back[..., :-1]], dim=-1)


def decode(heatmaps_BKHW: Tensor) -> Peaks:
    """Return the peak of each heatmap: the best cell, then one Newton step on the blurred log map.

    Peaks within two cells of the border are not refined. *Source:* DARK, arXiv 1910.06278.
    """
    value, index = heatmaps_BKHW.flatten(2).max(dim=2)
    cell_xy = torch.stack([index % HEATMAP_WIDTH, index // HEATMAP_WIDTH], dim=-1)
    last_wh = cell_xy.new_tensor([HEATMAP_WIDTH - 1, HEATMAP_HEIGHT - 1])
    positive = (value > 0)[..., None]
    refinable = ((cell_xy > 1) & (cell_xy < last_wh - 1)).all(dim=-1, keepdim=True) & positive
    step = _newton_step(_blurred_log(heatmaps_BKHW, value), cell_xy)
    xy_cell = cell_xy + torch.where(refinable, step, 0)
    return Peaks(torch.where(positive, xy_cell, -1), value)


def _reaches_map(xy_cell: Tensor, sigma_cell: Tensor) -> Tensor:
    """Return a mask of Gaussians that, cut at three sigmas, overlap the map, bool (B, K)."""
    size_wh = xy_cell.new_tensor([HEATMAP_WIDTH, HEATMAP_HEIGHT])
    reach = 3 * sigma_cell
    return ((xy_cell - reach < size_wh) & (xy_cell + reach + 1 >= 0)).all(dim=-1)


def _gaussians(xy_cell: Tensor, variance: Tensor) -> Tensor:
    """Return Gaussians of peak 1 on the whole map, (B, K, H, W); both arguments are (B, K, 2)."""
    columns = torch.arange(HEATMAP_WIDTH, dtype=xy_cell.dtype, device=xy_cell.device)
    rows = torch.arange(HEATMAP_HEIGHT, dtype=xy_cell.dtype, device=xy_cell.device)
    across_BKW = (columns - xy_cell[..., :1]).square() / variance[..., :1]
    down_BKH = (rows - xy_cell[..., 1:]).square() / variance[..., 1:]
    return torch.exp(-0.5 * (across_BKW[..., None, :] + down_BKH[..., None]))


def _blurred_log(heatmaps_BKHW: Tensor, peak_BK: Tensor) -> Tensor:
    """Return the log of the blurred heatmaps, rescaled to the peaks before the blur."""
    reach = _BLUR_CELLS // 2
    offsets = torch.arange(-reach, reach + 1, device=heatmaps_BKHW.device)
    kernel = torch.exp(-0.5 * (offsets / _BLUR_SIGMA_CELL).square())
    kernel = (kernel / kernel.sum()).to(heatmaps_BKHW.dtype)
    maps = heatmaps_BKHW.flatten(0, 1)[:, None]  # (B * K, 1, H, W)
    maps = functional.conv2d(maps, kernel[None, None, None], padding=(0, reach))
    maps = functional.conv2d(maps, kernel[None, None, :, None], padding=(reach, 0))
    blurred_BKHW = maps.view_as(heatmaps_BKHW)
    gain = peak_BK / blurred_BKHW.amax(dim=(2, 3)).clamp(min=1e-10)
    return (blurred_BKHW * gain[..., None, None]).clamp(min=1e-10).log()


def _newton_step(log_BKHW: Tensor, cell_xy: Tensor) -> Tensor:
    """Return the step (B, K, 2) from a cell to the peak of the parabola through its neighbours.

    0 where the parabola has no peak; the result is meaningless within two cells of the border.
    """

    def at(dx: int, dy: int) -> Tensor:
        column = (cell_xy[..., 0] + dx).clamp(0, HEATMAP_WIDTH - 1)
        row = (cell_xy[..., 1] + dy).clamp(0, HEATMAP_HEIGHT - 1)
        index = row * HEATMAP_WIDTH + column
        return log_BKHW.flatten(2).gather(2, index[..., None])[..., 0]

    slope_x = 0.5 * (at(1, 0) - at(-1, 0))
    slope_y = 0.5 * (at(0, 1) - at(0, -1))
    bend_xx = 0.25 * (at(2, 0) - 2 * at(0, 0) + at(-2, 0))
    bend_yy = 0.25 * (at(0, 2) - 2 * at(0, 0) + at(0, -2))
    bend_xy = 0.25 * (at(1, 1) - at(-1, 1) - at(1, -1) + at(-1, -1))
    determinant = bend_xx * bend_yy - bend_xy.square()
    step_x = (bend_xy * slope_y - bend_yy * slope_x) / determinant
    step_y = (bend_xy * slope_x - bend_xx * slope_y) / determinant
    return torch.where(determinant[..., None] == 0, 0, torch.stack([step_x, step_y], dim=-1))
