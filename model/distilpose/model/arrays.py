"""Array aliases with their shapes, and checks for arrays that come in from outside.

Shape letters used as suffixes throughout: B batch, N people of one image, K = 17 keypoints,
C channels, H height, W width. Frames used as suffixes: `_px` image pixels (x right, y down, the
centre of the top-left pixel is (0, 0)), `_crop` 0..1 over the crop, `_cell` heatmap cells of 4 crop
pixels.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from distilpose.model.errors import ArrayError

ImageHWC: TypeAlias = npt.NDArray[np.uint8]
"""One RGB image after EXIF orientation, uint8, shape (H, W, 3)."""

CropsBHWC: TypeAlias = npt.NDArray[np.uint8]
"""Network inputs before normalisation, RGB uint8, shape (B, 256, 192, 3)."""

FloatArray: TypeAlias = npt.NDArray[np.float32]
"""A float32 array whose shape is given by the suffix of its name."""

BoolArray: TypeAlias = npt.NDArray[np.bool_]


def check_shape(array: npt.NDArray[Any], shape: tuple[int | None, ...], *, name: str) -> None:
    """Check that `array` has `shape`, where None matches any length.

    Raises:
        ArrayError: naming the array, the shape expected and the shape got.

    """
    fits = array.ndim == len(shape) and all(
        want is None or want == got for want, got in zip(shape, array.shape, strict=False)
    )
    if not fits:
        expected = tuple("any" if want is None else want for want in shape)
        raise ArrayError(f"{name}: expected shape {expected}, got {array.shape}")


def check_image(image: npt.NDArray[Any]) -> None:
    """Check that `image` is uint8 of shape (H, W, 3) with at least one pixel.

    Raises:
        ArrayError: naming the property that is wrong.

    """
    check_shape(image, (None, None, 3), name="image")
    if image.dtype != np.uint8:
        raise ArrayError(f"image: expected uint8, got {image.dtype}")
    if image.size == 0:
        raise ArrayError(f"image: is empty, shape {image.shape}")
