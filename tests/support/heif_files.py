"""AVIF and HEIF files made box by box, and the coded pictures to fill them with."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import odd_images
from distilpose.model.pictures.boxes import BoxReader
from distilpose.model.pictures.items import Items

AVIF: Final = b"avif"
AV1_CODED: Final = b"av01"
_ESSENTIAL: Final = frozenset({b"irot", b"imir", b"av1C", b"hvcC", b"lsel", b"a1op"})
ALPHA: Final = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"


def box(kind: bytes, payload: bytes) -> bytes:
    """A box."""
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def ftyp(*brands: bytes) -> bytes:
    """The first box of a file; the first brand is the major one."""
    return box(b"ftyp", brands[0] + bytes(4) + b"".join(brands))


def size_property(width: int, height: int) -> bytes:
    """The property with a picture's size."""
    return box(b"ispe", struct.pack(">III", 0, width, height))


def auxiliary_property(what: bytes = ALPHA) -> bytes:
    """The property that tells what an auxiliary picture is."""
    return box(b"auxC", bytes(4) + what)


@dataclass
class Item:
    """One item of a file: its number is its position, from 1."""

    kind: bytes
    content: bytes
    properties: Sequence[bytes]
    tiles: Sequence[int] = ()
    auxiliary_of: int = 0
    pieces: int = 1
    is_in_idat: bool = False


def grid(rows: int, columns: int, width: int, height: int, *, is_long: bool = False) -> bytes:
    """The content of a grid: its layout and the size of the picture."""
    size = struct.pack(">II" if is_long else ">HH", width, height)
    return bytes([0, is_long, rows - 1, columns - 1]) + size


def file_of(items: Sequence[Item], *, brand: bytes = AVIF, primary: int = 1) -> bytes:
    """A still file of these items."""
    head, size = ftyp(brand, b"mif1"), 0
    for _ in range(2):
        # The first pass tells the size of the boxes before the contents.
        boxes = _meta(items, primary, len(head) + size + 8)
        size = len(boxes)
    contents = b"".join(each.content for each in items if not each.is_in_idat)
    return head + boxes + box(b"mdat", contents)


def _meta(items: Sequence[Item], primary: int, at: int) -> bytes:
    known: list[bytes] = []
    for each in items:
        known += [each_one for each_one in each.properties if each_one not in known]
    numbers = range(1, len(items) + 1)
    infos = b"".join(
        box(b"infe", struct.pack(">IHH4s", 2 << 24, number, 0, item.kind) + b"\0")
        for number, item in zip(numbers, items, strict=True)
    )
    associations = b"".join(
        struct.pack(">HB", number, len(item.properties))
        + bytes(known.index(each) + 1 | _essential(each) for each in item.properties)
        for number, item in zip(numbers, items, strict=True)
    )
    places, idat = _places(items, at)
    return box(
        b"meta",
        bytes(4)
        + box(b"hdlr", bytes(8) + b"pict" + bytes(13))
        + box(b"pitm", struct.pack(">IH", 0, primary))
        + box(b"iloc", places)
        + box(b"iinf", struct.pack(">IH", 0, len(items)) + infos)
        + box(b"iref", bytes(4) + _references(items))
        + box(
            b"iprp",
            box(b"ipco", b"".join(known))
            + box(b"ipma", struct.pack(">II", 0, len(items)) + associations),
        )
        + (box(b"idat", idat) if idat else b""),
    )


def _essential(each: bytes) -> int:
    """The bit of a property that no reader may ignore."""
    return 0x80 if each[4:8] in _ESSENTIAL else 0


def _places(items: Sequence[Item], at: int) -> tuple[bytes, bytes]:
    """The payload of an item location box, and what lies in the data box beside it."""
    places, idat = struct.pack(">IBBH", 1 << 24, 0x44, 0, len(items)), b""
    for number, item in enumerate(items, 1):
        start = len(idat) if item.is_in_idat else at
        places += struct.pack(">HHHH", number, item.is_in_idat, 0, item.pieces)
        size = len(item.content) // item.pieces
        for piece in range(item.pieces):
            is_last = piece == item.pieces - 1
            rest = len(item.content) - piece * size
            places += struct.pack(">II", start + piece * size, rest if is_last else size)
        if item.is_in_idat:
            idat += item.content
        else:
            at += len(item.content)
    return places, idat


def _references(items: Sequence[Item]) -> bytes:
    references = b""
    for number, item in enumerate(items, 1):
        if item.tiles:
            fields = struct.pack(f">HH{len(item.tiles)}H", number, len(item.tiles), *item.tiles)
            references += box(b"dimg", fields)
        if item.auxiliary_of:
            references += box(b"auxl", struct.pack(">HHH", number, 1, item.auxiliary_of))
    return references


@dataclass
class Coded:
    """A coded picture: its bytes, its size, and the properties that tell how to decode it."""

    content: bytes
    size_wh: tuple[int, int]
    settings: list[bytes] = field(default_factory=list)

    def entry(self, *properties: bytes) -> bytes:
        """The sample entry of a track of such pictures."""
        size = struct.pack(">HH", *self.size_wh)
        return box(AV1_CODED, bytes(24) + size + bytes(50) + b"".join(properties))

    def item(
        self, *properties: bytes, size_wh: tuple[int, int] | None = None, **options: Any
    ) -> Item:
        """The picture as an item of AVIF; of another announced size if one is given."""
        size = size_property(*(size_wh or self.size_wh))
        return Item(AV1_CODED, self.content, [size, *self.settings, *properties], **options)


def av1_picture(height: int, width: int, **options: Any) -> Coded:
    """A picture of noise as Pillow codes it for AVIF."""
    return av1_picture_of(odd_images.noise(height, width), **options)


def av1_picture_of(picture: odd_images.Picture, **options: Any) -> Coded:
    """The picture as Pillow codes it for AVIF."""
    height, width, _ = picture.shape
    data = odd_images.encode(picture, "avif", **options)
    items = items_of(data)
    pieces = items.coded(items.primary)
    settings = [
        data[each.start - 8 : each.end]
        for each in items.properties(items.primary)
        if each.kind in {b"av1C", b"pixi", b"colr"}
    ]
    return Coded(pieces.read(0, pieces.size), (width, height), settings)


def items_of(data: bytes) -> Items:
    """The items of a file."""
    reader = BoxReader(data)
    return Items(reader, next(box for box in reader.boxes(0, len(data)) if box.kind == b"meta"))


def of_one(coded: Coded, *properties: bytes, **options: Any) -> bytes:
    """A file of one coded picture."""
    return file_of([coded.item(*properties, **options)])


def track(
    size_wh: tuple[int, int], entry: bytes, samples: Sequence[bytes], at: int, auxiliary_of: int = 0
) -> bytes:
    """A track of pictures that lie one after another from a position of the file on."""
    sizes = [len(each) for each in samples]
    table = box(
        b"stbl",
        box(b"stsd", struct.pack(">II", 0, 1) + entry)
        + box(b"stts", struct.pack(">IIII", 0, 1, len(samples), 1))
        + box(b"stsc", struct.pack(">IIIII", 0, 1, 1, len(samples), 1))
        + box(b"stsz", struct.pack(f">III{len(sizes)}I", 0, 0, len(sizes), *sizes))
        + box(b"stco", struct.pack(">III", 0, 1, at)),
    )
    head = bytes(76) + struct.pack(">II", size_wh[0] << 16, size_wh[1] << 16)
    reference = box(b"tref", box(b"auxl", struct.pack(">I", auxiliary_of)))
    return box(
        b"trak",
        box(b"tkhd", head)
        + (reference if auxiliary_of else b"")
        + box(b"mdia", box(b"mdhd", bytes(24)) + box(b"minf", table)),
    )


class _BitCopier:
    """Copies numbers from the bits of some bytes to others."""

    def __init__(self, data: bytes) -> None:
        self._left = "".join(f"{byte:08b}" for byte in data)
        self.written = ""

    def take(self, count: int) -> int:
        """The next number, which is not copied."""
        taken, self._left = self._left[:count], self._left[count:]
        return int(taken or "0", 2)

    def copy(self, count: int) -> int:
        """The next number, which is copied."""
        self.written += self._left[:count]
        return self.take(count)

    def put(self, count: int, number: int) -> None:
        """Write a number of so many bits."""
        self.written += f"{number:0{count}b}" if count else ""

    def whole(self) -> bytes:
        """The bits written, filled up with a one and zeros as AV1 does."""
        bits = self.written + "1"
        bits += "0" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big")


def units_of(content: bytes) -> list[tuple[int, bytes]]:
    """The units of a coded picture: each one's kind and payload."""
    units, at = [], 0
    while at < len(content):
        kind, length, shift = content[at] >> 3 & 15, 0, 0
        at += 1
        while True:
            length |= (content[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if content[at - 1] < 128:
                break
        units.append((kind, content[at : at + length]))
        at += length
    return units


def unit(kind: int, payload: bytes, layer: int | None = None) -> bytes:
    """A unit of AV1 of that kind, maybe of a spatial layer."""
    length, size = b"", len(payload)
    while size >= 128:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    length += bytes([size])
    head = bytes([kind << 3 | 2]) if layer is None else bytes([kind << 3 | 6, layer << 3])
    return head + length + payload


def in_12_bits(coded: Coded) -> Coded:
    """A picture of 8 bits and full chroma, with its samples taken for 12 bits each."""
    _, (_, payload), *rest = units_of(coded.content)
    bits = _BitCopier(payload)
    bits.take(3)
    bits.put(3, 2)
    assert bits.copy(2) == 3, "a reduced header"
    bits.copy(5)
    width_bits, height_bits = bits.copy(4) + 1, bits.copy(4) + 1
    bits.copy(width_bits + height_bits + 6)
    bits.take(1)
    bits.put(3, 0b110)
    if bits.copy(1):
        bits.copy(24)
    bits.copy(1)
    bits.put(1, 0)
    bits.copy(2)
    content = unit(1, bits.whole()) + b"".join(unit(*each) for each in rest)
    config = bytes([0x81, 2 << 5 | payload[0] & 7 << 2 | 4, 0b01100000, 0])
    return Coded(content, coded.size_wh, [box(b"av1C", config)])
