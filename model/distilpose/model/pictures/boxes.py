"""Read the boxes of ISO media files (AVIF, and HEIF at large): the size and turn of the picture.

Decodes no pixels and knows no codec. Malformed bytes raise `ValueError`, or `struct.error` where a
field is cut off. What is walked is limited, so that hostile files cost little time.

*Source:* ISO/IEC 14496-12, sections 4.2 and 8; ISO/IEC 23008-12, sections 6.5 and 9.3.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

MAX_BOXES: Final = 4000
MAX_ITEMS: Final = 4000
"""Real files have at most some hundreds of boxes and items: one for each tile of a large photo."""

_VISUAL_SAMPLE_ENTRY_BYTES: Final = 78
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


class Box(NamedTuple):
    """One box: its kind, and where its payload begins and ends in the file."""

    kind: bytes
    start: int
    end: int


class Picture(NamedTuple):
    """The size of a picture as it is stored, and EXIF's orientation that turns it upright."""

    size_wh: tuple[int, int]
    orientation: int


@dataclass
class BoxReader:
    """The boxes of one file; counts what it walks."""

    data: bytes
    boxes_walked: int = field(default=0, init=False)

    def boxes(self, start: int, end: int) -> Iterator[Box]:
        """Each box between two positions.

        Raises:
            ValueError: a box does not fit in its place, or the file has more than `MAX_BOXES`.

        """
        while start < end:
            self.boxes_walked += 1
            if self.boxes_walked > MAX_BOXES:
                raise ValueError(f"it has more than {MAX_BOXES} boxes")
            size, kind = struct.unpack_from(">I4s", self.data, start)
            head_bytes = 8
            if size == 1:
                (size,) = struct.unpack_from(">Q", self.data, start + 8)
                head_bytes = 16
            elif size == 0:
                size = end - start
            if not head_bytes <= size <= end - start:
                raise ValueError("the file is truncated, or a box does not fit in its place")
            yield Box(kind, start + head_bytes, start + size)
            start += size

    def within(self, box: Box, *, skipped_bytes: int = 0) -> dict[bytes, Box]:
        """The first box of each kind in a box, after the fields of its own."""
        found: dict[bytes, Box] = {}
        for each in self.boxes(box.start + skipped_bytes, box.end):
            found.setdefault(each.kind, each)
        return found

    def path(self, box: Box, *kinds: bytes) -> Box:
        """The box that is reached by these kinds, each within the one before.

        Raises:
            ValueError: one is missing.

        """
        for kind in kinds:
            found = self.within(box).get(kind)
            if found is None:
                raise ValueError(f"its {kind.decode('latin-1')} box is missing")
            box = found
        return box


def first_picture(data: bytes) -> Picture:
    """The picture that a still file shows, or the first one of a sequence (major brand `avis`).

    Raises:
        ValueError, struct.error: its boxes are missing, broken, cut off, or too many.

    """
    reader = BoxReader(data)
    wanted = b"moov" if data[8:12] == b"avis" else b"meta"
    for box in reader.boxes(0, len(data)):
        if box.kind == wanted:
            return _first_of_track(reader, box) if wanted == b"moov" else _primary(reader, box)
    raise ValueError(f"its {wanted.decode()} box is missing")


def _primary(reader: BoxReader, meta: Box) -> Picture:
    boxes = reader.within(meta, skipped_bytes=4)
    if not boxes.keys() >= {b"pitm", b"iprp"}:
        raise ValueError("it has no primary picture with properties")
    item = _primary_item(reader.data, boxes[b"pitm"])
    properties = _properties_of(reader, boxes[b"iprp"], item)
    size = next((each for each in properties if each.kind == b"ispe"), None)
    if size is None:
        raise ValueError("its primary picture has no size")
    width, height = struct.unpack_from(">II", reader.data, size.start + 4)
    return Picture((width, height), _orientation(reader.data, properties))


def _primary_item(data: bytes, pitm: Box) -> int:
    is_long = data[pitm.start] > 0
    item: int = struct.unpack_from(">I" if is_long else ">H", data, pitm.start + 4)[0]
    return item


def _properties_of(reader: BoxReader, iprp: Box, item: int) -> list[Box]:
    containers = list(reader.boxes(iprp.start, iprp.end))
    known = [
        each
        for box in containers
        if box.kind == b"ipco"
        for each in reader.boxes(box.start, box.end)
    ]
    indices = [
        index
        for box in containers
        if box.kind == b"ipma"
        for index in _associated(reader.data, box, item)
    ]
    if any(index > len(known) for index in indices):
        raise ValueError("a picture has a property that is missing")
    return [known[index - 1] for index in indices if index]


def _associated(data: bytes, ipma: Box, item: int) -> list[int]:
    """The numbers of an item's properties, from 1; 0 is none."""
    version, flags = data[ipma.start], data[ipma.start + 3]
    item_field, index_bytes = (">I" if version else ">H"), (2 if flags & 1 else 1)
    (count,) = struct.unpack_from(">I", data, ipma.start + 4)
    if count > MAX_ITEMS:
        raise ValueError(f"it has {count} items, the limit is {MAX_ITEMS}")
    at = ipma.start + 8
    for _ in range(count):
        (each,) = struct.unpack_from(item_field, data, at)
        at += 4 if version else 2
        fields = data[at + 1 : at + 1 + data[at] * index_bytes]
        at += 1 + data[at] * index_bytes
        if at > ipma.end:
            raise ValueError("its list of properties is truncated")
        if each == item:
            return [
                int.from_bytes(fields[i : i + index_bytes], "big") & (0x7FFF if flags & 1 else 0x7F)
                for i in range(0, len(fields), index_bytes)
            ]
    return []


def _orientation(data: bytes, properties: list[Box]) -> int:
    turns, mirror_axis = 0, None
    for box in properties:
        if box.kind == b"irot" and box.end > box.start:
            turns = data[box.start] & 3
        elif box.kind == b"imir" and box.end > box.start:
            mirror_axis = data[box.start] & 1
    return _ORIENTATION_OF_TURN[turns, mirror_axis]


def _first_of_track(reader: BoxReader, moov: Box) -> Picture:
    for box in reader.boxes(moov.start, moov.end):
        if box.kind == b"trak" and (picture := _of_track(reader, box)) is not None:
            return picture
    raise ValueError("it has no track of pictures")


def _of_track(reader: BoxReader, trak: Box) -> Picture | None:
    """The first picture of a track; `None` if it is a track of something else, or of alpha."""
    boxes = reader.within(trak)
    if not boxes.keys() >= {b"tkhd", b"mdia"}:
        return None
    if b"tref" in boxes and b"auxl" in reader.within(boxes[b"tref"]):
        return None
    stsd = reader.path(boxes[b"mdia"], b"minf", b"stbl", b"stsd")
    entry = reader.within(stsd, skipped_bytes=8).get(b"av01")
    if entry is None:
        return None
    properties = list(reader.boxes(entry.start + _VISUAL_SAMPLE_ENTRY_BYTES, entry.end))
    width, height = struct.unpack_from(">II", reader.data, boxes[b"tkhd"].end - 8)
    return Picture((width >> 16, height >> 16), _orientation(reader.data, properties))
