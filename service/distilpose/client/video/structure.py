"""Tells from a clip's own sizes and sums that bytes are missing from it, or were changed.

FFmpeg ends such a clip as if it were whole. Looks at headers alone, and knows no pictures. MPEG
program streams (mpg) say nothing about their size, transport streams (ts) only that of a packet.

*Source:* ISO/IEC 14496-12 section 4.2; ISO/IEC 13818-1 section 2.4.3; RFC 8794 and 9559 (Matroska);
RFC 3533 (Ogg); Adobe Flash Video File Format 10.1, annex E; Microsoft's AVI RIFF File Reference.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, TypeAlias

_Walk: TypeAlias = Callable[[IO[bytes], int], str | None]
"""Returns the flaw of an opened file of so many bytes."""

_CUT: Final = "the file ends before what its headers name"
_BOXES: Final = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"sidx", b"styp"}
_UNKNOWN_FROM_BYTES: Final = 0x7FFF0000
"""RIFF sizes from here on stand for a size that the recorder did not know yet."""
_SEGMENT: Final = 0x18538067
_CLUSTER: Final = 0x1F43B675
_ELEMENTS: Final = frozenset(
    {0x1A45DFA3, _SEGMENT, _CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469}
    | {0x1043A770, 0x1254C367, 0xEC, 0xBF}
    | {0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF}
)
"""Matroska's elements directly in the file, in its segment, and in the segment's clusters."""
_FLASH_SIZE: Final = re.compile(rb"\x00\x08filesize\x00(.{8})", re.DOTALL)
_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def flaw_of(path: Path) -> str | None:
    """The first thing in the file's structure that is not as it should be; None if nothing is.

    Files of other kinds have no flaws.

    Raises:
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(200)
        walk = _walk_of(head)
        file.seek(0)
        return walk(file, size) if walk else None


def _walk_of(head: bytes) -> _Walk | None:
    if head[4:8] in _BOXES:
        return _boxes
    if head[::188] == b"GG":  # two packets of a transport stream
        return _transport
    return next((walk for magic, walk in _WALKS.items() if head.startswith(magic)), None)


def _boxes(file: IO[bytes], size: int) -> str | None:
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or head[4:8] not in _BOXES:
            return None  # up to the end of the file, or something that others have appended
        at += length
    return _CUT if at > size else None


def _riff(file: IO[bytes], size: int) -> str | None:
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] != b"RIFF" or not 0 < length < _UNKNOWN_FROM_BYTES:
            return None
        at += 8 + length
    return _CUT if at > size else None


def _matroska(file: IO[bytes], size: int) -> str | None:
    at, end = 0, size
    while at < end:
        file.seek(at)
        head = file.read(200)
        name, name_bytes = _number(head, keep_length=True)
        length, length_bytes = _number(head[name_bytes:])
        if not (name_bytes and length_bytes):
            return _CUT if len(head) < 12 else _broken(at)
        if name not in _ELEMENTS:
            return _broken(at)
        body = at + name_bytes + length_bytes
        is_open = length == (1 << 7 * length_bytes) - 1
        if not is_open and body + length > size:
            return _CUT
        if name == _SEGMENT:
            end = size if is_open else body + length
        at = body if is_open or name in (_SEGMENT, _CLUSTER) else body + length
    return None


def _number(data: bytes, *, keep_length: bool = False) -> tuple[int, int]:
    """A number of variable length, and its bytes; 0 bytes if there is none."""
    length = 9 - data[0].bit_length() if data and data[0] else 0
    if not length or length > len(data):
        return 0, 0
    number = int.from_bytes(data[:length], "big")
    return (number if keep_length else number & ((1 << 7 * length) - 1)), length


def _flash(file: IO[bytes], size: int) -> str | None:
    head = file.read(2048)
    named = _FLASH_SIZE.search(head)
    if named and struct.unpack(">d", named[1])[0] > size:
        return _CUT
    at = int.from_bytes(head[5:9], "big") + 4
    while at < size:
        file.seek(at)
        length = int.from_bytes(file.read(4)[1:], "big") + 11
        file.seek(at + length)
        again = file.read(4)
        if len(again) < 4:
            return _CUT
        if int.from_bytes(again, "big") not in (length, 0):
            return _broken(at)
        at += length + 4
    return None


def _transport(_: IO[bytes], size: int) -> str | None:
    return "the file ends within a packet" if size % 188 else None


def _ogg(file: IO[bytes], size: int) -> str | None:
    at = 0
    for length, is_whole in _pages(file):
        if not is_whole:
            return _broken(at)
        at += length
    return _CUT if at < size else None


def _pages(file: IO[bytes]) -> Iterator[tuple[int, bool]]:
    """The length of each page that is complete, and whether it is unchanged."""
    while len(head := file.read(27)) == 27:
        if head[:4] != b"OggS":
            yield 27, False
            return
        sizes = file.read(head[26])
        body = file.read(sum(sizes))
        if len(sizes) < head[26] or len(body) < sum(sizes):
            return
        page = head[:22] + bytes(4) + head[26:] + sizes + body
        yield len(page), _ogg_sum(page) == int.from_bytes(head[22:26], "little")


def _ogg_sum(page: bytes) -> int:
    """Ogg's checksum: zlib's polynomial, with the bits the other way round, and starting at 0."""
    mirrored = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _broken(at: int) -> str:
    return f"its structure is damaged at byte {at:,}"


_WALKS: Final[dict[bytes, _Walk]] = {
    b"RIFF": _riff,
    b"\x1aE\xdf\xa3": _matroska,
    b"FLV": _flash,
    b"OggS": _ogg,
}
