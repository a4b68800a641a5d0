"""Image files made in memory: ordinary ones in every accepted format, and odd or hostile ones."""

import base64
import io
import struct
import zlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

import heif_files
from distilpose.model import pictures
from distilpose.model.arrays import ImageHWC
from distilpose.model.formats import ACCEPTED

Picture = npt.NDArray[np.uint8]

FORMATS = tuple(ACCEPTED)
LOSSLESS: dict[str, dict[str, Any]] = {
    "png": {},
    "webp": {"lossless": True, "exact": True},
    "bmp": {},
    "tiff": {},
}
NEARLY_LOSSLESS: dict[str, dict[str, Any]] = {
    **LOSSLESS,
    "jpeg": {"quality": 95, "subsampling": 0},
    "avif": {"quality": 95, "subsampling": "4:4:4"},
    "heif": {},
}

# A red square of 8x8; libjpeg-turbo's cjpeg -arithmetic made it, Pillow writes no such file.
ARITHMETIC_JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsL"
    "EBYQERMUFRUVDA8XGBYUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU"
    "FBQUFBQUFBQUFBQUFBQUFBQUFBT/yQARCAAIAAgDASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/ANlL"
    "DFuAlRT/2Q=="
)


def read(data: bytes) -> ImageHWC:
    """The image that the service decodes from the bytes."""
    return pictures.read(data)


def noise(height: int, width: int) -> Picture:
    """Random RGB pixels, reproducible, which no format can compress well."""
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(picture: Image.Image | Picture, name: str, **options: Any) -> bytes:
    """The picture as a file, written by Pillow; HEIC is put together here."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    if name == "heif":
        return heif_files.heic(image, **options)
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientation -> the transposition of an upright picture that it turns back; 1 has none."""


def exif(orientation: int, order: str = "<") -> bytes:
    """EXIF with the orientation as its only tag; `order` is struct's sign for the byte order."""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 274, 3, 1, orientation, 0)
    return b"Exif\0\0" + magic + struct.pack(order + "IH", 8, 1) + entry + bytes(4)


def png_chunk(kind: bytes, payload: bytes) -> bytes:
    """A chunk with its length and checksum."""
    checksum = zlib.crc32(kind + payload)
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", checksum)


def png(
    size_wh: tuple[int, int],
    bits: int,
    colour_type: int,
    rows: list[bytes],
    *,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A PNG of raw rows, with chunks before and after the pixels."""
    header = struct.pack(">IIBBBBB", *size_wh, bits, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = png_chunk(b"IHDR", header) + before + png_chunk(b"IDAT", pixels) + after
    return b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")


def tiff(tags: dict[int, int], pixels: bytes, *, order: str = "<") -> bytes:
    """A TIFF with these tags, each one LONG; the pixels are one tile if the tags say so."""
    offset_tag, bytes_tag = (324, 325) if 322 in tags else (273, 279)
    start = 8 + 2 + 12 * (len(tags) + 2) + 4
    tags = tags | {offset_tag: start, bytes_tag: len(pixels)}
    magic = b"II*\0" if order == "<" else b"MM\0*"
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    head = magic + struct.pack(order + "IH", 8, len(tags))
    return head + entries + bytes(4) + pixels


def tiff_tile_bomb() -> bytes:
    """A TIFF of 16x16 pixels in one tile of a gigabyte."""
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: 32000, 323: 32000}
    return tiff(tags, zlib.compress(bytes(1000)))


def without_segment(jpeg: bytes, marker: int) -> bytes:
    """The JPEG without its first segment of that marker."""
    start = jpeg.index(bytes([0xFF, marker]))
    (length,) = struct.unpack_from(">H", jpeg, start + 2)
    return jpeg[:start] + jpeg[start + 2 + length :]


def with_jpeg_frame(marker: int = 0xC0, bits: int = 8) -> bytes:
    """A JPEG whose header states another process or precision."""
    jpeg = bytearray(simplejpeg.encode_jpeg(noise(16, 16)))
    start = jpeg.index(b"\xff\xc0")
    jpeg[start + 1], jpeg[start + 4] = marker, bits
    return bytes(jpeg)


def of_announced_size(name: str, width: int, height: int) -> bytes:
    """A small file of the format whose header states another size."""
    file = bytearray(encode(noise(16, 16), name))
    match name:
        case "jpeg":
            struct.pack_into(">HH", file, file.index(b"\xff\xc0") + 5, height, width)
        case "png":
            return png((width, height), 8, 2, [bytes(48)] * 16)
        case "webp":
            struct.pack_into("<HH", file, 26, width, height)
        case "bmp":
            struct.pack_into("<ii", file, 18, width, height)
        case "tiff":
            tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1}
            return tiff(tags, bytes(256))
        case "avif" | "heif":
            struct.pack_into(">II", file, file.index(b"ispe") + 8, width, height)
    return bytes(file)


def corpus() -> list[bytes]:
    """Files that a service may receive: whole, odd, truncated and hostile ones."""
    picture, image = noise(48, 64), Image.fromarray(noise(48, 64))
    whole = [encode(picture, name) for name in FORMATS]
    odd = [
        encode(picture, "jpeg", progressive=True, exif=exif(6)),
        encode(image.convert("CMYK"), "jpeg"),
        encode(image.convert("L"), "jpeg"),
        encode(image.convert("P"), "png", transparency=3),
        encode(image.convert("RGBA"), "webp"),
        encode(image.convert("1"), "png"),
        encode(image.convert("F"), "tiff"),
        encode(picture, "tiff", compression="tiff_lzw"),
        encode(picture, "gif"),
        png((3, 1), 16, 0, [bytes(6)]),
        png((1, 1), 8, 2, [bytes(3)]),
        ARITHMETIC_JPEG,
        with_jpeg_frame(bits=12),
        *(with_jpeg_frame(marker) for marker in (0xC3, 0xC5, 0xF7)),
    ]
    hostile = [
        tiff_tile_bomb(),
        tiff({256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1}, zlib.compress(bytes(10**7))),
        *(
            of_announced_size(name, *size_wh)
            for name in FORMATS
            for size_wh in ((1, 65_500), (16_000, 16_000), (2**15, 3))
            if name != "webp" or max(size_wh) < 2**14
        ),
        b"",
        bytes(1000),
        b"<svg/>",
    ]
    cut = [data[: len(data) * tenths // 10] for data in whole for tenths in (1, 5, 9)]
    return [*whole, *odd, *hostile, *cut]
