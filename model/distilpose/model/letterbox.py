"""Place an image on the detector's canvas, and map boxes back. Knows no networks.

The canvas depends only on the image, never on the other images of its batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Final, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from distilpose.model.arrays import FloatArray, ImageHWC, check_image
from distilpose.model.geometry import clip_boxes

ShapeHW: TypeAlias = tuple[int, int]
"""Height and width in pixels."""

_SHORT_SIDES: Final = (1 / 2, 3 / 5, 7 / 10, 3 / 4, 1)
"""Short sides of a canvas, as fractions of its long side."""

BORDER_VALUE: Final = 114
"""Grey value of the border, the same as in the training of ultralytics' detectors."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Scale and position of an image on its canvas."""

    scale: float
    """Canvas pixels for each image pixel, before rounding to whole pixels."""
    pad_x_px: float
    """Canvas pixels of border left of the image."""
    pad_y_px: float
    """Canvas pixels of border above the image."""
    image_size_wh: tuple[int, int]

    def to_image(self, boxes_xyxy: FloatArray) -> FloatArray:
        """Boxes (N, 4) in canvas pixels -> image pixels, clipped to the image."""
        drawn_wh = _drawn_size_wh(self.image_size_wh, self.scale)
        per_pixel = np.divide(self.image_size_wh, drawn_wh, dtype=np.float32)
        border = np.array([self.pad_x_px, self.pad_y_px] * 2, np.float32)
        boxes_xyxy_px = (boxes_xyxy - border) * np.tile(per_pixel, 2)
        return clip_boxes(boxes_xyxy_px, self.image_size_wh)


def square(size_px: int) -> tuple[ShapeHW]:
    """The one canvas for all images."""
    return ((size_px, size_px),)


def rectangles(long_side_px: int, *, multiple_of: int) -> tuple[ShapeHW, ...]:
    """Canvases for wide and tall images with the same long side, the smallest first; nine for 640.

    Short sides are multiples of `multiple_of`. The last canvas is the square.
    """
    steps = {ceil(long_side_px * share / multiple_of) * multiple_of for share in _SHORT_SIDES}
    wide = [(step, long_side_px) for step in steps]
    return tuple(sorted({*wide, *((width, height) for height, width in wide)}, key=_by_size))


def _by_size(shape_hw: ShapeHW) -> tuple[int, ShapeHW]:
    return prod(shape_hw), shape_hw


def letterbox(
    image_HWC: ImageHWC, canvases: Sequence[ShapeHW]
) -> tuple[npt.NDArray[np.uint8], Letterbox]:
    """The image, centred on the first canvas that holds it, and its position there.

    All canvases have the same long side, which the longer side of the image fills; small images
    are enlarged. The border is grey.

    Raises:
        ArrayError: the image is not uint8 of shape (H, W, 3), or is empty.
    """
    check_image(image_HWC)
    height, width = image_HWC.shape[:2]
    scale = max(canvases[-1]) / max(width, height)
    drawn_width, drawn_height = _drawn_size_wh((width, height), scale)
    shape_hw = next(h_w for h_w in canvases if h_w[0] >= drawn_height and h_w[1] >= drawn_width)
    left, top = (shape_hw[1] - drawn_width) // 2, (shape_hw[0] - drawn_height) // 2
    canvas = np.full((*shape_hw, 3), BORDER_VALUE, np.uint8)
    canvas[top : top + drawn_height, left : left + drawn_width] = cv2.resize(
        image_HWC, (drawn_width, drawn_height), interpolation=cv2.INTER_LINEAR
    )
    return canvas, Letterbox(scale, left, top, (width, height))


def _drawn_size_wh(image_size_wh: tuple[int, int], scale: float) -> tuple[int, int]:
    width, height = image_size_wh
    return max(1, round(width * scale)), max(1, round(height * scale))
