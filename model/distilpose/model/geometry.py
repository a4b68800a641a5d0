"""Conversion from box to crop and back: the only place where coordinates change frame. No images.

A crop shows its box, expanded to 3:4 (width to height) and then by 1.25, centred on the box. In
crop pixels and in image pixels the centre of the top-left pixel is at (0, 0).
"""

from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from distilpose.model.arrays import FloatArray
from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH, HEATMAP_WIDTH
from distilpose.model.skeleton import MIRROR_ORDER

AnyFloats: TypeAlias = npt.NDArray[np.floating[Any]]

CROP_ASPECT: Final = CROP_WIDTH / CROP_HEIGHT
CROP_PADDING: Final = 1.25


class CropRegions(NamedTuple):
    """The regions of one image that N crops show."""

    centers_xy_px: FloatArray
    """(N, 2), image pixels."""
    sizes_wh_px: FloatArray
    """(N, 2), image pixels, always 3:4."""


class Reduction(NamedTuple):
    """Position of a reduced picture in its image: each pixel shows a square of the image."""

    factor: int = 1
    """Side of the square, in image pixels."""
    corner_xy_px: tuple[int, int] = (0, 0)
    """Top-left corner relative to the image's; outside by less than a square if it shows more."""


def xywh_to_xyxy(boxes_xywh_px: npt.ArrayLike) -> FloatArray:
    """COCO boxes (N, 4) as x, y, width, height -> (N, 4) as x1, y1, x2, y2."""
    boxes = np.asarray(boxes_xywh_px, np.float32).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def clip_boxes(boxes_xyxy_px: FloatArray, image_size_wh: tuple[int, int]) -> FloatArray:
    """Boxes (N, 4) with every corner moved into the image."""
    limits = np.array([*image_size_wh, *image_size_wh], np.float32)
    return np.clip(boxes_xyxy_px, 0, limits).astype(np.float32)


def iou(some_xyxy_px: AnyFloats, others_xyxy_px: AnyFloats) -> AnyFloats:
    """Intersection over union of each box of one array (N, 4) with each of the other (M, 4)."""
    some, others = some_xyxy_px[:, None], others_xyxy_px[None]
    corners = [np.maximum(some, others)[..., :2], np.minimum(some, others)[..., 2:]]
    common_px2 = _areas_px2(np.concatenate(corners, axis=-1))
    union_px2 = _areas_px2(some) + _areas_px2(others) - common_px2
    return np.asarray(common_px2 / np.maximum(union_px2, 1e-9))


def crop_regions(boxes_xyxy_px: FloatArray) -> CropRegions:
    """Regions of N boxes (N, 4).

    *Source:* the published test pipeline (mmpose 0.22): the shorter side grows until
    width / height = 3/4, then both grow by 1.25.
    """
    boxes = np.asarray(boxes_xyxy_px, np.float32).reshape(-1, 4)
    sizes = boxes[:, 2:] - boxes[:, :2]
    centers = boxes[:, :2] + sizes * np.float32(0.5)
    width = np.maximum(sizes[:, 0], sizes[:, 1] * np.float32(CROP_ASPECT))
    grown = np.stack([width, width / np.float32(CROP_ASPECT)], 1) * np.float32(CROP_PADDING)
    return CropRegions(centers, grown)


def boxes_from_reduced(boxes_xyxy_px: FloatArray, reduction: Reduction) -> FloatArray:
    """Boxes (N, 4) in a reduced picture's pixels -> image pixels, not clipped."""
    corners = np.tile(np.asarray(reduction.corner_xy_px, np.float32), 2)
    return (boxes_xyxy_px * np.float32(reduction.factor) + corners).astype(np.float32)


def regions_in_reduced(regions: CropRegions, reduction: Reduction) -> CropRegions:
    """Regions in image pixels -> the same regions in a reduced picture's pixels."""
    # In double precision, so that a factor of 1 changes nothing.
    from_corner = regions.centers_xy_px.astype(np.float64) - reduction.corner_xy_px
    centers = (from_corner + 0.5) / reduction.factor - 0.5
    return CropRegions(
        centers.astype(np.float32), regions.sizes_wh_px / np.float32(reduction.factor)
    )


def image_to_crop_affine(
    center_xy_px: npt.ArrayLike, width_px: float, *, rotation_degrees: float = 0.0
) -> npt.NDArray[np.float64]:
    """The 2 x 3 map from image pixels to the 192 x 256 pixels of a crop.

    The region's centre maps to (96, 128) and its width to 192 pixels; `rotation_degrees` rotates
    the region clockwise in the image.
    """
    angle = np.deg2rad(rotation_degrees)
    scale = CROP_WIDTH / float(width_px)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    linear = np.array([[cos, sin], [-sin, cos]])
    shift = np.array([CROP_WIDTH, CROP_HEIGHT]) / 2 - linear @ np.asarray(center_xy_px, np.float64)
    return np.concatenate([linear, shift[:, None]], 1)


def crop_to_image(xy_crop: FloatArray, regions: CropRegions) -> FloatArray:
    """Points (N, K, 2) in the crop frame (0..1) -> image pixels (N, K, 2)."""
    corners = regions.centers_xy_px - regions.sizes_wh_px / 2
    return (xy_crop * regions.sizes_wh_px[:, None] + corners[:, None]).astype(np.float32)


def image_to_crop(xy_px: FloatArray, regions: CropRegions) -> FloatArray:
    """Points (N, K, 2) in image pixels -> the crop frame (0..1), the inverse of `crop_to_image`."""
    corners = regions.centers_xy_px - regions.sizes_wh_px / 2
    return ((xy_px - corners[:, None]) / regions.sizes_wh_px[:, None]).astype(np.float32)


def sigma_to_image(sigma_cell: FloatArray, regions: CropRegions) -> FloatArray:
    """Spreads (N, K, 2) in heatmap cells -> image pixels."""
    return (sigma_cell * cell_px(regions)[:, None, None]).astype(np.float32)


def cell_px(regions: CropRegions) -> FloatArray:
    """Sides (N,) of a heatmap cell in image pixels: 1/48 of each crop's width."""
    return regions.sizes_wh_px[:, 0] / np.float32(HEATMAP_WIDTH)


def mirror_xy_crop(xy_crop: FloatArray, *, published: bool = False) -> FloatArray:
    """Points (N, 17, 2) found in a mirrored crop -> points in the crop itself.

    Left and right are swapped. A mirrored pixel grid maps x to 1 - 1/192 - x; `published` maps it
    to 1 - x, half a pixel off, as the authors' code does.
    """
    far_edge = 1.0 if published else 1.0 - 1.0 / CROP_WIDTH
    swapped = xy_crop[:, MIRROR_ORDER]
    return np.stack([far_edge - swapped[..., 0], swapped[..., 1]], -1).astype(np.float32)


def _areas_px2(boxes_xyxy_px: AnyFloats) -> AnyFloats:
    """Areas of boxes (..., 4); 0 for boxes whose corners are in the wrong order."""
    return np.asarray((boxes_xyxy_px[..., 2:] - boxes_xyxy_px[..., :2]).clip(0).prod(-1))
