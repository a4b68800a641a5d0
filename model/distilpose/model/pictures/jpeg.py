"""Decode JPEGs as written by real cameras, and refuse damaged ones. Knows nothing of orientation.

libjpeg warns of oddities and of damage alike, fills missing pixels with grey, and tells only one of
its warnings. So the picture is decoded without its oddities: a warning that is left is damage.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg

from distilpose.model.pictures.containers import check_jpeg_scans, jpeg_segments
from distilpose.model.pictures.headers import (
    BROKEN_JPEG,
    ImageHeader,
    check_size,
    reduced_size_wh,
)
from distilpose.model.pictures.scans import has_odd_scan, walk
from distilpose.model.pictures.spares import without_spare_bytes

_ADOBE: Final = b"\xee"
_ONE_PASS: Final = frozenset({"jpeg", "jpeg-cmyk"})


def decode_jpeg(data: bytes, header: ImageHeader, *, factor: int) -> npt.NDArray[np.uint8]:
    """The picture as stored, in RGB, uint8 (H, W, 3), maybe 2, 4 or 8 times smaller.

    As if they were not there are treated odd numbers in the header of a sequential scan, an odd
    revision of JFIF, an odd transform of Adobe, any colour profile, bytes between segments, and
    spare bytes at the end of a restart interval: any number of 0x00 and 0xFF, or at most 4 others.

    Raises:
        ValueError: the data or a segment ends too early, a code is bad, a marker is wrong or
            missing, or anything else that may have cost pixels. They are never filled in.

    """
    if header.coding not in _ONE_PASS:
        check_jpeg_scans(data)
    sound, colours = _with_sound_header(data, header)
    try:
        return _pixels(sound, header, colours, factor)
    except ValueError as err:
        warning = str(err)
    del sound
    return _pixels(without_spare_bytes(walk(data), warning), header, colours, factor)


def _with_sound_header(data: bytes, header: ImageHeader) -> tuple[bytes, str]:
    """The file, tidied if its first segments are odd, and the name of its colours."""
    sound = walk(data).tidied({}) if has_odd_scan(data) else data
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(sound)
    except (ValueError, KeyError):
        sound = walk(data).tidied({})
        try:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(sound)
        except (ValueError, KeyError) as err:
            raise ValueError(BROKEN_JPEG) from err
    check_size((width, height), header)
    return sound, colours


def _pixels(data: bytes, header: ImageHeader, colours: str, factor: int) -> npt.NDArray[np.uint8]:
    min_width, min_height = reduced_size_wh(header.size_wh, factor)
    is_ink = colours in {"CMYK", "YCCK"}
    # Strict (the default): a warning is an error.
    pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
        data,
        colorspace="CMYK" if is_ink else "RGB",
        min_width=min_width,
        min_height=min_height,
    )
    return _ink_to_rgb(pixels, data) if is_ink else pixels


def _ink_to_rgb(cmyk: npt.NDArray[np.uint8], data: bytes) -> npt.NDArray[np.uint8]:
    is_adobe = any(
        kind == _ADOBE and data.startswith(b"Adobe", start)
        for kind, start, _ in jpeg_segments(data)
    )
    light = cmyk if is_adobe else 255 - cmyk
    rgb = (light[..., :3].astype(np.uint16) * light[..., 3:] + 127) // 255
    return rgb.astype(np.uint8)
