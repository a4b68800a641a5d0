"""AVIF and HEIF files made box by box, and the coded pictures to fill them with."""

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from distilpose.model.pictures.isobmff.boxes import BoxReader
from distilpose.model.pictures.isobmff.items import Items
from distilpose.model.pictures.isobmff.tracks import tracks_of

Pixels = npt.NDArray[np.uint8]
AVIF: Final = b"avif"
HEIC: Final = b"heic"
AV1_CODED: Final = b"av01"
HEVC_CODED: Final = b"hvc1"
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
    described: int = 0
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
        if item.described:
            references += box(b"cdsc", struct.pack(">HHH", number, 1, item.described))
    return references


@dataclass
class Coded:
    """A coded picture: its bytes, its size, and the properties that tell how to decode it."""

    content: bytes
    size_wh: tuple[int, int]
    settings: list[bytes] = field(default_factory=list)
    kind: bytes = AV1_CODED

    def entry(self, *properties: bytes) -> bytes:
        """The sample entry of a track of such pictures."""
        size = struct.pack(">HH", *self.size_wh)
        return box(self.kind, bytes(24) + size + bytes(50) + b"".join(properties))

    def item(
        self, *properties: bytes, size_wh: tuple[int, int] | None = None, **options: Any
    ) -> Item:
        """The picture as an item of AVIF; of another announced size if one is given."""
        size = size_property(*(size_wh or self.size_wh))
        return Item(self.kind, self.content, [size, *self.settings, *properties], **options)


def _noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def av1_picture(height: int, width: int, **options: Any) -> Coded:
    """A picture of noise as Pillow codes it for AVIF."""
    return av1_picture_of(_noise(height, width), **options)


def av1_picture_of(picture: Pixels, **options: Any) -> Coded:
    """The picture as Pillow codes it for AVIF."""
    height, width, _ = picture.shape
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "avif", **options)
    data = file.getvalue()
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


def hevc_picture(height: int, width: int, **options: Any) -> Coded:
    """A picture of noise in HEVC."""
    return hevc_picture_of(_noise(height, width), **options)


def hevc_picture_of(picture: Pixels, samples: str = "yuv444p", quality: int = 0) -> Coded:
    """The picture as x265 codes it, in the given pixel format; the quality 0 loses nothing.

    Its sides are 16 or more, and even where chroma is halved.
    """
    height, width = picture.shape[:2]
    file = io.BytesIO()
    how = "lossless=1" if quality == 0 else f"crf={quality}"
    options = {"preset": "ultrafast", "x265-params": f"{how}:log-level=none:info=0:pools=1"}
    with av.open(file, "w", "mp4") as container:
        stream = container.add_stream("libx265", rate=1, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, samples
        stream.codec_tag = "hvc1"
        for packet in (*stream.encode(_frame(picture, samples)), *stream.encode()):
            packet.pts = packet.dts = 0
            container.mux(packet)
    data = file.getvalue()
    reader = BoxReader(data)
    moov = next(each for each in reader.boxes(0, len(data)) if each.kind == b"moov")
    [found] = tracks_of(reader, moov, {HEVC_CODED})
    settings = [
        data[each.start - 8 : each.end] for each in found.properties if each.kind == b"hvcC"
    ]
    colours = box(b"colr", b"nclx" + struct.pack(">HHHB", 1, 13, 6, 0x80))
    content = found.first_picture.read(0, found.first_picture.size)
    return Coded(content, (width, height), [*settings, colours], HEVC_CODED)


def _frame(picture: Pixels, samples: str) -> av.VideoFrame:
    """The picture as BT.601 with the full range, or grey."""
    if picture.ndim == 2:
        return av.VideoFrame.from_ndarray(picture, "gray").reformat(format=samples)
    planes = np.asarray(Image.fromarray(picture).convert("YCbCr")).transpose(2, 0, 1)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(planes), "yuv444p")
    return frame.reformat(format=samples)


_TURNS: Final = {
    2: [box(b"imir", b"\1")],
    3: [box(b"irot", b"\2")],
    4: [box(b"imir", b"\0")],
    5: [box(b"irot", b"\1"), box(b"imir", b"\0")],
    6: [box(b"irot", b"\3")],
    7: [box(b"irot", b"\1"), box(b"imir", b"\1")],
    8: [box(b"irot", b"\1")],
}
"""EXIF's orientation -> the properties that turn a picture likewise."""


def heic(
    image: Image.Image, *, exif: bytes = b"", samples: str = "yuv444p", quality: int = 0
) -> bytes:
    """The picture as HEIC, like a phone's: turned by its properties, with EXIF that says it again.

    Pictures whose sides are not multiples of 16 are grids of one tile.
    """
    turned = _TURNS.get(exif[24 if exif[6:8] == b"II" else 25], []) if exif else []
    width, height = image.size
    padding = ((0, -height % 16), (0, -width % 16))
    parts = [np.pad(np.asarray(image.convert("RGB")), (*padding, (0, 0)), "edge")]
    if image.has_transparency_data:
        parts.append(np.pad(np.asarray(image.convert("RGBA"))[..., 3], padding, "edge"))
    items: list[Item] = []
    for number, part in enumerate(parts):
        coded = hevc_picture_of(part, samples if number == 0 else "gray", quality)
        owner = 1 if number else 0
        properties = [auxiliary_property()] if number else turned
        if coded.size_wh == image.size:
            items.append(coded.item(*properties, auxiliary_of=owner))
        else:
            size = size_property(width, height)
            layout, tiles = grid(1, 1, width, height), [len(items) + 2]
            items.append(Item(b"grid", layout, [size, *properties], tiles, owner))
            items.append(coded.item())
    if exif:
        items.append(Item(b"Exif", struct.pack(">I", 6) + exif, [], described=1))
    return file_of(items, brand=HEIC)


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
