"""Find the spare bytes that a JPEG has after the pixels of its restart intervals.

Cameras fill up to a whole word, or leave a byte behind. How many bytes belong to the pixels only
the decoder knows, and it tells only one of its warnings. So each interval is decoded for itself, at
an eighth of its size and in grey, with bytes cut off: the most that it does not miss were spare.
"""

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import simplejpeg

from distilpose.model.pictures.scans import Interval, Jpeg

MOST_OTHER_BYTES: Final = 4
"""Spare bytes of any value; a longer run is lost pixels, unless it is all 0x00 and 0xFF."""
MAX_TRIALS: Final = 10_000
MAX_TRIED_FILES: Final = 10
"""All that is decoded for the search, in sizes of the file."""

_SPARE: Final = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_EXTRANEOUS: Final = "extraneous bytes before marker"
_PREMATURE: Final = "premature end of data segment"
_DAMAGE: Final = "Corrupt JPEG data"
_FILLING: Final = b"\x00\xff"
_END: Final = b"\xff\xd9"


def without_spare_bytes(jpeg: Jpeg, warning: str) -> bytes:
    """The picture, tidied and without spare bytes, for a decoder that gave that warning.

    Raises:
        ValueError: the warning is of damage, or spare bytes are so many that pixels are lost.

    """
    if _EXTRANEOUS not in warning:
        raise ValueError(warning)
    return jpeg.tidied(_Search(jpeg, warning).spare_bytes())


@dataclass
class _Search:
    jpeg: Jpeg
    warning: str
    found: dict[Interval, int] = field(default_factory=dict, init=False)
    trials: int = field(default=0, init=False)
    tried_bytes: int = field(default=0, init=False)

    def spare_bytes(self) -> dict[Interval, int]:
        for scan in self.jpeg.scans:
            start_of_part, last_units = b"", 0
            for index, units in enumerate(self.jpeg.units(scan)):
                if scan.refines_details or units != last_units:
                    start_of_part = self.jpeg.start_of_part(scan, index, units, self.found)
                    last_units = units
                start, end = scan.intervals[index]
                part = _Part(start_of_part, start, end)
                if count := self._spare_bytes_of(part):
                    self.found[start, end] = count
        return self.found

    def _spare_bytes_of(self, part: "_Part") -> int:
        if self.jpeg.frame.is_arithmetic:
            return self._left_over(part)
        told = self._told_of_the_end()
        if not told and self._is_missed(part, 1):
            return 0
        pixels = self.jpeg.data[part.start : part.end]
        most = max(MOST_OTHER_BYTES, len(pixels) - len(pixels.rstrip(_FILLING)))
        if not self._is_missed(part, most + 1):
            raise self._too_many()
        return self._most_not_missed(part, max(told, 1), most)

    def _most_not_missed(self, part: "_Part", fewest: int, most: int) -> int:
        """The most bytes between two numbers that can be cut off; the upper one is tried first."""
        tried = most
        while fewest < most:
            if self._is_missed(part, tried):
                most = tried - 1
            else:
                fewest = tried
            tried = (fewest + most + 1) // 2
        return fewest

    def _told_of_the_end(self) -> int:
        """The spare bytes that the warning counts, where the whole picture is one interval.

        Up to seven more, which the decoder had read ahead, are not counted there.
        """
        found, scans = _SPARE.search(self.warning), self.jpeg.scans
        is_whole = len(scans) == len(scans[0].intervals) == 1 and self.jpeg.ends_with_scan
        return int(found[1]) if found and is_whole else 0

    def _left_over(self, part: "_Part") -> int:
        """The bytes that an arithmetic decoder left over.

        It never misses any: it takes 0 for bytes that are not there, so that bytes of another value
        may have changed the pixels before them.
        """
        found = _SPARE.search(self._warning_of(part, 0))
        count = int(found[1]) if found else 0
        left_over = self.jpeg.data[part.end - count : part.end]
        if left_over.strip(_FILLING):
            raise ValueError(self.warning)
        return count

    def _is_missed(self, part: "_Part", cut_bytes: int) -> bool:
        """Return True if the decoder misses those bytes at the end of an interval."""
        is_more_than_all = part.start + cut_bytes > part.end
        return is_more_than_all or _PREMATURE in self._warning_of(part, cut_bytes)

    def _warning_of(self, part: "_Part", cut_bytes: int) -> str:
        """The decoder's first warning, or nothing.

        Raises:
            ValueError: it is of other damage, or the search takes too long.

        """
        jpeg = part.head + self.jpeg.data[part.start : part.end - cut_bytes] + _END
        self.trials += 1
        self.tried_bytes += part.end - part.start
        if self.trials > MAX_TRIALS or self.tried_bytes > MAX_TRIED_FILES * len(self.jpeg.data):
            raise ValueError(f"{self.warning}, and spare bytes in too many places to tell")
        try:
            simplejpeg.decode_jpeg(jpeg, colorspace="GRAY", min_width=1, min_height=1)
        except ValueError as err:
            message = str(err)
        else:
            return ""
        if not any(each in message for each in (_PREMATURE, _EXTRANEOUS)):
            is_damage = message.startswith(_DAMAGE)
            raise ValueError(message if is_damage else f"{self.warning}; {message}")
        return message

    def _too_many(self) -> ValueError:
        return ValueError(f"more than {MOST_OTHER_BYTES} bytes too many ({self.warning})")


class _Part(NamedTuple):
    """A JPEG of one restart interval: what precedes it, and its place in the whole file."""

    head: bytes
    start: int
    end: int
