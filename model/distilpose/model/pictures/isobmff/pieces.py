"""The bytes of one coded picture, which may lie in several places of its file."""

from bisect import bisect_right
from itertools import accumulate
from typing import Final, TypeAlias

Extent: TypeAlias = tuple[int, int]
"""The positions in the file where a piece begins and ends; a plain tuple for speed."""


class Pieces:
    """Consecutive bytes, read where they lie: nothing is copied but what is asked for."""

    def __init__(self, data: bytes, extents: list[Extent]) -> None:
        self._data: Final = data
        self._extents: Final = extents
        *self._starts, self.size = accumulate((end - start for start, end in extents), initial=0)

    def read(self, position: int, count: int) -> bytes:
        """The bytes at a position; fewer where they end."""
        if len(self._extents) == 1:
            start, end = self._extents[0]
            return self._data[start + position : min(start + position + count, end)]
        read = b""
        index = bisect_right(self._starts, position) - 1
        while len(read) < count and index < len(self._extents):
            start, end = self._extents[index]
            start += position + len(read) - self._starts[index]
            read += self._data[start : min(start + count - len(read), end)]
            index += 1
        return read
