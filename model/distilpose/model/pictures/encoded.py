"""Decode the bytes of a file to one upright RGB image. Colour profiles are ignored."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from distilpose.model.arrays import ImageHWC
from distilpose.model.pictures import heic
from distilpose.model.pictures.containers import check_jpeg_scans, jpeg_segments
from distilpose.model.pictures.costs import cost_of
from distilpose.model.pictures.headers import (
    BROKEN_JPEG,
    ImageHeader,
    as_undecodable,
    opened,
    reduced_size_wh,
)
from distilpose.model.pictures.heif import without_other_items
from distilpose.model.pictures.source import EncodedImage

_ADOBE: Final = b"\xee"
_RGB_MODES: Final = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr"})
_OTHER_MODES: Final = {"F": "floating-point", "I": "signed or 32-bit", "LAB": "CIELab"}


def decode(data: bytes, header: ImageHeader, *, factor: int = 1) -> ImageHWC:
    """The image in upright RGB, C-contiguous, maybe read-only.

    A JPEG can be decoded 2, 4 or 8 times smaller, each pixel the mean of a square; if a size is not
    a multiple of `factor`, the last squares as stored extend beyond the picture.

    Transparent pixels are composited over white, as in a viewer: the model must not see colours
    that a person cannot. Samples of 16 bits keep their high byte. CMYK is converted without a
    profile, inverted in a JPEG with an Adobe marker.

    Raises:
        Undecodable: truncated, corrupt, with samples that do not fit RGB, or inconsistent with
            `header`. The missing pixels of a JPEG are never filled in.
        MemoryError: there was too little memory.

    """
    width, height = header.size_wh
    with as_undecodable(header.format, pixels=width * height):
        match header.format:
            case "jpeg":
                stored = _decode_jpeg(data, header, factor)
            case "heif":
                stored = _decode_heif(data, header)
            case _:
                stored = _decode_other(data, header)
    return _upright(stored, header)


def _check_size(size_wh: tuple[int, int], header: ImageHeader) -> None:
    """Check that the decoder will produce as many pixels as were checked against the limit."""
    if size_wh != header.size_wh:
        raise ValueError(f"it announces {header.size_wh} pixels and holds {size_wh}")


def _decode_jpeg(data: bytes, header: ImageHeader, factor: int) -> npt.NDArray[np.uint8]:
    # Strict (the default): libjpeg's warnings mean missing pixels, which it would fill with grey.
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, KeyError) as err:
        raise ValueError(BROKEN_JPEG) from err
    if header.coding not in {"jpeg", "jpeg-cmyk"}:
        check_jpeg_scans(data)
    _check_size((width, height), header)
    colorspace = "CMYK" if colours in {"CMYK", "YCCK"} else "RGB"
    min_width, min_height = reduced_size_wh(header.size_wh, factor)
    pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
        data, colorspace=colorspace, min_width=min_width, min_height=min_height
    )
    return pixels if colorspace == "RGB" else _ink_to_rgb(pixels, data)


def _ink_to_rgb(cmyk: npt.NDArray[np.uint8], data: bytes) -> npt.NDArray[np.uint8]:
    is_adobe = any(
        kind == _ADOBE and data.startswith(b"Adobe", start)
        for kind, start, _ in jpeg_segments(data)
    )
    light = cmyk if is_adobe else 255 - cmyk
    rgb = (light[..., :3].astype(np.uint16) * light[..., 3:] + 127) // 255
    return rgb.astype(np.uint8)


def _decode_other(data: bytes, header: ImageHeader) -> npt.NDArray[np.uint8]:
    image = opened(data, header.format)
    _check_size(image.size, header)
    return _to_rgb(image)


def _decode_heif(data: bytes, header: ImageHeader) -> npt.NDArray[np.uint8]:
    # libheif ends the process where it gets no memory, so that there must be enough beforehand.
    np.empty(cost_of(EncodedImage(data), header).peak_bytes, np.uint8)
    return _to_rgb(
        heic.decoded(without_other_items(data), lambda size_wh: _check_size(size_wh, header))
    )


def _to_rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        return _grey_16_to_rgb(image)
    if image.mode not in _RGB_MODES:
        samples = _OTHER_MODES.get(image.mode, image.mode)
        raise ValueError(f"{samples} samples are not supported")
    if not image.has_transparency_data:
        return _own_pixels(image.convert("RGB"))
    rgba = image.convert("RGBA")
    over_white = Image.new("RGB", image.size, "white")
    over_white.paste(rgba, mask=rgba)
    return _own_pixels(over_white)


def _own_pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Copy to numpy's memory, whose large pages are freed quickly on whichever thread drops them.

    Freeing Pillow's memory would block the event loop for 8 ms per 30 MB.
    """
    return np.array(image)


def _grey_16_to_rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    grey_16: npt.NDArray[Any] = np.asarray(image)
    grey = (grey_16 >> 8).astype(np.uint8)
    if (transparent := image.info.get("transparency")) is not None:
        grey[grey_16 == transparent] = 255
    return np.repeat(grey[..., None], 3, axis=2)


def _upright(image: npt.NDArray[np.uint8], header: ImageHeader) -> ImageHWC:
    if header.lies_on_its_side:
        image = image.transpose(1, 0, 2)
    is_mirrored_x, is_mirrored_y = header.is_mirrored_xy
    if is_mirrored_x:
        image = image[:, ::-1]
    if is_mirrored_y:
        image = image[::-1]
    return np.ascontiguousarray(image)
