"""Decode pictures, encoded or raw frames, to upright RGB: the only decoder of this project.

Limits are checked before any pixel is decoded. Everything here is safe to call from several
threads.
"""

from pathlib import Path

from distilpose.model.arrays import ImageHWC
from distilpose.model.errors import PictureError
from distilpose.model.formats import MAX_PIXELS
from distilpose.model.pictures import encoded, headers, raw
from distilpose.model.pictures.costs import Cost, cost_of
from distilpose.model.pictures.headers import ImageHeader
from distilpose.model.pictures.source import EncodedImage, RawFrame, Source

__all__ = [
    "Cost",
    "EncodedImage",
    "ImageHeader",
    "RawFrame",
    "Source",
    "cost_of",
    "decode",
    "read",
    "read_header",
]


def read(picture: bytes | str | Path, *, max_pixels: int = MAX_PIXELS) -> ImageHWC:
    """Decode a picture, given by its path or its bytes: upright RGB, uint8 (H, W, 3).

    Raises:
        Undecodable: truncated, corrupt, or not a picture. All errors name the path, if given.
        NotAccepted: the format is known but not accepted.
        TooManyPixels: more pixels than `max_pixels`, width times height.
        OSError: the file cannot be read.

    """
    if isinstance(picture, bytes):
        return encoded.decode(picture, headers.read_header(picture, max_pixels=max_pixels))
    try:
        return read(Path(picture).read_bytes(), max_pixels=max_pixels)
    except PictureError as err:
        raise type(err)(f"{picture}: {err}") from err


def read_header(source: Source, *, max_pixels: int) -> ImageHeader:
    """Read the format, size and orientation of a source, within the limit; decodes no pixels.

    Raises:
        BadRawFrame: a raw frame's numbers do not add up.
        Undecodable: the bytes are not an image, or their header is broken.
        NotAccepted: the format is known but not accepted.
        TooManyPixels: more pixels than the limit.

    """
    if isinstance(source, RawFrame):
        return raw.read_header(source, max_pixels=max_pixels)
    return headers.read_header(source.content, max_pixels=max_pixels)


def decode(source: Source, header: ImageHeader, *, factor: int = 1) -> ImageHWC:
    """The picture in upright RGB, C-contiguous, maybe read-only; a JPEG `factor` times smaller.

    Raises:
        Undecodable: truncated, corrupt, or not consistent with `header`.

    """
    if isinstance(source, RawFrame):
        return raw.to_rgb(source)
    return encoded.decode(source.content, header, factor=factor)
