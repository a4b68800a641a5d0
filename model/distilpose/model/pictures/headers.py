"""Read the headers of pictures before any pixel is decoded: format, size and orientation.

The bytes determine the format. For animations and multi-page files the first picture counts; a
phone's MPO counts as the JPEG that it starts with.
"""

import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from PIL import AvifImagePlugin, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from distilpose.model.errors import PictureError, TooManyPixels, Undecodable
from distilpose.model.formats import ACCEPTED
from distilpose.model.pictures import heic
from distilpose.model.pictures.containers import (
    exif_orientation,
    first_directory,
    jpeg_segments,
    pixels_only_avif,
    pixels_only_png,
    pixels_only_tiff,
    png_chunks,
    webp_chunks,
)
from distilpose.model.pictures.isobmff.av1 import MAX_FRAMES
from distilpose.model.pictures.isobmff.heif import first_picture, upright_picture
from distilpose.model.pictures.sniffing import not_accepted, sniff

_Read: TypeAlias = tuple[tuple[int, int], int, str] | tuple[tuple[int, int], int, str, int]
"""The size, the orientation, the coding and, where there may be any, the spare pixels."""

# A decoding is the work of one worker: more threads need more memory and more time in all, and
# take the processors away from other pictures.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

_APP1, _START_OF_SCAN = 0xE1, 0xDA
_UNREADABLE_JPEGS: Final = {0xC3: "lossless JPEG", 0xCB: "lossless JPEG", 0xF7: "JPEG-LS"}
_BASELINE_AND_KIN: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_SEQUENTIAL_HUFFMAN: Final = frozenset({0xC0, 0xC1})
_ARITHMETIC_JPEGS: Final = frozenset({0xC9, 0xCA})
_JPEG_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_LONGEST_JPEG_SIDE: Final = 65500
BROKEN_JPEG: Final = "its header is broken or its chroma subsampling is not supported"
_BMP_RUN_LENGTHS: Final = frozenset({1, 2})
_BMP_CORE_HEADER_BYTES: Final = 12
_BMP_HEADERS_BYTES: Final = frozenset({_BMP_CORE_HEADER_BYTES, 40, 52, 56, 64, 108, 124})
_NEW_SUBFILE_TYPE, _IMAGE_WIDTH, _IMAGE_LENGTH, _DNG_VERSION = 254, 256, 257, 50706
_COMPRESSION, _TILE_WIDTH, _LZMA = 259, 322, 34925

_MOST_BYTES_PER_PIXEL: Final = 24
"""More than any decoder was seen to need: 20 for a WebP, its three bytes of RGB included."""


@dataclass(frozen=True)
class ImageHeader:
    """The properties of a picture that its file states before any pixel is decoded."""

    format: str
    """A key of `formats.ACCEPTED`, or of `raw.FORMATS` for a raw frame."""
    size_wh: tuple[int, int]
    """Width and height as stored, before orientation."""
    orientation: int
    """EXIF's orientation, 1..8, that turns the stored picture upright."""
    coding: str
    """A key of `costs.ROWS`: the way of storing that determines what decoding costs."""
    spare_pixels: int = 0
    """Pixels that are decoded beyond the picture's own: layers, and tiles beyond its edge."""

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.size_wh[0] * self.size_wh[1]

    @property
    def upright_size_wh(self) -> tuple[int, int]:
        """Width and height of the upright image."""
        width, height = self.size_wh
        return (height, width) if self.lies_on_its_side else (width, height)

    @property
    def lies_on_its_side(self) -> bool:
        """Return True if stored rows are columns of the upright image."""
        return self.orientation >= 5

    @property
    def is_mirrored_xy(self) -> tuple[bool, bool]:
        """For x and y, True if the upright image starts at the stored picture's far end."""
        return self.orientation in {2, 3, 6, 7}, self.orientation in {3, 4, 7, 8}


def reduced_size_wh(size_wh: tuple[int, int], factor: int) -> tuple[int, int]:
    """Width and height decoded `factor` times smaller, rounded up as libjpeg does."""
    width, height = size_wh
    return -(-width // factor), -(-height // factor)


def read_header(data: bytes, *, max_pixels: int) -> ImageHeader:
    """Read format, size and orientation from the bytes; decodes no pixels.

    Raises:
        Undecodable: the bytes are not an image, or their header is broken or has no pixels.
        NotAccepted: naming the format found and those accepted.
        TooManyPixels: naming the pixels and the limit.
        MemoryError: there was too little memory.

    """
    name = sniff(data)
    with as_undecodable(name, pixels=0):
        header = ImageHeader(name, *_HEADER_READERS[name](data))
    width, height = header.size_wh
    if min(header.size_wh) <= 0:
        raise Undecodable(f"the {ACCEPTED[name].name} has no pixels: {width}x{height}")
    check_pixels(header.size_wh, max_pixels=max_pixels)
    if header.spare_pixels > MAX_FRAMES * max_pixels:
        raise TooManyPixels(
            f"the image has {header.spare_pixels} pixels in layers or tiles beyond its own,"
            f" the limit is {MAX_FRAMES * max_pixels}"
        )
    return header


def check_pixels(size_wh: tuple[int, int], *, max_pixels: int) -> None:
    """Check the size of an image.

    Raises:
        TooManyPixels: naming the pixels and the limit.

    """
    width, height = size_wh
    if width * height > max_pixels:
        raise TooManyPixels(
            f"the image has {width * height} pixels ({width}x{height}), the limit is {max_pixels}"
        )


def check_size(size_wh: tuple[int, int], header: ImageHeader) -> None:
    """Check that the decoder will produce as many pixels as were checked against the limit.

    Raises:
        ValueError: naming both.

    """
    if size_wh != header.size_wh:
        raise ValueError(f"it announces {header.size_wh} pixels and holds {size_wh}")


@contextmanager
def as_undecodable(name: str, *, pixels: int) -> Iterator[None]:
    """Convert whatever a decoder raises to `Undecodable`, except a lack of memory.

    Several decoders only say that they failed when they get no memory. So the picture is blamed
    only if memory for so many pixels is there.
    """
    try:
        yield
    except (PictureError, MemoryError):
        raise
    except Exception as err:
        np.empty(pixels * _MOST_BYTES_PER_PIXEL, np.uint8)
        if "memory" in str(err).lower():
            raise MemoryError(str(err)) from err
        readable = isinstance(err, ValueError | OSError | SyntaxError)
        reason = " ".join(str(err).split())[:120] if readable else "its structure is broken"
        raise Undecodable(f"the {ACCEPTED[name].name} cannot be decoded: {reason}") from err


def _read_jpeg_header(data: bytes) -> _Read:
    exif, frame, first_scan = b"", b"", b""
    for kind, start, end in jpeg_segments(data):
        marker = kind[0]
        if marker == _APP1 and not exif and data.startswith(b"Exif\0\0", start):
            exif = data[start:end]
        elif marker in _UNREADABLE_JPEGS:
            raise not_accepted(_UNREADABLE_JPEGS[marker])
        elif marker in _BASELINE_AND_KIN and data[start : start + 1] == b"\x0c":
            raise not_accepted("12-bit JPEG")
        if marker in _JPEG_FRAMES:
            frame = frame or kind + data[start:end]
        elif marker == _START_OF_SCAN:
            first_scan = data[start:end]
    if len(frame) < 7 or not first_scan:
        raise ValueError(BROKEN_JPEG)
    marker, _, height, width, components = struct.unpack_from(">BBHHB", frame)
    if height == 0:
        raise ValueError("its height is 0, or comes after its pixels (DNL), which is not supported")
    if not (height <= _LONGEST_JPEG_SIDE and 0 < width <= _LONGEST_JPEG_SIDE):
        raise ValueError(BROKEN_JPEG)
    coding = _jpeg_coding(marker, components, first_scan[0])
    return (width, height), exif_orientation(exif), coding


def _jpeg_coding(marker: int, components: int, components_in_first_scan: int) -> str:
    colours = "jpeg-cmyk" if components == 4 else "jpeg"
    if marker in _ARITHMETIC_JPEGS:
        return f"{colours}-arithmetic"
    is_one_pass = marker in _SEQUENTIAL_HUFFMAN and components_in_first_scan == components
    return colours if is_one_pass else f"{colours}-progressive"


def _read_png_header(data: bytes) -> _Read:
    exif = b""
    for _, start, end in png_chunks(data, {b"eXIf"}):
        exif = data[start:end]
    width, height = struct.unpack_from(">II", data, 16)
    return (width, height), exif_orientation(exif), "png"


def _read_webp_header(data: bytes) -> _Read:
    exif = b""
    for kind, start, end in webp_chunks(data):
        if kind == b"EXIF":
            exif = data[start:end]
    return _webp_size_wh(data[12:16], data[20:30]), exif_orientation(exif), "webp"


def _webp_size_wh(kind: bytes, payload: bytes) -> tuple[int, int]:
    """Read the size of a WebP. *Source:* RFC 9649, sections 2.5 to 2.7; RFC 6386, section 9.1."""
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


def _read_tiff_header(data: bytes) -> _Read:
    directory = first_directory(data)
    # A camera's raw file is a TIFF whose first page is a thumbnail or unreadable to us.
    if directory.number(_NEW_SUBFILE_TYPE, 0) & 1 or _DNG_VERSION in directory.entries:
        raise not_accepted("a camera's raw file")
    size_wh = directory.number(_IMAGE_WIDTH, 0), directory.number(_IMAGE_LENGTH, 0)
    coding = "tiff-tiled" if _TILE_WIDTH in directory.entries else "tiff"
    if directory.number(_COMPRESSION, 1) == _LZMA:
        coding += "-lzma"
    return size_wh, directory.orientation, coding


def _read_bmp_header(data: bytes) -> _Read:
    """Read a BMP's size. *Source:* Windows GDI, `BITMAPCOREHEADER` to `BITMAPV5HEADER`."""
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if len(data) < 14 + header_bytes:
        raise ValueError("Truncated File Read")
    if header_bytes not in _BMP_HEADERS_BYTES:
        raise ValueError(f"Unsupported BMP header type ({header_bytes})")
    if header_bytes == _BMP_CORE_HEADER_BYTES:
        width, height = struct.unpack_from("<HH", data, 18)
        return (width, height), 1, "bmp"
    width, height, _, _, compression = struct.unpack_from("<IiHHI", data, 18)
    # Pillow unpacks runs in Python: one small file would block the interpreter for seconds.
    if compression in _BMP_RUN_LENGTHS:
        raise not_accepted("run-length BMP")
    return (width, abs(height)), 1, "bmp"


def _read_avif_header(data: bytes) -> _Read:
    size_wh, orientation, spare_pixels, is_deep = first_picture(data)
    return size_wh, orientation, "avif-deep" if is_deep else "avif", spare_pixels


def _read_heif_header(data: bytes) -> _Read:
    heic.check_is_there()
    size_wh, orientation, spare_pixels, is_deep = upright_picture(data)
    return size_wh, orientation, "heif-deep" if is_deep else "heif", spare_pixels


_HEADER_READERS: Final[dict[str, Callable[[bytes], _Read]]] = {
    "jpeg": _read_jpeg_header,
    "png": _read_png_header,
    "webp": _read_webp_header,
    "bmp": _read_bmp_header,
    "tiff": _read_tiff_header,
    "avif": _read_avif_header,
    "heif": _read_heif_header,
}


def opened(data: bytes, name: str) -> ImageFile.ImageFile:
    """Open the file with Pillow's class for its format, which unlike `Image.open` never warns."""
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
