"""Bytes to one oriented RGB image, within limits that are checked before any pixel is decoded.

The bytes decide the format. Of animations and files with several pages the first picture counts; a
phone's MPO counts as the JPEG that it starts with. Colour profiles are ignored. Everything here is
safe to call from several threads.
"""

import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from distilpose.model.arrays import ImageHWC
from distilpose.service.errors import ServiceError, TooLarge, UndecodableImage
from distilpose.service.image_containers import (
    exif_orientation,
    first_directory,
    jpeg_segments,
    pixels_only_avif,
    pixels_only_png,
    pixels_only_tiff,
    png_chunks,
    webp_chunks,
)
from distilpose.service.image_formats import ACCEPTED, not_accepted, sniff
from distilpose.service.image_header import ImageHeader, reduced_size_wh

SizeAndOrientation: TypeAlias = tuple[tuple[int, int], int]

_APP1, _ADOBE = 0xE1, 0xEE
_UNREADABLE_JPEGS: Final = {0xC3: "lossless JPEG", 0xCB: "lossless JPEG", 0xF7: "JPEG-LS"}
_BASELINE_AND_KIN: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_BMP_RUN_LENGTHS: Final = frozenset({1, 2})
_NEW_SUBFILE_TYPE, _IMAGE_WIDTH, _IMAGE_LENGTH, _DNG_VERSION = 254, 256, 257, 50706

_RGB_MODES: Final = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
_OTHER_MODES: Final = {"F": "floating-point", "I": "signed or 32-bit", "LAB": "CIELab"}


def read_header(data: bytes, *, max_pixels: int) -> ImageHeader:
    """What the bytes are, how large, and which way up; nothing is decoded.

    Raises:
        UndecodableImage: the bytes are no image, or their header is broken or without pixels.
        UnsupportedMediaType: naming the format found and those accepted.
        TooLarge: naming the pixels and the limit.

    """
    name = sniff(data)
    with _as_undecodable(name):
        size_wh, orientation = _HEADER_READERS[name](data)
    header = ImageHeader(name, size_wh, orientation)
    width, height = size_wh
    if min(size_wh) <= 0:
        raise UndecodableImage(f"the {ACCEPTED[name]} has no pixels: {width}x{height}")
    check_pixels(size_wh, max_pixels=max_pixels)
    return header


def check_pixels(size_wh: tuple[int, int], *, max_pixels: int) -> None:
    """Return if an image may be so large.

    Raises:
        TooLarge: naming the pixels and the limit.

    """
    width, height = size_wh
    if width * height > max_pixels:
        raise TooLarge(
            f"the image has {width * height} pixels ({width}x{height}), the limit is {max_pixels}"
        )


def decode(data: bytes, header: ImageHeader, *, factor: int = 1) -> ImageHWC:
    """The image upright in RGB, C-contiguous, perhaps read-only.

    A JPEG can be decoded 2, 4 or 8 times smaller, each pixel the mean of a square; where a size is
    no multiple of `factor`, the last squares as stored reach beyond the picture.

    Transparent pixels are laid over white, as a viewer shows them: colours that a person cannot see
    must not be seen by the model either. Samples of 16 bits keep their high byte. CMYK is taken for
    plain ink without a profile, inverted in a JPEG with an Adobe marker.

    Raises:
        UndecodableImage: truncated, corrupt, of samples that do not fit RGB, or not as `header`
            says. The missing pixels of a JPEG are never filled in.

    """
    with _as_undecodable(header.format):
        stored = (
            _decode_jpeg(data, header, factor)
            if header.format == "jpeg"
            else _decode_other(data, header)
        )
    return _upright(stored, header)


@contextmanager
def _as_undecodable(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into `UndecodableImage`, but not a lack of memory."""
    try:
        yield
    except (ServiceError, MemoryError):
        raise
    except Exception as err:
        readable = isinstance(err, ValueError | OSError | SyntaxError)
        reason = " ".join(str(err).split())[:120] if readable else "its structure is broken"
        raise UndecodableImage(f"the {ACCEPTED[name]} cannot be decoded: {reason}") from err


def _read_jpeg_header(data: bytes) -> SizeAndOrientation:
    exif = b""
    for marker, payload in jpeg_segments(data):
        if marker == _APP1 and payload.startswith(b"Exif\0\0"):
            exif = exif or payload
        elif marker in _UNREADABLE_JPEGS:
            raise not_accepted(_UNREADABLE_JPEGS[marker])
        elif marker in _BASELINE_AND_KIN and payload[:1] == b"\x0c":
            raise not_accepted("12-bit JPEG")
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, KeyError) as err:
        raise ValueError("its header is broken or its chroma subsampling is not supported") from err
    return (width, height), exif_orientation(exif)


def _read_png_header(data: bytes) -> SizeAndOrientation:
    chunks = dict(png_chunks(data))
    width, height = struct.unpack_from(">II", data, 16)
    return (width, height), exif_orientation(chunks.get(b"eXIf", b"")[8:-4])


def _read_webp_header(data: bytes) -> SizeAndOrientation:
    chunks = dict(webp_chunks(data))
    return _webp_size_wh(data[12:16], data[20:30]), exif_orientation(chunks.get(b"EXIF", b""))


def _webp_size_wh(kind: bytes, payload: bytes) -> tuple[int, int]:
    """*Source:* RFC 9649, sections 2.5 to 2.7; RFC 6386, section 9.1."""
    if kind == b"VP8X":
        width_height = payload[4:7], payload[7:10]
        width, height = (1 + int.from_bytes(field, "little") for field in width_height)
        return width, height
    if kind == b"VP8L" and payload[:1] == b"\x2f":
        (bits,) = struct.unpack_from("<I", payload, 1)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and payload[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", payload, 6)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("it does not start with a picture")


def _read_tiff_header(data: bytes) -> SizeAndOrientation:
    directory = first_directory(data)
    # A camera's raw file is a TIFF whose first page is a thumbnail, or nothing that we could read.
    if directory.number(_NEW_SUBFILE_TYPE, 0) & 1 or _DNG_VERSION in directory.entries:
        raise not_accepted("a camera's raw file")
    size_wh = directory.number(_IMAGE_WIDTH, 0), directory.number(_IMAGE_LENGTH, 0)
    return size_wh, directory.orientation


def _read_bmp_header(data: bytes) -> SizeAndOrientation:
    image = _open(data, "bmp")
    # Pillow unpacks runs in Python: one small file would hold the interpreter for seconds.
    if image.info["compression"] in _BMP_RUN_LENGTHS:
        raise not_accepted("run-length BMP")
    return image.size, 1


def _read_avif_header(data: bytes) -> SizeAndOrientation:
    image = _open(data, "avif")
    return image.size, exif_orientation(image.info.get("exif", b""))


_HEADER_READERS: Final[dict[str, Callable[[bytes], SizeAndOrientation]]] = {
    "jpeg": _read_jpeg_header,
    "png": _read_png_header,
    "webp": _read_webp_header,
    "bmp": _read_bmp_header,
    "tiff": _read_tiff_header,
    "avif": _read_avif_header,
}


def _open(data: bytes, name: str) -> ImageFile.ImageFile:
    """The file opened by Pillow's class for its format, which unlike `Image.open` never warns."""
    match name:
        case "png":
            return PngImageFile(io.BytesIO(pixels_only_png(data)))
        case "webp":
            return WebPImageFile(io.BytesIO(data))
        case "bmp":
            return BmpImageFile(io.BytesIO(data))
        case "tiff":
            return TiffImageFile(io.BytesIO(pixels_only_tiff(data)))
        case _:
            return AvifImageFile(io.BytesIO(pixels_only_avif(data)))


def _check_size(size_wh: tuple[int, int], header: ImageHeader) -> None:
    """Return if the decoder is about to make the pixels that were checked against the limit."""
    if size_wh != header.size_wh:
        raise ValueError(f"it announces {header.size_wh} pixels and holds {size_wh}")


def _decode_jpeg(data: bytes, header: ImageHeader, factor: int) -> npt.NDArray[np.uint8]:
    # Strict (the default): libjpeg's warnings mean lost pixels that it would fill with grey.
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    _check_size((width, height), header)
    colorspace = "CMYK" if colours in {"CMYK", "YCCK"} else "RGB"
    min_width, min_height = reduced_size_wh(header.size_wh, factor)
    pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
        data, colorspace=colorspace, min_width=min_width, min_height=min_height
    )
    return pixels if colorspace == "RGB" else _ink_to_rgb(pixels, data)


def _ink_to_rgb(cmyk: npt.NDArray[np.uint8], data: bytes) -> npt.NDArray[np.uint8]:
    is_adobe = any(
        marker == _ADOBE and payload.startswith(b"Adobe") for marker, payload in jpeg_segments(data)
    )
    light = cmyk if is_adobe else 255 - cmyk
    rgb = (light[..., :3].astype(np.uint16) * light[..., 3:] + 127) // 255
    return rgb.astype(np.uint8)


def _decode_other(data: bytes, header: ImageHeader) -> npt.NDArray[np.uint8]:
    image = _open(data, header.format)
    _check_size(image.size, header)
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
    """In numpy's memory, whose large pages are given back at once wherever the last user drops it.

    Pillow's would take the event loop's thread 8 ms for 30 MB.
    """
    return np.array(image)


def _grey_16_to_rgb(image: ImageFile.ImageFile) -> npt.NDArray[np.uint8]:
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
