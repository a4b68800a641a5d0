"""Read the boxes of ISO media files, of which AVIF and HEIF files consist.

Knows no kind of box. Malformed bytes raise `ValueError`, or `struct.error` where a
field is cut off. What is walked is limited, so that hostile files cost little time.

*Source:* ISO/IEC 14496-12, section 4.2.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

MAX_BOXES: Final = 4000
"""Real files have at most some hundreds: one for each tile of a large photo."""


class Box(NamedTuple):
    """One box: its kind, and where its payload begins and ends in the file."""

    kind: bytes
    start: int
    end: int


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
