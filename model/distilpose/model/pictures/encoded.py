"""Decode the bytes of a file to one upright RGB image. Colour profiles are ignored."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from distilpose.model.arrays import ImageHWC
from distilpose.model.pictures import heic
from distilpose.model.pictures.costs import cost_of
from distilpose.model.pictures.headers import ImageHeader, as_undecodable, check_size, opened
from distilpose.model.pictures.isobmff.heif import without_other_items
from distilpose.model.pictures.jpeg import decode_jpeg
from distilpose.model.pictures.source import EncodedImage

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
            `header`.
        MemoryError: there was too little memory.

    """
    width, height = header.size_wh
    with as_undecodable(header.format, pixels=width * height):
        match header.format:
            case "jpeg":
                stored = decode_jpeg(data, header, factor=factor)
            case "heif":
                stored = _decode_heif(data, header)
            case _:
                stored = _decode_other(data, header)
    return _upright(stored, header)


def _decode_other(data: bytes, header: ImageHeader) -> npt.NDArray[np.uint8]:
    image = opened(data, header.format)
    check_size(image.size, header)
    return _to_rgb(image)


def _decode_heif(data: bytes, header: ImageHeader) -> npt.NDArray[np.uint8]:
    # libheif ends the process where it gets no memory, so that there must be enough beforehand.
    np.empty(cost_of(EncodedImage(data), header).peak_bytes, np.uint8)
    return _to_rgb(
        heic.decoded(without_other_items(data), lambda size_wh: check_size(size_wh, header))
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
