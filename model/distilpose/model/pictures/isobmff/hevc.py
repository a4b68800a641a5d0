"""Read the headers of HEVC's pictures: how many are decoded, and how large; decodes no pixels.

Malformed bytes raise `ValueError` or `IndexError`. What is walked is limited, so that hostile files
cost little time.

*Source:* ITU-T H.265, sections 7.3.1 and 7.3.2.2; ISO/IEC 14496-15, section 8.3.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from distilpose.model.pictures.isobmff.bits import Bits
from distilpose.model.pictures.isobmff.pieces import Pieces

MAX_FRAMES: Final = 4
"""An item is one picture; what more it holds, decoders may decode before they notice."""
MAX_UNITS: Final = 1500
"""All NAL units of the pictures of a file: a tile has one or a few."""
MAX_PARAMETER_SETS: Final = 16
"""Those of a file: all tiles of a picture share theirs."""

_PARAMETER_SET: Final = 33
_LARGEST_PICTURE_KIND: Final = 31
_FULL_COLOUR: Final = 3
_PARAMETER_SET_BYTES: Final = 400
"""More than the fields that are read here can take."""
_CONFIGURATION_BYTES: Final = 23
_PROFILE_BITS, _LEVEL_BITS = 88, 8


class ParameterSet(NamedTuple):
    """The size of pictures before they are cropped, and whether samples have more than 8 bits."""

    size_wh: tuple[int, int]
    is_deep: bool


def parameter_set(unit: bytes) -> ParameterSet:
    """Read a sequence parameter set, given as its whole NAL unit."""
    # A 3 is put behind two zeros, so that no payload looks like the start of a unit.
    bits = Bits(unit[2:_PARAMETER_SET_BYTES].replace(b"\0\0\3", b"\0\0"))
    bits.read(4)
    _skip_profiles(bits, layers=bits.read(3))
    bits.exponential()
    if bits.exponential() == _FULL_COLOUR:
        bits.read(1)
    size_wh = bits.exponential(), bits.exponential()
    if bits.read(1):
        for _ in range(4):
            bits.exponential()
    more_bits = bits.exponential(), bits.exponential()
    return ParameterSet(size_wh, max(more_bits) > 0)


def _skip_profiles(bits: Bits, *, layers: int) -> None:
    bits.read(1)
    bits.read(_PROFILE_BITS + _LEVEL_BITS)
    present = [(bits.read(1), bits.read(1)) for _ in range(layers)]
    if layers:
        bits.read(2 * (8 - layers))
    for has_profile, has_level in present:
        bits.read(_PROFILE_BITS * has_profile + _LEVEL_BITS * has_level)


@dataclass
class FrameReader:
    """The frames of a file's coded pictures; remembers the configurations, which they share."""

    _configurations: dict[bytes, tuple[int, tuple[ParameterSet, ...]]] = field(
        default_factory=dict, init=False
    )
    _sets_read: list[ParameterSet] = field(default_factory=list, init=False)
    _units_walked: int = field(default=0, init=False)

    @property
    def has_deep_samples(self) -> bool:
        """Return True if a picture read so far has samples of more than 8 bits."""
        return any(each.is_deep for each in self._sets_read)

    def sizes_wh(self, coded: Pieces, configuration: bytes) -> list[tuple[int, int]]:
        """The largest width and height of each frame that is decoded for a coded picture.

        `configuration` is the content of its `hvcC` box.

        Raises:
            ValueError: there is no frame or more than `MAX_FRAMES`, or nothing tells their
                size, or the limits of what is walked are exceeded.

        """
        known = self._configurations.get(configuration)
        if known is None:
            known = self._configurations[configuration] = self._read(configuration)
        length_bytes, shared = known
        sets, frames = list(shared), 0
        for kind, layer, start, end in self._units(coded, length_bytes):
            if kind == _PARAMETER_SET:
                read = partial(coded.read, start)
                sets.append(self._parameter_set(read(min(end - start, _PARAMETER_SET_BYTES))))
            elif kind <= _LARGEST_PICTURE_KIND and not layer:
                frames += coded.read(start + 2, 1) >= b"\x80"
        if not frames or not sets:
            raise ValueError("a picture of it has no frame")
        if frames > MAX_FRAMES:
            raise ValueError(f"a picture of it has more than {MAX_FRAMES} frames")
        widths, heights = zip(*(each.size_wh for each in sets), strict=True)
        return [(max(widths), max(heights))] * frames

    def _read(self, configuration: bytes) -> tuple[int, tuple[ParameterSet, ...]]:
        """The bytes of each length in the coded picture, and the parameter sets beside it."""
        if len(configuration) < _CONFIGURATION_BYTES:
            raise ValueError("its hvcC box is missing or truncated")
        length_bytes = (configuration[21] & 3) + 1
        sets, at = [], _CONFIGURATION_BYTES
        for _ in range(configuration[22]):
            kind = configuration[at] & 63
            count = int.from_bytes(configuration[at + 1 : at + 3], "big")
            at += 3
            for _ in range(count):
                self._count_unit()
                size = int.from_bytes(configuration[at : at + 2], "big")
                unit = configuration[at + 2 : at + 2 + size]
                at += 2 + size
                if at > len(configuration):
                    raise ValueError("its hvcC box is truncated")
                if kind == _PARAMETER_SET or _kind(unit) == _PARAMETER_SET:
                    sets.append(self._parameter_set(unit))
        return length_bytes, tuple(sets)

    def _parameter_set(self, unit: bytes) -> ParameterSet:
        if len(self._sets_read) == MAX_PARAMETER_SETS:
            raise ValueError(f"it has more than {MAX_PARAMETER_SETS} parameter sets")
        read = parameter_set(unit)
        self._sets_read.append(read)
        return read

    def _count_unit(self) -> None:
        self._units_walked += 1
        if self._units_walked > MAX_UNITS:
            raise ValueError(f"its pictures have more than {MAX_UNITS} units")

    def _units(self, coded: Pieces, length_bytes: int) -> Iterator[tuple[int, int, int, int]]:
        """Each unit's kind and layer, and where it begins and ends."""
        position = 0
        while position < coded.size:
            self._count_unit()
            head = coded.read(position, length_bytes + 2)
            start = position + length_bytes
            end = start + int.from_bytes(head[:length_bytes], "big")
            if end > coded.size:
                raise ValueError("the file is truncated, or a unit does not fit in its place")
            if end >= start + 2:
                first, second = head[length_bytes:]
                yield first >> 1 & 63, (first & 1) << 5 | second >> 3, start, end
            position = end


def _kind(unit: bytes) -> int:
    return unit[0] >> 1 & 63 if unit else 0
