"""Convert raw pixels of cameras and video decoders to RGB, within the limits for images.

YUV is BT.601 in limited range, as OpenCV converts it. Odd sizes are allowed: chroma planes round
up. Everything here is thread-safe.
"""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from distilpose.model.arrays import ImageHWC
from distilpose.model.errors import BadRawFrame
from distilpose.model.pictures.headers import ImageHeader, check_pixels
from distilpose.model.pictures.source import RawFrame

FORMATS: Final = {"RGB8": 3, "BGR8": 3, "GRAY8": 1, "I420": 1, "NV12": 1}
"""The accepted pixel formats, with the bytes per pixel of their first plane."""
_WITH_CHROMA: Final = frozenset({"I420", "NV12"})


def read_header(frame: RawFrame, *, max_pixels: int) -> ImageHeader:
    """The frame's header, after checking that its numbers are consistent.

    Raises:
        BadRawFrame: naming the numbers that are not.
        TooManyPixels: naming the pixels and the limit.

    """
    what = f"{frame.width}x{frame.height} {frame.format}"
    if frame.format not in FORMATS:
        raise BadRawFrame(f"raw frame of {what}; accepted formats: {', '.join(FORMATS)}")
    size_wh = frame.width, frame.height
    if min(size_wh) < 1:
        raise BadRawFrame(f"raw frame of {what}: it has no pixels")
    check_pixels(size_wh, max_pixels=max_pixels)
    if _stride(frame) < _row_bytes(frame):
        raise BadRawFrame(
            f"raw frame of {what}: row_stride_bytes is {frame.row_stride_bytes}, "
            f"a row has {_row_bytes(frame)} bytes"
        )
    expected = _stride(frame) * frame.height
    if frame.format in _WITH_CHROMA:
        expected += 2 * _half(_stride(frame)) * _half(frame.height)
    if len(frame.data) != expected:
        raise BadRawFrame(
            f"raw frame of {what} with {_stride(frame)} bytes a row: "
            f"expected {expected} bytes, got {len(frame.data)}"
        )
    return ImageHeader(frame.format, size_wh, orientation=1, coding="raw")


def to_rgb(frame: RawFrame) -> ImageHWC:
    """The frame as RGB, C-contiguous, maybe read-only. Its header must have been read."""
    first_HWC = _first_plane(frame)
    match frame.format:
        case "RGB8":
            rgb = first_HWC
        case "BGR8":
            rgb = first_HWC[..., ::-1]
        case "GRAY8":
            rgb = np.repeat(first_HWC, 3, axis=2)
        case _:
            rgb = _from_yuv(frame, first_HWC[..., 0])
    return np.ascontiguousarray(rgb)


def _row_bytes(frame: RawFrame) -> int:
    return frame.width * FORMATS[frame.format]


def _stride(frame: RawFrame) -> int:
    return frame.row_stride_bytes or _row_bytes(frame)


def _half(value: int) -> int:
    return (value + 1) // 2


def _first_plane(frame: RawFrame) -> npt.NDArray[np.uint8]:
    plane = np.frombuffer(frame.data, np.uint8, count=_stride(frame) * frame.height)
    rows = plane.reshape(frame.height, _stride(frame))[:, : _row_bytes(frame)]
    return rows.reshape(frame.height, frame.width, FORMATS[frame.format])


def _from_yuv(frame: RawFrame, luma_HW: npt.NDArray[np.uint8]) -> ImageHWC:
    half_height, half_width, half_stride = map(_half, (frame.height, frame.width, _stride(frame)))
    chroma = np.frombuffer(frame.data, np.uint8, offset=_stride(frame) * frame.height)
    if frame.format == "I420":
        conversion = cv2.COLOR_YUV2RGB_I420
        chroma = chroma.reshape(2, half_height, half_stride)[..., :half_width]
    else:
        conversion = cv2.COLOR_YUV2RGB_NV12
        chroma = chroma.reshape(half_height, 2 * half_stride)[:, : 2 * half_width]
    # OpenCV takes only even sizes: the last row and column are duplicated, and cut off afterwards.
    luma_HW = np.pad(luma_HW, ((0, frame.height % 2), (0, frame.width % 2)), mode="edge")
    yuv = np.concatenate([luma_HW, chroma.reshape(half_height, 2 * half_width)])
    rgb = np.asarray(cv2.cvtColor(yuv, conversion), np.uint8)
    return rgb[: frame.height, : frame.width]
