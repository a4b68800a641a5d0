"""Place an image in the detector's fixed square, and map boxes back. Knows no networks.

The square depends only on the image, never on the other images of its batch.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from distilpose.model.arrays import FloatArray, ImageHWC, check_image
from distilpose.model.geometry import clip_boxes

BORDER_VALUE: Final = 114
"""Grey value of the border, the same as in the training of ultralytics' detectors."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Scale and position of an image in the square."""

    scale: float
    """Square pixels for each image pixel, before rounding to whole pixels."""
    pad_x_px: float
    """Square pixels of border left of the image."""
    pad_y_px: float
    """Square pixels of border above the image."""
    image_size_wh: tuple[int, int]

    def to_image(self, boxes_xyxy: FloatArray) -> FloatArray:
        """Boxes (N, 4) in square pixels -> image pixels, clipped to the image."""
        drawn_wh = _drawn_size_wh(self.image_size_wh, self.scale)
        per_pixel = np.divide(self.image_size_wh, drawn_wh, dtype=np.float32)
        border = np.array([self.pad_x_px, self.pad_y_px] * 2, np.float32)
        boxes_xyxy_px = (boxes_xyxy - border) * np.tile(per_pixel, 2)
        return clip_boxes(boxes_xyxy_px, self.image_size_wh)


def letterbox(image_HWC: ImageHWC, size_px: int) -> tuple[npt.NDArray[np.uint8], Letterbox]:
    """The image, centred in a grey square (`size_px`, `size_px`, 3), and its position there.

    The longer side fills the square; small images are enlarged.

    Raises:
        ArrayError: the image is not uint8 of shape (H, W, 3), or is empty.
    """
    check_image(image_HWC)
    height, width = image_HWC.shape[:2]
    scale = size_px / max(width, height)
    drawn_width, drawn_height = _drawn_size_wh((width, height), scale)
    left, top = (size_px - drawn_width) // 2, (size_px - drawn_height) // 2
    square = np.full((size_px, size_px, 3), BORDER_VALUE, np.uint8)
    square[top : top + drawn_height, left : left + drawn_width] = cv2.resize(
        image_HWC, (drawn_width, drawn_height), interpolation=cv2.INTER_LINEAR
    )
    return square, Letterbox(scale, left, top, (width, height))


def _drawn_size_wh(image_size_wh: tuple[int, int], scale: float) -> tuple[int, int]:
    width, height = image_size_wh
    return max(1, round(width * scale)), max(1, round(height * scale))
