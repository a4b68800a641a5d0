"""Read the items of a still picture's file: kinds, properties, references, and where they lie.

Knows no codec. Malformed bytes raise `ValueError`, `IndexError`, or `struct.error` where a field is
cut off. What is walked is limited, so that hostile files cost little time here, and little time and
memory in the decoder.

*Source:* ISO/IEC 14496-12, section 8.11; ISO/IEC 23008-12, sections 6 and 9.3.
"""

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from distilpose.model.pictures.isobmff.boxes import Box, BoxReader
from distilpose.model.pictures.isobmff.pieces import Extent, Pieces

MAX_ITEMS: Final = 1000
"""Real files have some hundreds: one for each tile of a large photo."""
MAX_LINKS: Final = 10_000
"""Properties of all items, their references, and their pieces: so many of each."""

_NUMBER_FORMATS: Final = {0: "", 4: "I", 8: "Q"}
_SHORT_INFE, _LONG_INFE = 2, 3
_IN_FILE, _IN_IDAT = 0, 1


class Reference(NamedTuple):
    """A link of some kind from one item to others."""

    kind: bytes
    origin: int
    targets: tuple[int, ...]


@dataclass
class Items:
    """The items of a `meta` box."""

    reader: BoxReader
    meta: Box

    def check_counts(self) -> None:
        """Check that all lists are within their limits.

        Raises:
            ValueError: one is not, or is broken.

        """
        _ = self.kinds, self.references, self._extents, self._property_numbers

    @cached_property
    def primary(self) -> int:
        """The number of the item that is shown."""
        if not self._boxes.keys() >= {b"pitm", b"iprp"}:
            raise ValueError("it has no primary picture with properties")
        start = self._boxes[b"pitm"].start
        is_long = self.reader.data[start] > 0
        item: int = struct.unpack_from(">I" if is_long else ">H", self.reader.data, start + 4)[0]
        return item

    @cached_property
    def kinds(self) -> dict[int, bytes]:
        """The kind of each item, by its number."""
        data = self.reader.data
        return {item: data[at : at + 4] for item, at in self.kind_places.items()}

    @cached_property
    def kind_places(self) -> dict[int, int]:
        """The position in the file of each item's kind."""
        data, places = self.reader.data, dict[int, int]()
        if (iinf := self._boxes.get(b"iinf")) is None:
            return places
        first = iinf.start + (8 if data[iinf.start] else 6)
        for infe in self.reader.boxes(first, iinf.end):
            version = data[infe.start]
            if infe.kind != b"infe" or version not in {_SHORT_INFE, _LONG_INFE}:
                continue
            item_bytes = 2 if version == _SHORT_INFE else 4
            at = infe.start + 4 + item_bytes
            if at + 6 > infe.end:
                raise ValueError("its list of items is truncated")
            places[int.from_bytes(data[infe.start + 4 : at], "big")] = at + 2
            _check_count(len(places), MAX_ITEMS, "items")
        return places

    @cached_property
    def references(self) -> list[Reference]:
        """All references, in their order."""
        if (iref := self._boxes.get(b"iref")) is None:
            return []
        data, references, links = self.reader.data, list[Reference](), 0
        number = "I" if data[iref.start] else "H"
        for box in self.reader.boxes(iref.start + 4, iref.end):
            origin, count = struct.unpack_from(f">{number}H", data, box.start)
            links += count
            _check_count(links, MAX_LINKS, "references")
            first = box.start + struct.calcsize(f">{number}H")
            targets = struct.unpack_from(f">{count}{number}", data, first)
            references.append(Reference(box.kind, origin, targets))
        return references

    @cached_property
    def sources(self) -> dict[int, tuple[int, ...]]:
        """The items that each derived one is made of: a grid's tiles, for example."""
        sources: dict[int, tuple[int, ...]] = {}
        for each in self.references:
            if each.kind == b"dimg":
                sources.setdefault(each.origin, each.targets)
        return sources

    @cached_property
    def auxiliaries(self) -> set[int]:
        """The items with the alpha, or the like, of the primary picture or of its sources."""
        owners = {self.primary, *self.sources.get(self.primary, ())}
        return {
            each.origin
            for each in self.references
            if each.kind == b"auxl" and not owners.isdisjoint(each.targets)
        }

    @property
    def needed(self) -> set[int]:
        """The primary item, its auxiliaries, and the sources of all of them."""
        shown = {self.primary} | self.auxiliaries
        return shown.union(*(self.sources.get(each, ()) for each in shown))

    def properties(self, item: int) -> list[Box]:
        """The properties of an item, in their order."""
        known, numbers = self._known_properties, self._property_numbers.get(item, [])
        if max(numbers, default=0) > len(known):
            raise ValueError("a picture has a property that is missing")
        return [known[number - 1] for number in numbers if number]

    def coded(self, item: int) -> Pieces:
        """The bytes of an item.

        Raises:
            ValueError: it has none, or they do not lie in the file.

        """
        extents, size = self._extents.get(item), len(self.reader.data)
        if not extents:
            raise ValueError("a picture of it has no bytes")
        for _, end in extents:
            if end > size:
                raise ValueError("the file is truncated")
        return Pieces(self.reader.data, extents)

    @cached_property
    def _boxes(self) -> dict[bytes, Box]:
        return self.reader.within(self.meta, skipped_bytes=4)

    @cached_property
    def _property_boxes(self) -> list[Box]:
        iprp = self._boxes.get(b"iprp")
        return [] if iprp is None else list(self.reader.boxes(iprp.start, iprp.end))

    @cached_property
    def _known_properties(self) -> list[Box]:
        return [
            each
            for box in self._property_boxes
            if box.kind == b"ipco"
            for each in self.reader.boxes(box.start, box.end)
        ]

    @cached_property
    def _property_numbers(self) -> dict[int, list[int]]:
        """The numbers of each item's properties, from 1; 0 is none."""
        numbers: dict[int, list[int]] = {}
        links = 0
        for box in self._property_boxes:
            if box.kind == b"ipma":
                links = self._read_property_numbers(box, numbers, links)
        return numbers

    def _read_property_numbers(self, ipma: Box, numbers: dict[int, list[int]], links: int) -> int:
        data, start = self.reader.data, ipma.start
        version, flags = data[start], data[start + 3]
        is_long = flags & 1
        head = struct.Struct(">IB" if version else ">HB")
        (count,) = struct.unpack_from(">I", data, start + 4)
        _check_count(count, MAX_ITEMS, "items")
        at = start + 8
        for _ in range(count):
            item, each = head.unpack_from(data, at)
            at += head.size
            links += each
            _check_count(links, MAX_LINKS, "properties of items")
            end = at + (2 * each if is_long else each)
            if end > ipma.end:
                raise ValueError("its list of properties is truncated")
            if is_long:
                found = [each & 0x7FFF for each in struct.unpack_from(f">{each}H", data, at)]
            else:
                found = [each & 0x7F for each in data[at:end]]
            numbers.setdefault(item, found)
            at = end
        return links

    @cached_property
    def _extents(self) -> dict[int, list[Extent]]:
        """The places of each item's bytes in the file."""
        if (iloc := self._boxes.get(b"iloc")) is None:
            return {}
        return _Locations(self.reader.data, iloc, self._boxes.get(b"idat")).extents()


class _Locations:
    """The item location box."""

    def __init__(self, data: bytes, iloc: Box, idat: Box | None) -> None:
        self._data, self._idat, self._end = data, idat, iloc.end
        version, sizes = data[iloc.start], data[iloc.start + 4 : iloc.start + 6]
        number = "I" if version > 1 else "H"
        (self._count,) = struct.unpack_from(f">{number}", data, iloc.start + 6)
        _check_count(self._count, MAX_ITEMS, "items")
        self._at = iloc.start + 6 + struct.calcsize(f">{number}")
        offset, length, base, index = sizes[0] >> 4, sizes[0] & 15, sizes[1] >> 4, sizes[1] & 15
        if version == 0:
            index = 0
        if not {offset, length, base, index} <= _NUMBER_FORMATS.keys():
            raise ValueError("its list of places has numbers of an odd size")
        self._has_method, self._has_base = version > 0, base > 0
        self._head = struct.Struct(f">{number}{'H' * self._has_method}H{_NUMBER_FORMATS[base]}H")
        self._has_index, self._has_offset, self._has_length = index > 0, offset > 0, length > 0
        self._extent = struct.Struct(
            f">{_NUMBER_FORMATS[index]}{_NUMBER_FORMATS[offset]}{_NUMBER_FORMATS[length]}"
        )

    def extents(self) -> dict[int, list[Extent]]:
        """The places of each item; items that do not lie in this file are left out."""
        found: dict[int, list[Extent]] = {}
        links = merged_bytes = 0
        for _ in range(self._count):
            item, *fields, count = self._head.unpack_from(self._data, self._at)
            self._at += self._head.size
            links += count
            _check_count(links, MAX_LINKS, "pieces")
            method = fields[0] & 15 if self._has_method else _IN_FILE
            base = fields[-1] if self._has_base else 0
            places = [self._place(base, method) for _ in range(count)]
            if self._at > self._end:
                raise ValueError("its list of places is truncated")
            if method in {_IN_FILE, _IN_IDAT}:
                found.setdefault(item, places)
            if count > 1:
                # Decoders keep a copy of what lies in pieces; honest pieces do not overlap.
                merged_bytes += sum(end - start for start, end in places)
        if merged_bytes > len(self._data):
            raise ValueError("the pieces of its pictures overlap")
        return found

    def _place(self, base: int, method: int) -> Extent:
        fields = self._extent.unpack_from(self._data, self._at)[self._has_index :]
        self._at += self._extent.size
        first, last = 0, len(self._data)
        if method == _IN_IDAT:
            if self._idat is None:
                raise ValueError("its idat box is missing")
            first, last = self._idat.start, self._idat.end
        start = first + base + (fields[0] if self._has_offset else 0)
        length = fields[-1] if self._has_length else 0
        end = start + length if length else last
        return start, end


def _check_count(count: int, limit: int, what: str) -> None:
    if count > limit:
        raise ValueError(f"it has {count} {what}, the limit is {limit}")
