"""Read the headers of AV1's frames: how many are decoded, and how large; decodes no pixels.

Malformed bytes raise `ValueError`. What is walked is limited, so that hostile files cost little
time.

*Source:* AV1 Bitstream & Decoding Process Specification, sections 5.3, 5.5 and 5.9.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from distilpose.model.pictures.isobmff.bits import Bits
from distilpose.model.pictures.isobmff.pieces import Pieces

MAX_FRAMES: Final = 4
"""A picture has one frame for each of its layers, of which there are at most four."""
MAX_UNITS: Final = 1500
"""All open bitstream units (OBUs) of the pictures of a file: a tile has two or three."""
MAX_SEQUENCE_HEADERS: Final = 16
"""The different ones of a file; all tiles of a picture have the same."""

_SEQUENCE_HEADER: Final = 1
_FRAME_HEADERS: Final = frozenset({3, 6, 7})
"""Frame header, frame, and a redundant frame header, which decoders take for a missing one."""
_KEY, _, _INTRA_ONLY, _SWITCH = range(4)
_HAS_LAYER, _HAS_LENGTH = 4, 2
_UNIT_HEAD_BYTES: Final = 10
_SELECT: Final = 2
_HEADER_BYTES: Final = 160
"""More than the fields that are read here can take."""
_REFERENCES: Final = 8
_REFERENCES_PER_FRAME: Final = 7

_Unit: TypeAlias = tuple[int, int, int, int]
"""A unit's kind, its layer, and where its payload begins and ends; a plain tuple for speed."""


class OperatingPoint(NamedTuple):
    """The layers that one way of decoding takes, and whether frames give it a time."""

    layers: int
    has_times: bool


@dataclass(slots=True)
class SequenceHeader:
    """The part of a sequence header that tells the size of frames, and how to read their own."""

    is_reduced: bool
    size_wh: tuple[int, int] = (0, 0)
    """The largest width and height of a frame."""
    size_bits_wh: tuple[int, int] = (0, 0)
    presentation_time_bits: int = 0
    removal_time_bits: int = 0
    operating_points: list[OperatingPoint] = field(default_factory=list)
    id_bits: int = 0
    id_difference_bits: int = 0
    order_hint_bits: int = 0
    screen_content: int = _SELECT
    whole_vectors: int = _SELECT
    is_deep: bool = False
    """True for samples of more than 8 bits."""


def sequence_header(payload: bytes) -> SequenceHeader:
    """Read a sequence header, up to the fields that a frame's size depends on."""
    bits = Bits(payload[:_HEADER_BYTES])
    bits.read(4)
    header = SequenceHeader(is_reduced=bool(bits.read(1)))
    if header.is_reduced:
        bits.read(5)
    else:
        _read_operating_points(bits, header, *_read_timing(bits, header))
    header.size_bits_wh = bits.read(4) + 1, bits.read(4) + 1
    width_bits, height_bits = header.size_bits_wh
    header.size_wh = bits.read(width_bits) + 1, bits.read(height_bits) + 1
    if header.is_reduced:
        bits.read(3)
    else:
        _read_tools(bits, header)
    bits.read(3)
    header.is_deep = bool(bits.read(1))
    return header


def _read_timing(bits: Bits, header: SequenceHeader) -> tuple[bool, int]:
    """Read the timing; return whether there is a model of the decoder, and its delays' bits."""
    if not bits.read(1):
        return False, 0
    bits.read(64)
    is_even = bits.read(1)
    if is_even:
        bits.exponential()
    if not bits.read(1):
        return False, 0
    delay_bits = bits.read(5) + 1
    bits.read(32)
    header.removal_time_bits = bits.read(5) + 1
    time_bits = bits.read(5) + 1
    header.presentation_time_bits = 0 if is_even else time_bits
    return True, delay_bits


def _read_operating_points(
    bits: Bits, header: SequenceHeader, has_model: bool, delay_bits: int
) -> None:
    has_display_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        layers = bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        has_times = bool(has_model and bits.read(1))
        if has_times:
            bits.read(2 * delay_bits + 1)
        if has_display_delay and bits.read(1):
            bits.read(4)
        header.operating_points.append(OperatingPoint(layers, has_times))


def _read_tools(bits: Bits, header: SequenceHeader) -> None:
    if bits.read(1):
        header.id_difference_bits = bits.read(4) + 2
        header.id_bits = header.id_difference_bits + bits.read(3) + 1
    bits.read(7)
    has_order_hints = bits.read(1)
    if has_order_hints:
        bits.read(2)
    header.screen_content = _SELECT if bits.read(1) else bits.read(1)
    if header.screen_content:
        header.whole_vectors = _SELECT if bits.read(1) else bits.read(1)
    if has_order_hints:
        header.order_hint_bits = bits.read(3) + 1


def frame_size_wh(payload: bytes, header: SequenceHeader, layer: int) -> tuple[int, int]:
    """The width and height of a frame; the largest allowed if it takes that of another.

    `layer` has the temporal and the spatial number from the frame's extension: 8 bits.

    Raises:
        ValueError: the frame is larger than its sequence allows.

    """
    if header.is_reduced:
        return header.size_wh
    bits = Bits(payload[:_HEADER_BYTES])
    if bits.read(1) or not _states_its_size(bits, header, layer):
        return header.size_wh
    width_bits, height_bits = header.size_bits_wh
    size_wh = bits.read(width_bits) + 1, bits.read(height_bits) + 1
    if size_wh[0] > header.size_wh[0] or size_wh[1] > header.size_wh[1]:
        raise ValueError("it has a frame that is larger than all frames may be")
    return size_wh


def _states_its_size(bits: Bits, header: SequenceHeader, layer: int) -> bool:
    """Read up to a frame's size; return True if it follows."""
    kind, is_shown = bits.read(2), bits.read(1)
    bits.read(header.presentation_time_bits if is_shown else 1)
    is_whole = kind == _SWITCH or (kind == _KEY and bool(is_shown))
    is_resilient = is_whole or bool(bits.read(1))
    bits.read(1)
    _skip_content(bits, header)
    bits.read(header.id_bits)
    states_size = kind == _SWITCH or bool(bits.read(1))
    if not states_size:
        return False
    bits.read(header.order_hint_bits)
    is_intra = kind in {_KEY, _INTRA_ONLY}
    if not is_intra and not is_resilient:
        bits.read(3)
    _skip_removal_times(bits, header, layer)
    refreshed = 0xFF if is_whole else bits.read(8)
    if (not is_intra or refreshed != 0xFF) and is_resilient:
        bits.read(_REFERENCES * header.order_hint_bits)
    return is_intra or _takes_no_other_size(bits, header, is_resilient=is_resilient)


def _skip_content(bits: Bits, header: SequenceHeader) -> None:
    is_screen = bits.read(1) if header.screen_content == _SELECT else header.screen_content
    if is_screen and header.whole_vectors == _SELECT:
        bits.read(1)


def _skip_removal_times(bits: Bits, header: SequenceHeader, layer: int) -> None:
    if not header.removal_time_bits or not bits.read(1):
        return
    temporal, spatial = layer >> 5, layer >> 3 & 3
    for point in header.operating_points:
        is_within = point.layers >> temporal & 1 and point.layers >> (spatial + 8) & 1
        if point.has_times and (not point.layers or is_within):
            bits.read(header.removal_time_bits)


def _takes_no_other_size(bits: Bits, header: SequenceHeader, *, is_resilient: bool) -> bool:
    has_short_references = header.order_hint_bits and bits.read(1)
    if has_short_references:
        bits.read(6)
    for _ in range(_REFERENCES_PER_FRAME):
        bits.read(0 if has_short_references else 3)
        bits.read(header.id_difference_bits)
    if is_resilient:
        return True
    return not any(bits.read(1) for _ in range(_REFERENCES_PER_FRAME))


@dataclass
class FrameReader:
    """The frames of a file's coded pictures; remembers the sequence headers, which are alike."""

    _known: dict[bytes, SequenceHeader] = field(default_factory=dict, init=False)
    _units_walked: int = field(default=0, init=False)

    @property
    def has_deep_samples(self) -> bool:
        """Return True if a picture read so far has samples of more than 8 bits."""
        return any(each.is_deep for each in self._known.values())

    def sizes_wh(self, coded: Pieces, _configuration: bytes = b"") -> list[tuple[int, int]]:
        """The width and height of each frame that is decoded for a coded picture.

        Raises:
            ValueError: there is none or more than `MAX_FRAMES`, a frame comes before its
                sequence header, or the limits of what is walked are exceeded.

        """
        sizes_wh: list[tuple[int, int]] = []
        sequence: SequenceHeader | None = None
        for kind, layer, start, end in self._units(coded):
            if kind == _SEQUENCE_HEADER:
                sequence = self._sequence_header(coded.read(start, min(end - start, _HEADER_BYTES)))
            elif kind in _FRAME_HEADERS:
                if sequence is None:
                    raise ValueError("it has a frame before its sequence header")
                sizes_wh.append(_size_of_frame(coded, start, sequence, layer))
                if len(sizes_wh) > MAX_FRAMES:
                    raise ValueError(f"a picture of it has more than {MAX_FRAMES} frames")
        if not sizes_wh:
            raise ValueError("a picture of it has no frame")
        return sizes_wh

    def _units(self, coded: Pieces) -> Iterator[_Unit]:
        position = 0
        while position < coded.size:
            self._units_walked += 1
            if self._units_walked > MAX_UNITS:
                raise ValueError(f"its pictures have more than {MAX_UNITS} units")
            unit = _unit(coded, position)
            yield unit
            position = unit[3]

    def _sequence_header(self, payload: bytes) -> SequenceHeader:
        known = self._known.get(payload)
        if known is None:
            if len(self._known) == MAX_SEQUENCE_HEADERS:
                raise ValueError(f"it has more than {MAX_SEQUENCE_HEADERS} sequence headers")
            known = self._known[payload] = sequence_header(payload)
        return known


def _size_of_frame(
    coded: Pieces, start: int, sequence: SequenceHeader, layer: int
) -> tuple[int, int]:
    if sequence.is_reduced:
        return sequence.size_wh
    return frame_size_wh(coded.read(start, _HEADER_BYTES), sequence, layer)


def _unit(coded: Pieces, position: int) -> _Unit:
    head = coded.read(position, _UNIT_HEAD_BYTES)
    first = head[0]
    at, layer = (2, head[1]) if first & _HAS_LAYER else (1, 0)
    kind = first >> 3 & 15
    if not first & _HAS_LENGTH:
        return kind, layer, position + at, coded.size
    length = shift = 0
    while True:
        byte = head[at]
        length |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    start = position + at
    if start + length > coded.size:
        raise ValueError("the file is truncated, or a part of a picture does not fit in its place")
    return kind, layer, start, start + length
