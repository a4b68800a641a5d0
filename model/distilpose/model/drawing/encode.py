"""Encode drawn pictures as files."""

from typing import Final, Literal, TypeAlias

import cv2

from distilpose.model.arrays import ImageHWC

PictureFormat: TypeAlias = Literal["jpeg", "png"]

LARGEST_SIDE_PX: Final[dict[PictureFormat, int]] = {"jpeg": 65_500, "png": 1_000_000}
"""Largest width and height that libjpeg and libpng write. JPEG itself ends at 65,535."""


def encode(image: ImageHWC, picture_format: PictureFormat) -> bytes:
    """An RGB image as a JPEG of quality 90, or as a PNG."""
    suffix, options = (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 90])
    if picture_format == "png":
        suffix, options = ".png", []
    ok, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not ok:
        raise RuntimeError(f"OpenCV wrote no {picture_format}; this is a bug")
    return data.tobytes()
