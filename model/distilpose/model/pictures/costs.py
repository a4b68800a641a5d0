"""The cost of decoding a picture, known from its header: processor time and memory.

Every figure is an upper bound, measured by `tests/bench/decode_costs.py` plus about a tenth. A
format that is added brings its row.

The one exception is the time of a JPEG with spare bytes behind its pixels (see `spares`), which its
header does not tell: it is decoded several times, for up to 2.3 times its charge, and 3.3 times
with a restart marker at every fourth unit. The pace that the service measures makes up for it.
"""

import math
from dataclasses import dataclass
from typing import Final

from distilpose.model.pictures.containers import (
    MAX_JPEG_SCANS,
    MAX_TIFF_PIECES,
    first_directory,
)
from distilpose.model.pictures.headers import ImageHeader
from distilpose.model.pictures.source import EncodedImage, Source

_RGB_BYTES: Final = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """The most that decoding a picture takes."""

    decode_seconds: float
    """Processor seconds on the reference CPU, the one that docs/speed.md names."""
    peak_bytes: int
    """Memory at the decoder's peak, the decoded RGB pixels included, the file itself not."""
    pixels_bytes: int
    """The decoded upright RGB: width * height * 3."""


@dataclass(frozen=True, slots=True)
class Row:
    """The cost of one coding; a side is rounded up to whole blocks of `block_px` pixels."""

    ms_per_megapixel: float
    ms_per_file_megabyte: float
    bytes_per_pixel: float
    bytes_per_file_byte: float = 0
    ms_per_megapixel_and_scan: float = 0
    block_px: int = 1
    extra_ms: float = 0
    extra_bytes: int = 0


_SPARE_TILE_BYTES: Final = 2048 * 2048 * 8
"""A tile may be this large, at 16 bits and four samples a pixel, whatever the size of its image."""

ROWS: Final = {
    "jpeg": Row(5, 5.5, 4, 1.1, block_px=32),
    "jpeg-progressive": Row(9, 33, 11, 1.1, ms_per_megapixel_and_scan=0.75, block_px=32),
    "jpeg-arithmetic": Row(12, 120, 11, 1.1, ms_per_megapixel_and_scan=0.75, block_px=32),
    "jpeg-cmyk": Row(36, 5.5, 22, 1.1, block_px=32),
    "jpeg-cmyk-progressive": Row(36, 33, 24, 1.1, ms_per_megapixel_and_scan=1, block_px=32),
    "jpeg-cmyk-arithmetic": Row(38, 120, 24, 1.1, ms_per_megapixel_and_scan=1, block_px=32),
    "png": Row(28, 13, 25, 1.1),
    "webp": Row(19, 24, 36, 1.1, block_px=16),
    "bmp": Row(14, 0, 20, 1.1),
    "tiff": Row(22, 7, 25, 1.1),
    "tiff-lzma": Row(22, 75, 25, 1.1),
    "tiff-tiled": Row(22, 7, 25, 1.1, extra_ms=45, extra_bytes=_SPARE_TILE_BYTES),
    "tiff-tiled-lzma": Row(22, 75, 25, 1.1, extra_ms=45, extra_bytes=_SPARE_TILE_BYTES),
    "avif": Row(40, 75, 31, 1.1, block_px=128),
    "avif-deep": Row(60, 75, 44, 1.1, block_px=128),
    "heif": Row(60, 90, 27, 3, block_px=128),
    "heif-deep": Row(110, 120, 29, 3, block_px=128),
    "raw": Row(6, 0, 10.7),
}
"""The rows by `ImageHeader.coding`."""

_TURNED_MS_PER_MEGAPIXEL: Final = 7
_TURNED_BYTES_PER_PIXEL: Final = 7.4
_PICTURE_MS, _PICTURE_BYTES = 4, 4 * 2**20
_LINE_MS, _LINE_BYTES = 6e-5, 48
"""For each row of pixels: what thin pictures cost beyond their pixels."""
_PIECE_MS, _PIECE_BYTES = 0.009, 450
"""For each strip or tile of a TIFF."""
_SCANS_SEARCHED_BYTES: Final = 2**20
_START_OF_SCAN: Final = b"\xff\xda"


def cost_of(source: Source, header: ImageHeader) -> Cost:
    """The cost of decoding a source at full size, by its header; takes 3 ms at most."""
    row = ROWS[header.coding]
    file = source.content if isinstance(source, EncodedImage) else b""
    width, height = (math.ceil(side / row.block_px) * row.block_px for side in header.size_wh)
    pixels = width * height + header.spare_pixels
    megapixels = pixels / 1e6
    ms_per_megapixel, bytes_per_pixel = row.ms_per_megapixel, row.bytes_per_pixel
    if row.ms_per_megapixel_and_scan:
        ms_per_megapixel += row.ms_per_megapixel_and_scan * _most_scans(file)
    if header.orientation != 1:
        ms_per_megapixel += _TURNED_MS_PER_MEGAPIXEL
        bytes_per_pixel = max(bytes_per_pixel, _TURNED_BYTES_PER_PIXEL)
    pieces = _pieces(file) if header.format == "tiff" else 0
    milliseconds = (
        megapixels * ms_per_megapixel
        + height * _LINE_MS
        + len(file) / 1e6 * row.ms_per_file_megabyte
        + row.extra_ms
        + pieces * _PIECE_MS
        + _PICTURE_MS
    )
    peak_bytes = (
        pixels * bytes_per_pixel
        + height * _LINE_BYTES
        + len(file) * row.bytes_per_file_byte
        + row.extra_bytes
        + pieces * _PIECE_BYTES
        + _PICTURE_BYTES
    )
    return Cost(
        decode_seconds=milliseconds / 1000,
        peak_bytes=math.ceil(peak_bytes),
        pixels_bytes=header.pixels * _RGB_BYTES,
    )


def _most_scans(jpeg: bytes) -> int:
    """The scans of a JPEG, at most; estimated by its first part if it is long."""
    found = jpeg.count(_START_OF_SCAN, 0, _SCANS_SEARCHED_BYTES)
    parts = math.ceil(len(jpeg) / _SCANS_SEARCHED_BYTES)
    return min(found * parts, MAX_JPEG_SCANS)


def _pieces(tiff: bytes) -> int:
    return min(first_directory(tiff).pieces, MAX_TIFF_PIECES)
