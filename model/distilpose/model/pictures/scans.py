"""Walk a whole JPEG, marker by marker: its tables, scans and restart intervals; decodes no pixels.

It also writes the JPEG again without anything that a decoder may warn of although no pixel depends
on it: text, colour profiles, bytes between segments, odd revisions and odd numbers. What a decoder
still warns of is damage, or spare bytes after the pixels of an interval.

*Source:* ITU-T T.81, annexes B and F; the markers of applications as libjpeg reads them.
"""

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from distilpose.model.pictures.containers import (
    MAX_JPEG_SCANS,
    MAX_JPEG_SEGMENTS,
    jpeg_segments,
)

Interval: TypeAlias = tuple[int, int]
"""The start and end of a restart interval's coded pixels in the file, without fill bytes."""

_MARKER: Final = re.compile(rb"\xff[^\x00\xff]")
_START, _END = b"\xff\xd8", b"\xff\xd9"
_END_OF_IMAGE, _START_OF_SCAN, _RESTART_INTERVAL = 0xD9, 0xDA, 0xDD
_RESTARTS: Final = frozenset(range(0xD0, 0xD8))
_WITHOUT_LENGTH: Final = _RESTARTS | {0x01}
_SEQUENTIAL: Final = frozenset({0xC0, 0xC1, 0xC9})
_ARITHMETIC: Final = frozenset({0xC9, 0xCA})
_FRAMES: Final = _SEQUENTIAL | {0xC2, 0xCA}
_TABLES: Final = frozenset({0xC4, 0xCC, 0xDB})
_APPS: Final = frozenset(bytes([marker]) for marker in range(0xE0, 0xF0))
_NO_END: Final = "it has no end of image: the file is truncated"
_JFIF, _ADOBE = 0xE0, 0xEE
_ALL_COEFFICIENTS: Final = b"\x00\x3f\x00"
_KNOWN_TRANSFORMS: Final = {3: (1, 0), 4: (2, 0)}
"""By the number of components, what Adobe's marker may say; the first is what libjpeg assumes."""
_BLOCK_PX: Final = 8
_LONGEST_SIDE_PX: Final = 65_500
_MOST_ROWS: Final = 64


class Component(NamedTuple):
    """A component of a frame: its number, its samples in a unit of the scan, and its table."""

    number: int
    across: int
    down: int
    table: int


@dataclass(frozen=True)
class Frame:
    """The frame: its process (a marker), its size in pixels, and its components."""

    marker: int
    size_wh: tuple[int, int]
    components: tuple[Component, ...]

    @classmethod
    def of(cls, marker: int, payload: bytes) -> "Frame":
        """The frame of a segment.

        Raises:
            ValueError: the segment is broken.

        """
        count = payload[5] if len(payload) > 5 else 0
        if not count or len(payload) != 6 + 3 * count:
            raise ValueError("its frame is broken")
        _, height, width = struct.unpack_from(">BHH", payload)
        fields = struct.iter_unpack(">BBB", payload[6:])
        components = (Component(each, size >> 4, size & 15, table) for each, size, table in fields)
        frame = cls(marker, (width, height), tuple(components))
        if not all(0 < side <= 4 for each in frame.components for side in each[1:3]):
            raise ValueError("its frame is broken")
        return frame

    @property
    def is_sequential(self) -> bool:
        """Return True if every scan holds whole blocks, so that its range is not a choice."""
        return self.marker in _SEQUENTIAL

    @property
    def is_arithmetic(self) -> bool:
        """Return True if the pixels are coded arithmetically."""
        return self.marker in _ARITHMETIC

    def units_wh(self, scanned: tuple[Component, ...]) -> tuple[int, int]:
        """The units (MCUs) of a scan of these components, across and down."""
        across = max(each.across for each in self.components)
        down = max(each.down for each in self.components)
        width, height = self.size_wh
        if len(scanned) > 1:
            return math.ceil(width / _BLOCK_PX / across), math.ceil(height / _BLOCK_PX / down)
        [one] = scanned
        width, height = math.ceil(width * one.across / across), math.ceil(height * one.down / down)
        return math.ceil(width / _BLOCK_PX), math.ceil(height / _BLOCK_PX)

    def grid_wh(self, scanned: tuple[Component, ...], units: int) -> tuple[int, int]:
        """A number of units of a scan in rows of equal length, as in the whole scan if that fits.

        Twice as many rows would fit into a frame, too.

        Raises:
            ValueError: no such rows fit into a frame.

        """
        across, down = self._unit_wh_px(scanned)
        usual = self.units_wh(scanned)[0]
        for length in (usual, *(math.ceil(units / rows) for rows in range(1, _MOST_ROWS))):
            side_px = max(length * across, 2 * (units // length) * down)
            if units % length == 0 and side_px <= _LONGEST_SIDE_PX:
                return length, units // length
        raise ValueError(f"restart intervals of {units} units are not supported")

    def small(self, scanned: tuple[Component, ...], grid_wh: tuple[int, int]) -> bytes:
        """The segment of a frame that holds just these units of a scan."""
        across, down = self._unit_wh_px(scanned)
        size_hw = grid_wh[1] * down, grid_wh[0] * across
        components = self._needed(scanned)
        fields = b"".join(
            bytes([each.number, each.across << 4 | each.down, each.table]) for each in components
        )
        head = 0xFF, self.marker, 8 + len(fields), 8, *size_hw, len(components)
        return struct.pack(">BBHBHHB", *head) + fields

    def _unit_wh_px(self, scanned: tuple[Component, ...]) -> tuple[int, int]:
        components = self._needed(scanned)
        across = max(each.across for each in components) * _BLOCK_PX
        return across, max(each.down for each in components) * _BLOCK_PX

    def _needed(self, scanned: tuple[Component, ...]) -> tuple[Component, ...]:
        """The components that a frame needs for a scan: a unit of one is one block."""
        return self.components if len(scanned) > 1 else (scanned[0]._replace(across=1, down=1),)


@dataclass(frozen=True)
class Scan:
    """A scan: what stands before it, its own header, and its restart intervals."""

    before: tuple[tuple[int, bytes], ...]
    """Markers and segments since the scan before."""
    header: bytes
    """The segment of the scan."""
    components: tuple[Component, ...]
    units_in_interval: int
    """0 if the scan is one interval."""
    intervals: tuple[Interval, ...]
    restarts: tuple[int, ...]
    """The markers between the intervals."""

    @property
    def tables(self) -> bytes:
        """The tables that the scan brings."""
        return b"".join(segment for marker, segment in self.before if marker in _TABLES)

    @property
    def holds_details(self) -> bool:
        """Return True if a scan of a progressive JPEG holds other coefficients than the first."""
        return self.header[-3] > 0

    @property
    def bits_before(self) -> int:
        """In a progressive JPEG, the low bits of coefficients that earlier scans have left open."""
        return self.header[-1] >> 4

    @property
    def refines_details(self) -> bool:
        """Return True if earlier scans of a progressive JPEG say how to read this one."""
        return self.holds_details and self.bits_before > 0


@dataclass(frozen=True)
class Jpeg:
    """The first picture of a file, up to its end."""

    data: bytes
    frame: Frame
    scans: tuple[Scan, ...]

    def tidied(self, spare_bytes: Mapping[Interval, int]) -> bytes:
        """The same picture without what no pixel depends on, and without those bytes at the ends.

        Adobe's marker gets a transform that is known, and JFIF its first revision.
        """
        view = memoryview(self.data)
        parts: list[bytes | memoryview] = [_START]
        for scan in self.scans:
            parts += (self._harmless(marker, segment) for marker, segment in scan.before)
            parts.append(self.header(scan))
            for index, interval in enumerate(scan.intervals):
                start, end = interval
                parts.append(view[start : end - spare_bytes.get(interval, 0)])
                if index < len(scan.restarts):
                    parts.append(bytes([0xFF, scan.restarts[index]]))
        return b"".join([*parts, _END])

    def units(self, scan: Scan) -> list[int]:
        """The units in each restart interval of a scan.

        Raises:
            ValueError: it has more or fewer intervals than its size needs.

        """
        total = math.prod(self.frame.units_wh(scan.components))
        each = scan.units_in_interval or total
        needed = max(1, math.ceil(total / each))
        found = len(scan.intervals)
        # Some writers end the last interval with a marker, too.
        is_last_empty = found == needed + 1 and scan.intervals[-1][0] == scan.intervals[-1][1]
        if found != needed and not is_last_empty:
            raise ValueError(f"a scan has {found} restart intervals where {needed} belong")
        return [each] * (needed - 1) + [total - each * (needed - 1)]

    def header(self, scan: Scan) -> bytes:
        """The segment of a scan; a sequential one gets the range that it must have."""
        return scan.header[:-3] + _ALL_COEFFICIENTS if self.frame.is_sequential else scan.header

    def _harmless(self, marker: int, segment: bytes) -> bytes:
        if marker == _JFIF:
            return segment[:9] + b"\x01" + segment[10:]
        transforms = _KNOWN_TRANSFORMS.get(len(self.frame.components))
        if marker == _ADOBE and transforms and segment[15] not in transforms:
            return segment[:15] + bytes([transforms[0]]) + segment[16:]
        return segment


def has_odd_scan(data: bytes) -> bool:
    """Return True if the first scan is sequential and has another range than it must have.

    At first glance, so that the look costs ordinary pictures next to nothing: a scan that merely
    seems to be the first is taken for it if nothing about it is odd.
    """
    position = len(_START)
    while data[position : position + 1] == b"\xff" and data[position + 1 : position + 2] in _APPS:
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    start = data.find(b"\xff\xda", position)
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    if start < 0 or data[end - 3 : end] == _ALL_COEFFICIENTS:
        return False
    segments = list(jpeg_segments(data))
    frame = next((kind[0] for kind, _, _ in segments if kind[0] in _FRAMES), None)
    _, _, end = segments[-1]
    return frame in _SEQUENTIAL and data[end - 3 : end] != _ALL_COEFFICIENTS


def walk(data: bytes) -> Jpeg:
    """The structure of a JPEG.

    Raises:
        ValueError: it has no end, or no pixels, or more segments or scans than may be, or a
            segment is broken.

    """
    reader = _Reader(data)
    while found := _MARKER.search(data, reader.position):
        marker = found[0][1]
        if marker == _END_OF_IMAGE:
            return reader.jpeg()
        if marker in _WITHOUT_LENGTH:
            reader.position = found.end()
        else:
            reader.read(marker, found.start())
    raise ValueError(_NO_END)


@dataclass
class _Reader:
    data: bytes
    position: int = len(_START)
    segments: int = 0
    frame: Frame | None = None
    units_in_interval: int = 0
    before: list[tuple[int, bytes]] = field(default_factory=list)
    scans: list[Scan] = field(default_factory=list)

    def read(self, marker: int, start: int) -> None:
        """Take in the segment of a marker, and the scan behind its own."""
        self.segments += 1
        if self.segments > MAX_JPEG_SEGMENTS:
            raise ValueError(f"it has more than {MAX_JPEG_SEGMENTS} segments")
        self.position = start + 2 + int.from_bytes(self.data[start + 2 : start + 4], "big")
        segment = self.data[start : self.position]
        if marker == _START_OF_SCAN:
            self._read_scan(segment)
        elif _is_needed(marker, segment):
            self.before.append((marker, segment))
        if marker in _FRAMES and self.frame is None:
            self.frame = Frame.of(marker, segment[4:])
        elif marker == _RESTART_INTERVAL:
            self.units_in_interval = int.from_bytes(segment[4:6], "big")

    def _read_scan(self, segment: bytes) -> None:
        if self.frame is None or len(self.scans) == MAX_JPEG_SCANS:
            raise ValueError(f"it has no frame, or more than {MAX_JPEG_SCANS} scans")
        components = _scanned(self.frame, segment)
        intervals, restarts, self.position = _intervals(self.data, self.position)
        before, self.before = tuple(self.before), []
        self.scans.append(
            Scan(before, segment, components, self.units_in_interval, intervals, restarts)
        )

    def jpeg(self) -> Jpeg:
        if self.frame is None or not self.scans:
            raise ValueError("it has no pixels")
        return Jpeg(self.data, self.frame, tuple(self.scans))


def _is_needed(marker: int, segment: bytes) -> bool:
    """Return True for what the decoder needs of the segments between scans."""
    if marker == _JFIF:
        return len(segment) >= 18 and segment.startswith(b"JFIF\0", 4)
    if marker == _ADOBE:
        return len(segment) >= 16 and segment.startswith(b"Adobe", 4)
    return marker in _TABLES | _FRAMES or marker == _RESTART_INTERVAL


def _scanned(frame: Frame, segment: bytes) -> tuple[Component, ...]:
    by_number = {each.number: each for each in frame.components}
    numbers = segment[5:-3:2]
    if len(segment) < 10 or not all(each in by_number for each in numbers):
        raise ValueError("a scan has components that its frame has not")
    return tuple(by_number[each] for each in numbers)


def _intervals(data: bytes, start: int) -> tuple[tuple[Interval, ...], tuple[int, ...], int]:
    """The intervals of a scan, the markers between them, and where its last interval ends."""
    intervals: list[Interval] = []
    restarts: list[int] = []
    for found in _MARKER.finditer(data, start):
        end = found.start()
        while end > start and data[end - 1] == 0xFF:
            end -= 1
        intervals.append((start, end))
        marker = found[0][1]
        if marker not in _RESTARTS:
            return tuple(intervals), tuple(restarts), end
        restarts.append(marker)
        start = found.end()
    raise ValueError(_NO_END)
