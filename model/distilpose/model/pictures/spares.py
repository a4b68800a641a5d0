"""Find the spare bytes that a JPEG has after the pixels of its restart intervals.

Cameras fill up to a whole word, or leave a byte behind. How many bytes belong to the pixels only
the decoder knows, and it tells the first of its warnings alone. So each interval is decoded for
itself, at an eighth of its size and in grey: followed by a known number of bytes too many and one
more interval, its warning counts them together with those that were spare.
"""

import itertools
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import simplejpeg

from distilpose.model.pictures.scans import Interval, Jpeg, Scan

MOST_OTHER_BYTES: Final = 4
"""Spare bytes of any value; a longer run is lost pixels, unless it is all 0x00 and 0xFF."""
MAX_INTERVALS: Final = 20_000
"""Each costs some 20 microseconds beside its decoding."""

_EXTRANEOUS: Final = re.compile(r"(\d+) extraneous bytes before marker")
_HARMLESS: Final = re.compile(
    "extraneous bytes before marker|bad ICC marker|unknown JFIF revision|Unknown Adobe color"
    "|Invalid SOS parameters for sequential"
)
"""Behind one of these the decoder may have met damage that it does not tell."""
_DAMAGE: Final = "Corrupt JPEG data"
_PREMATURE: Final = f"{_DAMAGE}: premature end of data segment"
_FILLING: Final = b"\x00\xff"
_ADDED: Final = bytes(16)
"""More than the decoder reads ahead."""
_START, _FIRST_RESTART, _END = b"\xff\xd8", b"\xff\xd0", b"\xff\xd9"
_MOST_UNITS_IN_INTERVAL: Final = 65_535
_TABLE_OF_ONE_CODE: Final = b"\xff\xc4\x00\x14\x00\x01" + bytes(16)


def without_spare_bytes(jpeg: Jpeg, warning: str) -> bytes:
    """The picture, tidied and without spare bytes, for a decoder that gave that warning.

    Raises:
        ValueError: the warning is of damage, or the spare bytes are so many that pixels are lost,
            or the search found other damage.

    """
    if not _HARMLESS.search(warning):
        raise ValueError(warning)
    return jpeg.tidied(_Search(jpeg, warning).spare_bytes())


class _Part(NamedTuple):
    """A JPEG of one restart interval: the bytes before its pixels, and those behind them."""

    before: list[bytes | memoryview]
    behind: bytes
    added_bytes: int
    """Those behind the pixels that are too many."""


@dataclass
class _Search:
    jpeg: Jpeg
    warning: str
    found: dict[Interval, int] = field(default_factory=dict, init=False)

    def spare_bytes(self) -> dict[Interval, int]:
        if sum(len(scan.intervals) for scan in self.jpeg.scans) > MAX_INTERVALS:
            raise ValueError(f"it has spare bytes and more than {MAX_INTERVALS} restart intervals")
        for scan in self.jpeg.scans:
            if self.jpeg.frame.is_arithmetic:
                self.found |= {
                    interval: self._zeros_at_end(interval) for interval in scan.intervals
                }
            else:
                self._search(scan)
        return self.found

    def _search(self, scan: Scan) -> None:
        part, last_units = None, 0
        for index, units in enumerate(self.jpeg.units(scan)):
            if part is None or scan.refines_details or units != last_units:
                part, last_units = self._part(scan, index, units), units
            interval = scan.intervals[index]
            if count := self._spare_bytes_of(interval, part):
                self.found[interval] = count

    def _zeros_at_end(self, interval: Interval) -> int:
        """The zeros at the end of an interval, which an arithmetic decoder takes for granted.

        It misses no bytes, so that bytes of another value may have changed the pixels.
        """
        pixels = self.jpeg.data[slice(*interval)]
        return len(pixels) - len(pixels.rstrip(b"\x00"))

    def _spare_bytes_of(self, interval: Interval, part: _Part) -> int:
        start, end = interval
        view, spare = memoryview(self.jpeg.data), 0
        while count := self._too_many_bytes(part, view[start : end - spare]):
            spare += count
            removed = self.jpeg.data[end - spare : end]
            if spare > MOST_OTHER_BYTES and removed.strip(_FILLING):
                raise ValueError(f"{spare} bytes too many before a restart or end marker")
            # An 0xFF and the 0x00 behind it may have been counted as one.
            if b"\xff" not in self.jpeg.data[end - spare - 1 : end]:
                break
        return spare

    def _too_many_bytes(self, part: _Part, pixels: memoryview) -> int:
        """The bytes at the end of an interval that the decoder counts as too many.

        Raises:
            ValueError: it misses some, or finds other damage.

        """
        jpeg = b"".join((*part.before, pixels, part.behind))
        try:
            simplejpeg.decode_jpeg(jpeg, colorspace="GRAY", min_width=1, min_height=1)
        except ValueError as err:
            message = str(err)
        else:
            return 0
        if (found := _EXTRANEOUS.search(message)) is None:
            raise ValueError(message if _DAMAGE in message else f"{self.warning}; {message}")
        count = int(found[1]) - part.added_bytes
        if count < 0:
            raise ValueError(_PREMATURE)
        return count

    def _part(self, scan: Scan, index: int, units: int) -> _Part:
        """The bytes around the pixels of an interval, which has so many units of a scan.

        One more interval begins behind it, for then the decoder counts what it has read ahead.
        Where that is not possible, the image ends, and up to seven spare bytes are not counted;
        there they do no harm.
        """
        frame = self.jpeg.frame
        is_followed = units <= _MOST_UNITS_IN_INTERVAL
        width, height = frame.grid_wh(scan.components, units)
        if is_followed:
            height += height if scan.refines_details else 1
        before: list[bytes | memoryview] = [_START, frame.small(scan.components, (width, height))]
        if is_followed:
            before.append(struct.pack(">HHH", 0xFFDD, 4, units))
        if not frame.is_sequential and (scan.holds_details or scan.bits_before):
            before += [self.jpeg.scans[0].tables, *_flat_scan(scan, units, width * height)]
        before += self._earlier(scan, index, times=2 if is_followed else 1)
        before += [scan.tables, self.jpeg.header(scan)]
        if not scan.refines_details:
            before = [b"".join(before)]
        if not is_followed:
            return _Part(before, _END, 0)
        return _Part(before, _ADDED + _FIRST_RESTART + _END, len(_ADDED))

    def _earlier(self, scan: Scan, index: int, *, times: int) -> Iterator[bytes | memoryview]:
        """The tables of earlier scans, and the same interval of those that say how to read this."""
        view = memoryview(self.jpeg.data)
        for each in itertools.takewhile(lambda each: each is not scan, self.jpeg.scans):
            yield each.tables
            if scan.refines_details and each.holds_details and each.components == scan.components:
                start, end = each.intervals[index]
                pixels = view[start : end - self.found.get((start, end), 0)]
                yield each.header
                yield from (pixels, _FIRST_RESTART, pixels) if times == 2 else (pixels,)


def _flat_scan(scan: Scan, units_in_interval: int, units: int) -> Iterator[bytes]:
    """A first scan of a progressive JPEG that says that all blocks are equally bright."""
    is_alone = len(scan.components) == 1
    blocks = 1 if is_alone else sum(each.across * each.down for each in scan.components)
    bits_later = 0 if scan.holds_details else scan.bits_before
    selectors = b"".join(bytes([each.number, 0]) for each in scan.components)
    yield _TABLE_OF_ONE_CODE
    yield struct.pack(">HHB", 0xFFDA, 6 + len(selectors), len(scan.components)) + selectors
    yield bytes([0, 0, bits_later])
    # Each block is the one code of its table, a 0.
    yield bytes(math.ceil(blocks * min(units, units_in_interval) / 8))
    if units > units_in_interval:
        yield _FIRST_RESTART + bytes(math.ceil(blocks * (units - units_in_interval) / 8))
