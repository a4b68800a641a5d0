"""Read the picture that an AVIF or HEIF file shows: its size, its turn, and the pixels decoded.

Decodes no pixels. Malformed bytes raise `ValueError`, `IndexError`, or `struct.error` where a field
is cut off. What is walked is limited, so that hostile files cost little time.

*Source:* ISO/IEC 23008-12, sections 6.5, 6.6 and 9.3; AV1 Image File Format, sections 2 to 4.
"""

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from distilpose.model.pictures.isobmff import av1, hevc
from distilpose.model.pictures.isobmff.boxes import Box, BoxReader
from distilpose.model.pictures.isobmff.items import Items
from distilpose.model.pictures.isobmff.pieces import Pieces
from distilpose.model.pictures.isobmff.tracks import Track, tracks_of

BLOCK_PX: Final = 128
"""Decoders round a side up to whole blocks of so many pixels, and some encoders write it so."""
MAX_CODED_ITEMS: Final = 400
"""The tiles of a large photo and of its alpha, and small pictures beside it."""
MAX_LAYER_RATIO: Final = 8
"""A smaller layer of a picture may be shown whose largest one is so many times as wide."""

_CONFIGURATIONS: Final = {b"av01": b"av1C", b"hvc1": b"hvcC", b"hev1": b"hvcC"}
"""The kinds of coded pictures, and the property of each that tells a decoder more."""
_GRID, _IDENTITY = b"grid", b"iden"
_LONG_GRID: Final = 1
_LARGEST_SPARE: Final = 2048 * 2048
_MOST_SPARE_RATIO: Final = 4
_LAYER_CHOICES: Final = frozenset({b"a1op", b"lsel"})
_ORIENTATION_OF_TURN: Final = {
    # (quarter turns anticlockwise, axis of the mirror): EXIF's orientation
    (0, None): 1,
    (1, None): 8,
    (2, None): 3,
    (3, None): 6,
    (0, 0): 4,
    (1, 0): 5,
    (2, 0): 2,
    (3, 0): 7,
    (0, 1): 2,
    (1, 1): 7,
    (2, 1): 4,
    (3, 1): 5,
}


class Picture(NamedTuple):
    """The size of a picture as it is stored, its orientation, and what else is decoded for it."""

    size_wh: tuple[int, int]
    orientation: int
    """EXIF's orientation that turns the picture upright."""
    spare_pixels: int
    """The pixels that are decoded beyond those of the picture in whole blocks."""
    is_deep: bool
    """True if samples have more than 8 bits, in the picture or in one beside it."""


def first_picture(data: bytes) -> Picture:
    """The picture that an AVIF shows, or the first one of a sequence (major brand `avis`).

    Raises:
        ValueError, IndexError, struct.error: its boxes are missing, broken, cut off, or too many;
            or its frames are larger than the picture that it announces.

    """
    reader = BoxReader(data)
    is_sequence = data[8:12] == b"avis"
    boxes = _boxes(reader, b"moov" if is_sequence else b"meta")
    items, tracks = _contents(reader, boxes)
    if is_sequence or items is None:
        return _of_tracks(data, tracks)
    return _of_items(data, items)


def upright_picture(data: bytes) -> Picture:
    """The picture that a HEIF file shows, cropped and turned as its properties say.

    Raises:
        ValueError, IndexError, struct.error: as `first_picture` does.

    """
    reader = BoxReader(data)
    items, _ = _contents(reader, _boxes(reader, b"meta"))
    assert items is not None  # noqa: S101 - for mypy: there is a meta box
    stored = _of_items(data, items)
    shown_wh = _shown_wh(data, items.properties(items.primary), stored.size_wh)
    spare_pixels = stored.spare_pixels + _in_blocks(stored.size_wh) - _in_blocks(shown_wh)
    return Picture(shown_wh, 1, max(0, spare_pixels), stored.is_deep)


def without_other_items(heif: bytes) -> bytes:
    """The same HEIF file in which only the picture that is shown and its alpha have their kind.

    So nobody parses other pictures or metadata: they could be broken, or be bombs.
    """
    reader = BoxReader(heif)
    items = Items(reader, _boxes(reader, b"meta")[b"meta"])
    kept = items.needed
    patched = bytearray(heif)
    for item, at in items.kind_places.items():
        if item not in kept:
            patched[at : at + 4] = b"skip"
    return bytes(patched)


def _contents(reader: BoxReader, boxes: dict[bytes, Box]) -> tuple[Items | None, list[Track]]:
    """The items and the tracks of a file, whose lists are within their limits.

    Decoders read both, if they are there.
    """
    items = Items(reader, boxes[b"meta"]) if b"meta" in boxes else None
    if items is not None:
        items.check_counts()
    tracks = tracks_of(reader, boxes[b"moov"], _CONFIGURATIONS) if b"moov" in boxes else ()
    return items, list(tracks)


def _boxes(reader: BoxReader, wanted: bytes) -> dict[bytes, Box]:
    """The first boxes of pictures at the top; of the wanted kind there is one.

    Broken boxes behind it are ignored: some phones append data of their own.
    """
    found: dict[bytes, Box] = {}
    try:
        for box in reader.boxes(0, len(reader.data)):
            if box.kind in {b"meta", b"moov"}:
                found.setdefault(box.kind, box)
    except (ValueError, struct.error):
        if wanted not in found:
            raise
    if wanted not in found:
        raise ValueError(f"its {wanted.decode()} box is missing")
    return found


def _of_items(data: bytes, items: Items) -> Picture:
    properties = items.properties(items.primary)
    size_wh = _size_wh(data, properties)
    if size_wh is None:
        raise ValueError("its primary picture has no size")
    decoded = _DecodedItems(data, items, size_wh)
    auxiliaries = sum(map(decoded.pixels, items.auxiliaries & decoded.known))
    decoded_pixels = max(decoded.pixels(items.primary), auxiliaries)
    spare_pixels = max(0, decoded_pixels - _in_blocks(size_wh))
    return Picture(size_wh, _orientation(data, properties), spare_pixels, decoded.is_deep)


class _DecodedItems:
    """The pixels that are decoded for the items of a file; checks every one when it is made."""

    def __init__(self, data: bytes, items: Items, shown_wh: tuple[int, int]) -> None:
        self._data, self._items = data, items
        coded = [item for item, kind in items.kinds.items() if kind in _CONFIGURATIONS]
        if len(coded) > MAX_CODED_ITEMS:
            raise ValueError(f"it has {len(coded)} coded pictures, the limit is {MAX_CODED_ITEMS}")
        self._readers = _frame_readers()
        self._coded_pixels = {item: self._coded(item, shown_wh) for item in coded}

    @property
    def is_deep(self) -> bool:
        """Return True if any of them has samples of more than 8 bits."""
        return any(each.has_deep_samples for each in self._readers.values())

    @property
    def known(self) -> set[int]:
        """The items that are coded, or derived from coded ones."""
        kinds = {*_CONFIGURATIONS, _GRID, _IDENTITY}
        return {item for item, kind in self._items.kinds.items() if kind in kinds}

    def pixels(self, item: int) -> int:
        """The pixels that are decoded for a picture, or for the tiles of a grid."""
        kind = self._items.kinds.get(item)
        if kind in _CONFIGURATIONS:
            return self._coded_pixels[item]
        sources = self._items.sources.get(item, ())
        pixels = sum(self._coded_pixels.get(each, 0) for each in sources)
        if kind == _IDENTITY and pixels:
            return pixels
        if kind != _GRID:
            raise ValueError("its picture is neither coded nor a grid of coded ones")
        size_wh = _grid_size_wh(self._items.coded(item))
        if size_wh != _size_wh(self._data, self._items.properties(item)):
            raise ValueError("its grid has another size than the picture that it announces")
        if pixels > max(_MOST_SPARE_RATIO * _in_blocks(size_wh), _LARGEST_SPARE):
            raise ValueError("its tiles are far larger than the picture")
        return pixels

    def _coded(self, item: int, shown_wh: tuple[int, int]) -> int:
        properties, kind = self._items.properties(item), self._items.kinds[item]
        configuration = next(
            (
                self._data[each.start : each.end]
                for each in properties
                if each.kind == _CONFIGURATIONS[kind]
            ),
            b"",
        )
        sizes_wh = self._readers[kind].sizes_wh(self._items.coded(item), configuration)
        announced_wh = _size_wh(self._data, properties) or shown_wh
        may_be_larger = any(each.kind in _LAYER_CHOICES for each in properties)
        _check_frames(sizes_wh, announced_wh, MAX_LAYER_RATIO if may_be_larger else 1)
        return sum(map(_in_blocks, sizes_wh))


def _frame_readers() -> dict[bytes, av1.FrameReader | hevc.FrameReader]:
    """A reader of frames for each kind of coded pictures."""
    hevc_reader = hevc.FrameReader()
    return {b"av01": av1.FrameReader(), b"hvc1": hevc_reader, b"hev1": hevc_reader}


def _of_tracks(data: bytes, tracks: list[Track]) -> Picture:
    shown = next((track for track in tracks if not track.is_auxiliary), None)
    if shown is None:
        raise ValueError("it has no track of pictures")
    frames, pixels = av1.FrameReader(), {False: 0, True: 0}
    for track in tracks:
        sizes_wh = frames.sizes_wh(track.first_picture)
        _check_frames(sizes_wh, shown.size_wh, 1)
        pixels[track.is_auxiliary] += sum(map(_in_blocks, sizes_wh))
    spare_pixels = max(0, max(pixels.values()) - _in_blocks(shown.size_wh))
    orientation = _orientation(data, shown.properties)
    return Picture(shown.size_wh, orientation, spare_pixels, frames.has_deep_samples)


def _check_frames(
    sizes_wh: Iterable[tuple[int, int]], announced_wh: tuple[int, int], ratio: int
) -> None:
    """Check that no frame is larger than announced, but for the rest of its last block."""
    for width, height in sizes_wh:
        if width > ratio * _up(announced_wh[0]) or height > ratio * _up(announced_wh[1]):
            raise ValueError(
                f"its frames of {width}x{height} are larger than the picture"
                f" that it announces, {announced_wh[0]}x{announced_wh[1]}"
            )


def _up(side: int) -> int:
    return -(-side // BLOCK_PX) * BLOCK_PX


def _in_blocks(size_wh: tuple[int, int]) -> int:
    """The pixels of a picture in whole blocks."""
    return _up(size_wh[0]) * _up(size_wh[1])


def _size_wh(data: bytes, properties: list[Box]) -> tuple[int, int] | None:
    size = next((each for each in properties if each.kind == b"ispe"), None)
    if size is None:
        return None
    width, height = struct.unpack_from(">II", data, size.start + 4)
    return width, height


def _grid_size_wh(coded: Pieces) -> tuple[int, int]:
    head = coded.read(0, 12)
    width, height = struct.unpack_from(">II" if head[1] & _LONG_GRID else ">HH", head, 4)
    return width, height


def _shown_wh(data: bytes, properties: list[Box], size_wh: tuple[int, int]) -> tuple[int, int]:
    """The size of a picture after it was cropped and turned, in the order of its properties."""
    width, height = size_wh
    for box in properties:
        if box.kind == b"irot" and data[box.start] & 1:
            width, height = height, width
        elif box.kind == b"clap":
            fields = struct.unpack_from(">4I", data, box.start)
            if 0 in fields:
                raise ValueError("it is cropped to nothing")
            width, height = min(width, fields[0] // fields[1]), min(height, fields[2] // fields[3])
    return width, height


def _orientation(data: bytes, properties: list[Box]) -> int:
    turns, mirror_axis = 0, None
    for box in properties:
        if box.kind == b"irot" and box.end > box.start:
            turns = data[box.start] & 3
        elif box.kind == b"imir" and box.end > box.start:
            mirror_axis = data[box.start] & 1
    return _ORIENTATION_OF_TURN[turns, mirror_axis]
