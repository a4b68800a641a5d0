"""Read the containers around pixels: segments, chunks, tag directories; decodes no pixels.

It also reduces PNG, TIFF and AVIF files to the parts that define pixels, so that the decoder sees
no text, profile, animation or metadata that could be a bomb, be broken, or rotate the picture
without our knowledge. Malformed bytes raise `ValueError` (or `struct.error` if a field is cut off).
Knows no limits and no decoder.
"""

import math
import re
import struct
import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

_SHORT, _LONG = 3, 4
_TIFF_TYPE_BYTES: Final = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
}

_WIDTH, _LENGTH, _BITS_PER_SAMPLE, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 262, 274
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _PLANAR = 273, 277, 278, 284
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS = 322, 323, 324
# Size, compression, photometry, strips, tiles and the tables of the compressions.
_TIFF_SINGLE_TAGS: Final = frozenset(
    {256, 257, 259, 262, 266, 277, 278, 284, 292, 293, 317, 322, 323, 332, 512, 513, 514, 515, 531}
)
_TIFF_LIST_TAGS: Final = frozenset(
    {258, 273, 279, 320, 324, 325, 338, 339, 347, 519, 520, 521, 529, 530, 532}
)
_PNG_PIXEL_CHUNKS: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_AVIF_EXIF_ITEM: Final = re.compile(rb"(infe(?:\x02.{3}.{4}|\x03.{3}.{6}))Exif", re.DOTALL)
_LARGEST_SPARE_TILE: Final = 2048 * 2048
_PNG_END: Final = b"\0\0\0\0IEND\xaeB`\x82"
_PNG_CHUNK_HEAD: Final = struct.Struct(">I4s")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_ANY_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xff]")
_JPEG_MARKERS_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")

# Far above real files, and low enough that hostile ones are walked in 5 ms.
MAX_JPEG_SEGMENTS: Final = 3000
MAX_JPEG_SPARE_BYTES: Final = 10_000
MAX_JPEG_SCANS: Final = 100
MAX_PNG_CHUNKS: Final = 20_000
MAX_WEBP_CHUNKS: Final = 5000
MAX_TIFF_ENTRIES: Final = 1000
# Pillow walks strips and tiles in Python, several microseconds each, and unpacks lists to objects.
MAX_TIFF_PIECES: Final = 100_000
_MAX_TIFF_VALUES: Final = 200_000


Part: TypeAlias = tuple[bytes, int, int]
"""A segment or chunk: its kind, and where its payload begins and ends; a plain tuple for speed."""


def jpeg_segments(data: bytes) -> Iterator[Part]:
    """Each segment up to and including the first scan's header; ends silently when markers end.

    Raises:
        ValueError: more than `MAX_JPEG_SEGMENTS`, or `MAX_JPEG_SPARE_BYTES`, or bytes in the place
            of the next marker.

    *Source:* ITU-T T.81, annex B.

    """
    position, most_spare_bytes, segments = 2, MAX_JPEG_SPARE_BYTES, 0
    while position + 4 <= len(data):
        if data[position] != 0xFF or data[position + 1] in {0x00, 0xFF}:
            spare_bytes = _bytes_before_marker(data, position, most_spare_bytes)
            most_spare_bytes -= spare_bytes
            position += spare_bytes
        marker = data[position + 1]
        if marker == _END_OF_IMAGE:
            return
        segments += 1
        if segments > MAX_JPEG_SEGMENTS:
            raise ValueError(f"it has more than {MAX_JPEG_SEGMENTS} segments before its pixels")
        start = position + 2
        position = start
        if marker not in _JPEG_MARKERS_WITHOUT_LENGTH:
            position += int.from_bytes(data[start : start + 2], "big")
            yield data[start - 1 : start], start + 2, position
        if marker == _START_OF_SCAN:
            return


def _bytes_before_marker(data: bytes, position: int, most_bytes: int) -> int:
    found = _ANY_JPEG_MARKER.search(data, position, position + most_bytes + 2)
    if found:
        return found.start() - position
    if position + most_bytes + 2 < len(data):
        raise ValueError(f"it has more than {MAX_JPEG_SPARE_BYTES} bytes between segments")
    raise ValueError("it has no pixels: the file is truncated")


def check_jpeg_scans(data: bytes) -> None:
    """Check that a JPEG has at most `MAX_JPEG_SCANS`: each costs a walk over the whole picture.

    Raises:
        ValueError: it has more.

    """
    scans = 0
    *_, (_, position, _) = jpeg_segments(data)
    while scans < MAX_JPEG_SCANS and (found := _JPEG_MARKER.search(data, position)):
        marker = found[0][1]
        if marker == _END_OF_IMAGE:
            return
        scans += marker == _START_OF_SCAN
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    if scans >= MAX_JPEG_SCANS:
        raise ValueError(f"it has more than {MAX_JPEG_SCANS} scans")


def png_chunks(data: bytes, wanted: Container[bytes]) -> Iterator[Part]:
    """Each chunk of the wanted kinds, up to and including IEND.

    Raises:
        ValueError: the file ends before IEND, or has more than `MAX_PNG_CHUNKS`.

    *Source:* PNG specification, third edition, section 5.

    """
    head_of, size, position = _PNG_CHUNK_HEAD.unpack_from, len(data), 8
    for _ in range(MAX_PNG_CHUNKS):
        if position + 12 > size:
            raise ValueError("the file is truncated")
        length, kind = head_of(data, position)
        position += 12 + length
        if kind in wanted or kind == b"IEND":
            if position > size:
                raise ValueError("the file is truncated")
            if kind in wanted:
                yield kind, position - 4 - length, position - 4
            if kind == b"IEND":
                return
    raise ValueError(f"it has more than {MAX_PNG_CHUNKS} chunks")


def webp_chunks(data: bytes) -> Iterator[Part]:
    """Each chunk; the last one may be truncated with the file.

    Raises:
        ValueError: it has more than `MAX_WEBP_CHUNKS`.

    *Source:* RFC 9649, section 2.3.

    """
    position, chunks = 12, 0
    while position + 8 <= len(data):
        chunks += 1
        if chunks > MAX_WEBP_CHUNKS:
            raise ValueError(f"it has more than {MAX_WEBP_CHUNKS} chunks")
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, position + 8, position + 8 + length
        position += 8 + length + length % 2


class TiffEntry(NamedTuple):
    """One tag: its type, its number of values, and the four bytes with the value or an offset."""

    type: int
    value_count: int
    field: bytes


@dataclass(frozen=True)
class TiffDirectory:
    """The first directory of a TIFF file or of EXIF: its position and its tags."""

    order: str
    offset: int
    entries: dict[int, TiffEntry]

    def number(self, tag: int, default: int) -> int:
        """The value of a tag that holds one SHORT or LONG, else `default`."""
        entry = self.entries.get(tag)
        if entry is None or entry.value_count != 1 or entry.type not in {_SHORT, _LONG}:
            return default
        kind = "H" if entry.type == _SHORT else "I"
        value: int = struct.unpack_from(self.order + kind, entry.field)[0]
        return value

    @property
    def orientation(self) -> int:
        """The orientation 1..8; 1 if the tag is missing or invalid."""
        orientation = self.number(_ORIENTATION, 1)
        return orientation if 1 <= orientation <= 8 else 1

    @property
    def pieces(self) -> int:
        """The number of strips or tiles."""
        tag = _TILE_OFFSETS if _TILE_WIDTH in self.entries else _STRIP_OFFSETS
        entry = self.entries.get(tag)
        return 0 if entry is None else entry.value_count


def first_directory(tiff: bytes) -> TiffDirectory:
    """The first directory of a TIFF structure.

    Raises:
        ValueError, struct.error: the bytes are not TIFF, or cut off, or have more entries than
            `MAX_TIFF_ENTRIES`.

    *Source:* TIFF 6.0, section 2.

    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        raise ValueError("it does not start as TIFF does")
    (offset,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, offset)
    if count > MAX_TIFF_ENTRIES:
        raise ValueError(f"its directory has {count} entries, the limit is {MAX_TIFF_ENTRIES}")
    table = tiff[offset + 2 : offset + 2 + 12 * count]
    if len(table) < 12 * count:
        raise ValueError("the file is truncated")
    entries = {tag: TiffEntry(*entry) for tag, *entry in struct.iter_unpack(order + "HHI4s", table)}
    return TiffDirectory(order, offset, entries)


def exif_orientation(exif: bytes) -> int:
    """The orientation 1..8 in EXIF bytes; 1 if they are missing or broken.

    *Source:* Exif, tag 0x0112.
    """
    try:
        return first_directory(exif.removeprefix(b"Exif\0\0")).orientation
    except (ValueError, struct.error):
        return 1


def pixels_only_png(data: bytes) -> bytes:
    """The same PNG with only the chunks that define its still picture.

    Raises:
        ValueError: the file ends early, or such a chunk has a wrong checksum.

    """
    kept = []
    for kind, start, end in png_chunks(data, _PNG_PIXEL_CHUNKS):
        if kind == b"IEND":
            kept.append(_PNG_END)
            break
        chunk = data[start - 8 : end + 4]
        if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise ValueError(f"the checksum of its {kind.decode()} chunk is wrong")
        kept.append(chunk)
    return data[:8] + b"".join(kept)


def pixels_only_avif(data: bytes) -> bytes:
    """The same AVIF with its Exif item renamed, so that nobody parses it.

    The orientation of an AVIF depends only on its `irot` and `imir` properties.
    *Source:* ISO/IEC 14496-12, section 8.11.6 (item information box).
    """
    return _AVIF_EXIF_ITEM.sub(rb"\1skip", data)


def pixels_only_tiff(data: bytes) -> bytes:
    """The same TIFF with one page and only the tags that define its pixels, stored upright.

    Raises:
        ValueError: such a tag is malformed, or the pixels would be decoded wrongly.

    """
    directory = first_directory(data)
    kept = {
        tag: entry
        for tag, entry in sorted(directory.entries.items())
        if tag in _TIFF_SINGLE_TAGS | _TIFF_LIST_TAGS
    }
    _check_tiff_tags(kept, directory.order, len(data))
    _check_tiff_pieces(directory)
    _check_tiff_grey(directory)
    table = b"".join(
        struct.pack(directory.order + "HHI4s", tag, *entry) for tag, entry in kept.items()
    )
    page = struct.pack(directory.order + "H", len(kept)) + table + bytes(4)
    # In place: bytes appended to a truncated file would be taken for its missing pixels.
    return data[: directory.offset] + page + data[directory.offset + len(page) :]


def _check_tiff_tags(entries: dict[int, TiffEntry], order: str, file_bytes: int) -> None:
    outside_bytes = 0
    for tag, entry in entries.items():
        if tag in _TIFF_SINGLE_TAGS and entry.value_count != 1:
            raise ValueError(f"its tag {tag} has {entry.value_count} values where one belongs")
        if entry.value_count > _MAX_TIFF_VALUES:
            raise ValueError(
                f"its tag {tag} has {entry.value_count} values, the limit is {_MAX_TIFF_VALUES}"
            )
        value_bytes = entry.value_count * _TIFF_TYPE_BYTES.get(entry.type, file_bytes)
        if value_bytes <= 4:
            continue
        (offset,) = struct.unpack(order + "I", entry.field)
        outside_bytes += value_bytes
        if offset + value_bytes > file_bytes or outside_bytes > file_bytes:
            raise ValueError(f"the values of its tag {tag} lie outside the file")


def _check_tiff_pieces(directory: TiffDirectory) -> None:
    """Check that the strips or tiles cover the image, and that none is a decompression bomb."""
    number, entries = directory.number, directory.entries
    width, height = number(_WIDTH, 0), number(_LENGTH, 0)
    if _STRIP_OFFSETS in entries and _TILE_WIDTH in entries:
        raise ValueError("it has both strips and tiles")
    if _TILE_WIDTH in entries:
        piece_wh = number(_TILE_WIDTH, 0), number(_TILE_LENGTH, 0)
    else:
        piece_wh = width, min(number(_ROWS_PER_STRIP, height), height)
    if directory.pieces > MAX_TIFF_PIECES:
        raise ValueError(
            f"it has {directory.pieces} strips or tiles, the limit is {MAX_TIFF_PIECES}"
        )
    if 0 in piece_wh:
        raise ValueError("its strips or tiles are empty")
    planes = number(_SAMPLES, 1) if number(_PLANAR, 1) == 2 else 1
    if directory.pieces < math.ceil(width / piece_wh[0]) * math.ceil(height / piece_wh[1]) * planes:
        raise ValueError("its strips or tiles do not cover the image")
    if piece_wh[0] * piece_wh[1] > max(width * height, _LARGEST_SPARE_TILE):
        raise ValueError(f"its tiles of {piece_wh[0]}x{piece_wh[1]} are far larger than the image")


def _check_tiff_grey(directory: TiffDirectory) -> None:
    """Check that the decoder would not render 12-bit grey too dark, or white-is-zero inverted."""
    bits = directory.number(_BITS_PER_SAMPLE, 1)
    white_is_zero = directory.number(_PHOTOMETRIC, 0) == 0
    if bits == 12 or (bits == 16 and white_is_zero):
        raise ValueError("grey of 12 bits, and 16-bit grey with white as zero, are not supported")
