"""Decoded frames as they are meant to be seen: upright, with square pixels, in RGB.

Legend: HWC = image.
"""

from fractions import Fraction
from itertools import product
from typing import Any, Final, NamedTuple

import av
import numpy as np
import numpy.typing as npt

from distilpose.model.arrays import ImageHWC

_UPRIGHT: Final = np.eye(2, dtype=int)
_ORIENTATIONS: Final = tuple(
    np.diag(signs) @ axes
    for axes in (_UPRIGHT, _UPRIGHT[::-1])
    for signs in product((1, -1), repeat=2)
)
"""The eight ways to lay a picture, as maps from coded x and y to shown ones; upright is first."""
_WIDEST_PIXEL: Final = 4
"""Pixels that are wider or narrower than this are an error in the file."""
_RGB_MATRIX: Final = 0
_UNKNOWN: Final = 2


class Colours(NamedTuple):
    """A video's colour tags, by the numbers of ITU-T H.273; 2 stands for unknown."""

    matrix: int = _UNKNOWN
    colour_range: int = 0
    """FFmpeg's number: 0 unknown, 1 limited, 2 full."""
    primaries: int = _UNKNOWN
    transfer: int = _UNKNOWN

    @classmethod
    def of(cls, context: Any) -> "Colours":
        """The tags of a codec context; a matrix for RGB says nothing about YUV."""
        matrix = _UNKNOWN if context.colorspace == _RGB_MATRIX else context.colorspace
        tags = context.color_range, context.color_primaries, context.color_trc
        return cls(matrix, *tags)

    def tag(self, thing: Any) -> None:
        """Set the tags of a frame or a codec context."""
        thing.colorspace, thing.color_range = self.matrix, self.colour_range
        thing.color_primaries, thing.color_trc = self.primaries, self.transfer


UNTAGGED: Final = Colours()


def shown(frame: av.VideoFrame, pixel_aspect: Fraction | None) -> ImageHWC:
    """The frame's picture: its height is kept, its width made to fit square pixels, then laid.

    Raises:
        av.FFmpegError: the frame cannot be converted.
    """
    width = square_width(frame.width, pixel_aspect)
    image = frame.to_ndarray(format="rgb24", width=width, height=frame.height)
    return laid(np.asarray(image, np.uint8), _matrix(frame))


def square_width(width: int, pixel_aspect: Fraction | None) -> int:
    """The width of a picture with square pixels and the same height."""
    if not pixel_aspect or not 1 <= max(pixel_aspect, 1 / pixel_aspect) <= _WIDEST_PIXEL:
        return width
    return max(1, round(width * pixel_aspect))


def laid(image_HWC: ImageHWC, matrix: npt.NDArray[Any]) -> ImageHWC:
    """The picture turned and mirrored as the display matrix (2, 2) says, to the nearest quarter.

    The matrix maps coded x and y to shown ones; y points down.
    """
    nearest = max(_ORIENTATIONS, key=lambda orientation: float((orientation * matrix).sum()))
    if not nearest[0, 0]:
        image_HWC = image_HWC.swapaxes(0, 1)
    (x_sign, y_sign) = nearest.sum(axis=1)
    return np.ascontiguousarray(image_HWC[::y_sign, ::x_sign])


def _matrix(frame: av.VideoFrame) -> npt.NDArray[Any]:
    """The display matrix (2, 2) of a frame. *Source:* FFmpeg's libavutil/display.h."""
    try:
        data: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # side data that this PyAV has no name for
        return _rotation(frame.rotation)
    if data is None:
        return _UPRIGHT
    return np.frombuffer(bytes(data), np.int32).astype(float).reshape(3, 3)[:2, :2].T


def _rotation(degrees: float) -> npt.NDArray[Any]:
    """The matrix (2, 2) of a rotation, counterclockwise as it is seen."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cos, sin], [-sin, cos]])
