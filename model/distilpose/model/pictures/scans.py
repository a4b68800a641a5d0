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
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from distilpose.model.pictures.containers import (
    MAX_JPEG_SCANS,
    MAX_JPEG_SEGMENTS,
    jpeg_segments,
)

Interval: TypeAlias = tuple[int, int]
"""Where the coded pixels of a restart interval begin and end in the file; fill bytes are left out."""

_MARKER: Final = re.compile(rb"\xff[^\x00\xff]")
_START, _END = b"\xff\xd8", b"\xff\xd9"
_END_OF_IMAGE, _START_OF_SCAN, _RESTART_INTERVAL = 0xD9, 0xDA, 0xDD
_RESTARTS: Final = frozenset(range(0xD0, 0xD8))
_WITHOUT_LENGTH: Final = _RESTARTS | {0x01}
_SEQUENTIAL: Final = frozenset({0xC0, 0xC1, 0xC9})
_ARITHMETIC: Final = frozenset({0xC9, 0xCA})
_FRAMES: Final = _SEQUENTIAL | {0xC2, 0xCA}
_TABLES: Final = frozenset({0xC4, 0xCC, 0xDB})
_JFIF, _ADOBE = 0xE0, 0xEE
_ALL_COEFFICIENTS: Final = b"\x00\x3f\x00"
_TABLE_OF_ONE_CODE: Final = b"\xff\xc4\x00\x14\x00\x01" + bytes(16)
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
            struct.error: the segment is cut off.

        """
        _, height, width, count = struct.unpack_from(">BHHB", payload)
        fields = (struct.unpack_from(">BBB", payload, 6 + 3 * index) for index in range(count))
        components = (Component(each, size >> 4, size & 15, table) for each, size, table in fields)
        return cls(marker, (width, height), tuple(components))

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

    def small(self, scanned: tuple[Component, ...], units: int) -> bytes:
        """The segment of a frame that holds just so many units of a scan, in rows of equal length.

        Raises:
            ValueError: they fit into no such frame.

        """
        components = self.components
        if len(scanned) == 1:
            components = (scanned[0]._replace(across=1, down=1),)
        across = max(each.across for each in components) * _BLOCK_PX
        down = max(each.down for each in components) * _BLOCK_PX
        for rows in range(1, _MOST_ROWS + 1):
            if units % rows == 0 and units // rows * across <= _LONGEST_SIDE_PX:
                size_hw = rows * down, units // rows * across
                return self._segment(size_hw, components)
        whole_wh = self.units_wh(scanned)
        if units == math.prod(whole_wh):
            return self._segment((whole_wh[1] * down, whole_wh[0] * across), components)
        raise ValueError(f"its restart intervals of {units} units are not supported")

    def _segment(self, size_hw: tuple[int, int], components: tuple[Component, ...]) -> bytes:
        fields = b"".join(
            bytes([each.number, each.across << 4 | each.down, each.table]) for each in components
        )
        length = 8 + len(fields)
        return (
            struct.pack(">BBHBHHB", 0xFF, self.marker, length, 8, *size_hw, len(components)) + fields
        )


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
    ends_with_scan: bool
    """The end of the image follows the last scan at once."""

    def tidied(self, spare_bytes: Mapping[Interval, int]) -> bytes:
        """The same picture without what no pixel depends on, and without those bytes at the ends.

        A sequential scan gets the range that it must have, Adobe's marker a transform that is
        known, and JFIF its first revision.
        """
        view = memoryview(self.data)
        parts: list[bytes | memoryview] = [_START]
        for scan in self.scans:
            parts += (self._harmless(marker, segment) for marker, segment in scan.before)
            parts.append(self._header(scan))
            for index, interval in enumerate(scan.intervals):
                start, end = interval
                parts.append(view[start : end - spare_bytes.get(interval, 0)])
                if index < len(scan.restarts):
                    parts.append(bytes([0xFF, scan.restarts[index]]))
        return b"".join([*parts, _END])

    def start_of_part(
        self, scan: Scan, index: int, units: int, spare_bytes: Mapping[Interval, int]
    ) -> bytes:
        """The start of a JPEG of one restart interval, up to where the interval itself belongs.

        Of earlier scans it has those that say how to read this one, without their spare bytes, and
        a flat one in the place of the first.
        """
        parts: list[bytes] = [_START, self.frame.small(scan.components, units)]
        if not self.frame.is_sequential and (scan.holds_details or scan.bits_before):
            parts += [self.scans[0].tables, self._flat_scan(scan, units)]
        for each in self.scans:
            parts.append(each.tables)
            if each is scan:
                break
            if scan.refines_details and each.holds_details and each.components == scan.components:
                start, end = each.intervals[index]
                end -= spare_bytes.get(each.intervals[index], 0)
                parts += [each.header, self.data[start:end]]
        return b"".join([*parts, self._header(scan)])

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

    def _flat_scan(self, scan: Scan, units: int) -> bytes:
        """A first scan of a progressive JPEG that says that all blocks are equally bright."""
        is_alone = len(scan.components) == 1
        blocks = 1 if is_alone else sum(each.across * each.down for each in scan.components)
        bits_later = 0 if scan.holds_details else scan.bits_before
        selectors = b"".join(bytes([each.number, 0]) for each in scan.components)
        header = struct.pack(">HHB", 0xFFDA, 6 + len(selectors), len(scan.components)) + selectors
        # Each block is the one code of its table, a 0; arithmetic decoders take bytes that are
        # missing for 0.
        coded = bytes(0 if self.frame.is_arithmetic else math.ceil(blocks * units / 8))
        return _TABLE_OF_ONE_CODE + header + bytes([0, 0, bits_later]) + coded

    def _header(self, scan: Scan) -> bytes:
        return scan.header[:-3] + _ALL_COEFFICIENTS if self.frame.is_sequential else scan.header

    def _harmless(self, marker: int, segment: bytes) -> bytes:
        if marker == _JFIF:
            return segment[:9] + b"\x01" + segment[10:]
        transforms = _KNOWN_TRANSFORMS.get(len(self.frame.components))
        if marker == _ADOBE and transforms and segment[15] not in transforms:
            return segment[:15] + bytes([transforms[0]]) + segment[16:]
        return segment


def has_odd_scan(data: bytes) -> bool:
    """Return True if the first scan is sequential and has another range than it must have."""
    segments = list(jpeg_segments(data))
    frame = next((kind[0] for kind, _, _ in segments if kind[0] in _FRAMES), None)
    _, _, end = segments[-1]
    return frame in _SEQUENTIAL and data[end - 3 : end] != _ALL_COEFFICIENTS


def walk(data: bytes) -> Jpeg:
    """The structure of a JPEG.

    Raises:
        ValueError, struct.error: it has no end, or no frame, or more segments or scans than may be.

    """
    frame: Frame | None = None
    scans: list[Scan] = []
    before: list[tuple[int, bytes]] = []
    units_in_interval = segments = after_scan = 0
    position = len(_START)
    while found := _MARKER.search(data, position):
        marker, start = found[0][1], found.end()
        if marker == _END_OF_IMAGE:
            if frame is None or not scans:
                raise ValueError("it has no pixels")
            is_next = not data[after_scan : found.start()].strip(b"\xff")
            return Jpeg(data, frame, tuple(scans), is_next)
        if marker in _WITHOUT_LENGTH:
            position = start
            continue
        segments += 1
        if segments > MAX_JPEG_SEGMENTS:
            raise ValueError(f"it has more than {MAX_JPEG_SEGMENTS} segments")
        position = start + int.from_bytes(data[start : start + 2], "big")
        segment = data[found.start() : position]
        if marker in _FRAMES and frame is None:
            frame = Frame.of(marker, segment[4:])
        elif marker == _RESTART_INTERVAL:
            (units_in_interval,) = struct.unpack_from(">H", segment, 4)
        if _is_needed(marker, segment):
            before.append((marker, segment))
        elif marker == _START_OF_SCAN:
            if frame is None or len(scans) == MAX_JPEG_SCANS:
                raise ValueError(f"it has no frame, or more than {MAX_JPEG_SCANS} scans")
            components = _scanned(frame, segment)
            intervals, restarts, position = _intervals(data, position)
            scans.append(
                Scan(tuple(before), segment, components, units_in_interval, intervals, restarts)
            )
            before, after_scan = [], position
    raise ValueError("it has no end: the file is truncated")


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
    intervals, restarts = [], []
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
    raise ValueError("it has no end: the file is truncated")
