"""Sample the network's inputs from stored crops: whole batches, with one affine map per crop.

Pixels and keypoints go through the same map. Nothing loops over people, and the host never waits
for the device. Knows no randomness, no files and no networks.

Shape letters: B people, K = 17 keypoints, C = 3 channels (RGB, 0..255), H height, W width. Frames:
`_store_px` pixels of a stored crop, `_crop_px` pixels of the 256x192 crop.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.geometry import CROP_ASPECT, CROP_PADDING
from distilpose.model.skeleton import MIRROR_ORDER
from distilpose.model.train.feed.batch import StoredBatch


class Views(NamedTuple):
    """The region of the stored crop that each of B crops shows."""

    center_xy_store_px: Tensor
    """Point shown at (96, 128), (B, 2)."""
    width_store_px: Tensor
    """Width shown on 192 pixels, (B,)."""
    rotation_radians: Tensor
    """Clockwise rotation of the region, after mirroring, (B,)."""
    mirrored: Tensor
    """True if the stored crop is mirrored horizontally about the centre, bool (B,)."""


class MovedKeypoints(NamedTuple):
    """The keypoints of B views."""

    xy_crop_px: Tensor
    """(B, K, 2), pixels of the 256x192 crop."""
    weight: Tensor
    """(B, K), 0 for keypoints outside the crop."""
    outside: Tensor
    """(B, K) bool, labelled keypoints outside the crop."""


def plain_views(batch: StoredBatch) -> Views:
    """Return the regions that `crop.cut` shows, upright, whatever margin they are stored with.

    The centre of a stored crop is the centre of its box.
    """
    _, height, width, _ = batch.crops_BHWC.shape
    center_xy_store_px = on_device((width / 2, height / 2), batch.weight)
    width_store_px = region_width(batch.box_wh_store_px, padding=CROP_PADDING)
    zeros = torch.zeros_like(width_store_px)
    return Views(center_xy_store_px.expand(len(zeros), 2), width_store_px, zeros, zeros > 0)


def region_width(box_wh: Tensor, *, padding: float) -> Tensor:
    """Return the width (B,) of boxes (B, 2) grown to 3:4 and then by `padding`."""
    return torch.maximum(box_wh[:, 0], box_wh[:, 1] * CROP_ASPECT) * padding


def move_keypoints(batch: StoredBatch, views: Views) -> MovedKeypoints:
    """Return the keypoints in the views, with left and right swapped if mirrored."""
    x, y = move_points(batch.xy_store_px, views).unbind(dim=2)
    inside = (x >= 0) & (x <= CROP_WIDTH - 1) & (y >= 0) & (y <= CROP_HEIGHT - 1)
    outside = (batch.weight > 0) & ~inside
    moved_BK4 = torch.stack([x, y, batch.weight * inside, outside.to(x.dtype)], dim=2)
    mirrored_BK4 = torch.stack([moved_BK4[:, index] for index in MIRROR_ORDER.tolist()], dim=1)
    moved_BK4 = torch.where(views.mirrored[:, None, None], mirrored_BK4, moved_BK4)
    return MovedKeypoints(moved_BK4[..., :2], moved_BK4[..., 2], moved_BK4[..., 3] > 0)


def move_points(xy_store_px: Tensor, views: Views) -> Tensor:
    """Return points (B, P, 2) of stored crops in pixels of the 256x192 crops that show the views.

    Written out, because a matrix product may be rounded to TF32 or bfloat16.
    """
    cos, sin, sign = _turn(views)
    zoom = views.width_store_px[:, None] / CROP_WIDTH
    x, y = ((xy_store_px - views.center_xy_store_px[:, None]) / zoom[..., None]).unbind(dim=2)
    x = x * sign
    x, y = x * cos + y * sin + CROP_WIDTH / 2, y * cos - x * sin + CROP_HEIGHT / 2
    return torch.stack([x, y], dim=2)


def stored_pixels(batch: StoredBatch) -> Tensor:
    """Return the stored crops as (B, C, H, W): uint8 on a CPU, where resizing it is fast."""
    stored_BCHW = batch.crops_BHWC.permute(0, 3, 1, 2)
    return stored_BCHW if stored_BCHW.device.type == "cpu" else stored_BCHW.float()


def resize(pixels_BCHW: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Return resized pictures, bilinear, with antialiasing when shrinking."""
    return functional.interpolate(
        pixels_BCHW, size_hw, mode="bilinear", antialias=True, align_corners=False
    )


def sample(stored_BCHW: Tensor, views: Views, size_hw: tuple[int, int]) -> Tensor:
    """Return the views, float (B, C, *size_hw), bilinear, black outside the stored crop.

    For a size below 256x192 the stored crops are first resized by its ratio, so that no pixel is
    skipped.
    """
    store_height, store_width = stored_BCHW.shape[2:]
    if size_hw != (CROP_HEIGHT, CROP_WIDTH):
        height = round(store_height * size_hw[0] / CROP_HEIGHT)
        width = round(store_width * size_hw[1] / CROP_WIDTH)
        stored_BCHW = resize(stored_BCHW, (height, width))
    grid_BHW2 = _sampling_grid(views, (store_height, store_width), size_hw)
    return functional.grid_sample(stored_BCHW.float(), grid_BHW2, align_corners=False)


def centers(count: int, like: Tensor) -> Tensor:
    """Return the centres (count,) of `count` equal parts of 0..1, on the device of `like`."""
    return (torch.arange(count, device=like.device) + 0.5) / count


def on_device(values: tuple[float, ...], like: Tensor) -> Tensor:
    """Return the values as a row, filled in on the device of `like`, since a copy would block."""
    return torch.cat([like.new_full((1,), value) for value in values])


def _sampling_grid(views: Views, store_hw: tuple[int, int], size_hw: tuple[int, int]) -> Tensor:
    """Return the positions of the views' pixels in the stored crops, (B, *size_hw, 2).

    In the coordinates of `grid_sample`: -1 and 1 are the outer edges of the first and the last
    pixel, so that a position is the same in a resized stored crop.
    """
    cos, sin, sign = _turn(views)
    zoom = views.width_store_px[:, None] / CROP_WIDTH
    per_store_px = 2 / on_device((store_hw[1], store_hw[0]), zoom)
    right_B2 = torch.cat([cos * sign, sin], dim=1) * zoom * per_store_px
    down_B2 = torch.cat([-sin * sign, cos], dim=1) * zoom * per_store_px
    middle_B2 = (views.center_xy_store_px + 0.5) * per_store_px - 1

    columns_W1 = ((centers(size_hw[1], zoom) - 0.5) * CROP_WIDTH - 0.5)[:, None]
    rows_H1 = ((centers(size_hw[0], zoom) - 0.5) * CROP_HEIGHT - 0.5)[:, None]
    across_BW2 = columns_W1 * right_B2[:, None]
    along_BH2 = rows_H1 * down_B2[:, None] + middle_B2[:, None]
    return across_BW2[:, None] + along_BH2[:, :, None]


def _turn(views: Views) -> tuple[Tensor, Tensor, Tensor]:
    """Return cosine, sine, and -1 for mirrored views, else 1; all (B, 1)."""
    angle = views.rotation_radians[:, None]
    return angle.cos(), angle.sin(), 1 - 2 * views.mirrored[:, None].to(angle.dtype)
