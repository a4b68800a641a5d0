"""The cost of decoding a picture, known from its header: processor time and memory.

Every figure is an upper bound, measured by `tests/bench/decode_costs.py` plus about a tenth. A
format that is added brings its row.
"""

import math
from dataclasses import dataclass
from typing import Final

from distilpose.model.pictures.containers import MAX_JPEG_SCANS
from distilpose.model.pictures.headers import ImageHeader
from distilpose.model.pictures.source import EncodedImage, Source

_RGB_BYTES: Final = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """What decoding a picture takes at most."""

    decode_seconds: float
    """Processor seconds on the reference CPU, which docs/reliability.md names."""
    peak_bytes: int
    """Memory at the decoder's peak, the decoded RGB pixels included, the file itself not."""
    pixels_bytes: int
    """The decoded upright RGB: width * height * 3."""


@dataclass(frozen=True, slots=True)
class _Row:
    """The cost of one coding; a side is rounded up to whole blocks of `block_px` pixels."""

    ms_per_megapixel: float
    ms_per_file_megabyte: float
    bytes_per_pixel: float
    bytes_per_file_byte: float = 0.0
    ms_per_megapixel_and_scan: float = 0.0
    block_px: int = 32
    extra_bytes: int = 0


_SPARE_TILE_BYTES: Final = 2048 * 2048 * 8
"""A tile may be this large, at 16 bits and four samples a pixel, whatever the size of its image."""

ROWS: Final = {
    "jpeg": _Row(5, 5.5, 4),
    "jpeg-progressive": _Row(9, 33, 10.4, ms_per_megapixel_and_scan=0.75),
    "jpeg-cmyk": _Row(28, 5.5, 18.5),
    "jpeg-cmyk-progressive": _Row(28, 33, 18.5, ms_per_megapixel_and_scan=0.75),
    "png": _Row(28, 13, 25, 1.1),
    "webp": _Row(19, 24, 36, 1.1),
    "bmp": _Row(14, 0, 20, 1.1),
    "tiff": _Row(20, 7, 25, 1.1),
    "tiff-tiled": _Row(20, 7, 25, 1.1, extra_bytes=_SPARE_TILE_BYTES),
    "avif": _Row(30, 73, 31, 1.1, block_px=128),
    "raw": _Row(4, 0, 9.5),
}
_TURNED_MS_PER_MEGAPIXEL: Final = 7.0
_TURNED_BYTES_PER_PIXEL: Final = 6.7
_PICTURE_SECONDS: Final = 0.002
_PICTURE_BYTES: Final = 2**20
_SCANS_SEARCHED_BYTES: Final = 2**20
_START_OF_SCAN: Final = b"\xff\xda"


def cost_of(source: Source, header: ImageHeader) -> Cost:
    """The cost of decoding a source at full size, by its header; takes 3 ms at most."""
    row = ROWS[header.coding]
    file = source.content if isinstance(source, EncodedImage) else b""
    width, height = (math.ceil(side / row.block_px) * row.block_px for side in header.size_wh)
    megapixels = width * height / 1e6
    ms_per_megapixel, bytes_per_pixel = row.ms_per_megapixel, row.bytes_per_pixel
    if row.ms_per_megapixel_and_scan:
        ms_per_megapixel += row.ms_per_megapixel_and_scan * _most_scans(file)
    if header.orientation != 1:
        ms_per_megapixel += _TURNED_MS_PER_MEGAPIXEL
        bytes_per_pixel = max(bytes_per_pixel, _TURNED_BYTES_PER_PIXEL)
    milliseconds = megapixels * ms_per_megapixel + len(file) / 1e6 * row.ms_per_file_megabyte
    peak_bytes = width * height * bytes_per_pixel + len(file) * row.bytes_per_file_byte
    return Cost(
        decode_seconds=_PICTURE_SECONDS + milliseconds / 1000,
        peak_bytes=_PICTURE_BYTES + row.extra_bytes + math.ceil(peak_bytes),
        pixels_bytes=header.pixels * _RGB_BYTES,
    )


def _most_scans(jpeg: bytes) -> int:
    """The scans of a JPEG, at most; estimated by its first part if it is long."""
    found = jpeg.count(_START_OF_SCAN, 0, _SCANS_SEARCHED_BYTES)
    parts = math.ceil(len(jpeg) / _SCANS_SEARCHED_BYTES)
    return min(found * parts, MAX_JPEG_SCANS)
