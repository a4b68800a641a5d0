"""Read the tracks of a sequence of pictures: their size, and where the first picture lies.

Knows no codec. Malformed bytes raise `ValueError`, `IndexError`, or `struct.error` where a field is
cut off.

*Source:* ISO/IEC 14496-12, sections 8.3, 8.5 and 8.7.
"""

import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Final

from distilpose.model.pictures.isobmff.boxes import Box, BoxReader
from distilpose.model.pictures.isobmff.items import Items
from distilpose.model.pictures.isobmff.pieces import Pieces

MAX_SAMPLES: Final = 50_000
"""Pictures, and chunks of them, in a sequence."""
MAX_CHUNK_RUNS: Final = 1000
"""Decoders look through all of them for each chunk."""

_VISUAL_SAMPLE_ENTRY_BYTES: Final = 78


@dataclass(frozen=True)
class Track:
    """A track of pictures."""

    size_wh: tuple[int, int]
    is_auxiliary: bool
    """True for alpha, which belongs to another track."""
    properties: list[Box]
    first_picture: Pieces


def tracks_of(reader: BoxReader, moov: Box, codings: Container[bytes]) -> Iterator[Track]:
    """Each track of pictures in one of the codings, by the kinds of their sample entries.

    Raises:
        ValueError: a track is broken, or its lists exceed their limits.

    """
    for box in reader.boxes(moov.start, moov.end):
        if box.kind == b"trak" and (track := _track(reader, box, codings)) is not None:
            yield track


def _track(reader: BoxReader, trak: Box, codings: Container[bytes]) -> Track | None:
    boxes = reader.within(trak)
    if b"meta" in boxes:
        Items(reader, boxes[b"meta"]).check_counts()
    if not boxes.keys() >= {b"tkhd", b"mdia"}:
        return None
    table = _Samples(reader, reader.path(boxes[b"mdia"], b"minf", b"stbl"))
    entry = table.entry(codings)
    if entry is None:
        return None
    properties = list(reader.boxes(entry.start + _VISUAL_SAMPLE_ENTRY_BYTES, entry.end))
    width, height = struct.unpack_from(">II", reader.data, boxes[b"tkhd"].end - 8)
    is_auxiliary = b"tref" in boxes and b"auxl" in reader.within(boxes[b"tref"])
    return Track((width >> 16, height >> 16), is_auxiliary, properties, table.first())


class _Samples:
    """The sample table of a track."""

    def __init__(self, reader: BoxReader, stbl: Box) -> None:
        self._reader, self._data = reader, reader.data
        boxes = list(reader.boxes(stbl.start, stbl.end))
        self._boxes = {box.kind: box for box in boxes}
        if len(self._boxes) < len(boxes):
            raise ValueError("a track of it has a list twice")

    def entry(self, codings: Container[bytes]) -> Box | None:
        """The first sample entry in one of the codings."""
        stsd = self._box(b"stsd")
        entries = self._reader.boxes(stsd.start + 8, stsd.end)
        return next((each for each in entries if each.kind in codings), None)

    def first(self) -> Pieces:
        """The bytes of the first picture.

        Raises:
            ValueError: there is none, or the lists exceed their limits.

        """
        self._check_counts()
        start = self._first_chunk()
        size, count = struct.unpack_from(">II", self._data, self._box(b"stsz").start + 4)
        if not size and count:
            (size,) = struct.unpack_from(">I", self._data, self._box(b"stsz").start + 12)
        if start + size > len(self._data):
            raise ValueError("the file is truncated")
        return Pieces(self._data, [(start, start + size)])

    def _first_chunk(self) -> int:
        fields, kind = (">Q", b"co64") if b"co64" in self._boxes else (">I", b"stco")
        start: int = struct.unpack_from(fields, self._data, self._box(kind).start + 8)[0]
        return start

    def _check_counts(self) -> None:
        """Check that a decoder that lists all pictures beforehand needs little time and memory."""
        chunks = sum(self._count(kind) for kind in (b"stco", b"co64") if kind in self._boxes)
        _check_count(chunks, MAX_SAMPLES, "chunks")
        (count,) = struct.unpack_from(">I", self._data, self._box(b"stsz").start + 8)
        _check_count(count, MAX_SAMPLES, "pictures")
        runs = self._count(b"stsc")
        _check_count(runs, MAX_CHUNK_RUNS, "runs of chunks")
        fields = struct.unpack_from(f">{3 * runs}I", self._data, self._box(b"stsc").start + 8)
        firsts, samples = fields[::3], fields[1::3]
        ends = (*firsts[1:], chunks + 1)
        if any(end <= first for first, end in zip(firsts, ends, strict=True)):
            raise ValueError("its runs of chunks are out of order")
        runs_of_samples = zip(firsts, ends, samples, strict=True)
        in_chunks = sum((end - first) * each for first, end, each in runs_of_samples)
        _check_count(in_chunks, MAX_SAMPLES, "pictures")

    def _count(self, kind: bytes) -> int:
        count: int = struct.unpack_from(">I", self._data, self._box(kind).start + 4)[0]
        return count

    def _box(self, kind: bytes) -> Box:
        box = self._boxes.get(kind)
        if box is None:
            raise ValueError(f"its {kind.decode('latin-1')} box is missing")
        return box


def _check_count(count: int, limit: int, what: str) -> None:
    if count > limit:
        raise ValueError(f"it has {count} {what}, the limit is {limit}")
