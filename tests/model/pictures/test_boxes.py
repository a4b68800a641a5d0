import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import odd_images
from distilpose.model.pictures import boxes
from distilpose.model.pictures.boxes import first_picture

FTYP = b"\0\0\0\x18ftypavif\0\0\0\0avifmif1"


def box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def size_property(width: int, height: int) -> bytes:
    return box(b"ispe", struct.pack(">III", 0, width, height))


def still(*properties: bytes, item: int = 1, ipma: bytes | None = None, pitm: bytes = b"") -> bytes:
    """A file whose primary item has these properties, in their order."""
    indices = bytes(range(1, len(properties) + 1))
    associations = struct.pack(">IIHB", 0, 1, item, len(indices)) + indices
    return FTYP + box(
        b"meta",
        bytes(4)
        + box(b"hdlr", bytes(24))
        + box(b"pitm", pitm or struct.pack(">IH", 0, item))
        + box(b"iprp", box(b"ipco", b"".join(properties)) + box(b"ipma", ipma or associations)),
    )


@pytest.mark.parametrize(
    ("turn", "mirror", "orientation"),
    [
        (None, None, 1),
        (0, None, 1),
        (1, None, 8),
        (2, None, 3),
        (3, None, 6),
        (None, 0, 4),
        (None, 1, 2),
        (1, 0, 5),
        (1, 1, 7),
        (2, 0, 2),
        (2, 1, 4),
        (3, 0, 7),
        (3, 1, 5),
    ],
)
def test_turn_and_mirror_are_an_orientation(
    turn: int | None, mirror: int | None, orientation: int
) -> None:
    properties = [size_property(40, 30)]
    properties += [box(b"irot", bytes([turn]))] if turn is not None else []
    properties += [box(b"imir", bytes([mirror]))] if mirror is not None else []
    assert first_picture(still(*properties)) == ((40, 30), orientation)


def test_the_primary_pictures_size_counts_not_the_first_one() -> None:
    ipma = struct.pack(">IIHBBHBB", 0, 2, 1, 1, 1, 2, 1, 2)
    data = still(size_property(10, 20), size_property(40, 30), item=2, ipma=ipma)
    assert first_picture(data).size_wh == (40, 30)


def test_long_item_numbers_and_long_property_numbers_are_read() -> None:
    ipma = struct.pack(">IIIBHH", 0x01000001, 1, 70_000, 2, 0x8001, 2)
    data = still(
        size_property(40, 30),
        box(b"irot", b"\1"),
        ipma=ipma,
        pitm=struct.pack(">II", 0x01000000, 70_000),
    )
    assert first_picture(data) == ((40, 30), 8)


def test_boxes_with_long_sizes_and_a_last_one_without_are_read() -> None:
    data = still(size_property(40, 30))
    meta = data[len(FTYP) + 8 :]
    long = struct.pack(">I4sQ", 1, b"meta", 16 + len(meta)) + meta
    assert first_picture(FTYP + long).size_wh == (40, 30)
    assert first_picture(FTYP + struct.pack(">I4s", 0, b"meta") + meta).size_wh == (40, 30)


def test_a_sequence_has_the_size_of_its_track() -> None:
    image = odd_images.encode(odd_images.noise(24, 40), "avif", save_all=True, append_images=[])
    assert first_picture(image).size_wh == (40, 24)
    track = box(b"tkhd", bytes(76) + struct.pack(">II", 40 << 16, 30 << 16))
    entry = box(b"av01", bytes(78) + box(b"irot", b"\3"))
    stsd = box(b"stsd", bytes(4) + struct.pack(">I", 1) + entry)
    media = box(b"mdia", box(b"minf", box(b"stbl", stsd)))
    alpha = box(b"trak", track + box(b"tref", box(b"auxl", bytes(4))) + media)
    moov = box(b"moov", box(b"mvhd", bytes(100)) + alpha + box(b"trak", track + media))
    assert first_picture(box(b"ftyp", b"avis\0\0\0\0avis") + moov) == ((40, 30), 6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (FTYP, "meta box is missing"),
        (FTYP + box(b"meta", bytes(4)), "no primary picture"),
        (still(box(b"irot", b"\0")), "has no size"),
        (still(ipma=struct.pack(">IIHBB", 0, 1, 1, 1, 9)), "property that is missing"),
        (still(size_property(4, 3))[:-1], "truncated"),
        (FTYP + struct.pack(">I4s", 7, b"meta"), "does not fit in its place"),
        (FTYP.replace(b"avif\0", b"avis\0") + box(b"moov", b""), "no track of pictures"),
        (FTYP + box(b"free", b"") * 5000, f"more than {boxes.MAX_BOXES} boxes"),
    ],
)
def test_broken_boxes_are_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        first_picture(data)


@given(
    data=st.sampled_from(
        [odd_images.encode(odd_images.noise(24, 40), "avif", exif=odd_images.exif(6))]
    ),
    flips=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 255)), min_size=1, max_size=4),
    kept_bytes=st.integers(0, 600),
)
@settings(max_examples=400, deadline=None, derandomize=True)
def test_damaged_boxes_give_a_picture_or_a_refusal(
    data: bytes, flips: list[tuple[int, int]], kept_bytes: int
) -> None:
    damaged = bytearray(data)
    for position, bits in flips:
        damaged[position % len(data)] ^= bits
    try:
        picture = first_picture(bytes(damaged[:kept_bytes]))
    except (ValueError, struct.error, IndexError):
        return
    assert 1 <= picture.orientation <= 8
