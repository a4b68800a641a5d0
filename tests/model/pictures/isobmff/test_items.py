import struct
from typing import Any

import pytest

import heif_files
from distilpose.model.pictures.isobmff.items import MAX_ITEMS, MAX_LINKS, Items, Reference
from heif_files import Item, box, items_of

SIZE = heif_files.size_property(40, 30)


def items_of_boxes(*boxes: bytes) -> Items:
    return items_of(box(b"meta", bytes(4) + b"".join(boxes)) + box(b"mdat", b"abcdefgh"))


def content(items: Items, item: int) -> bytes:
    pieces = items.coded(item)
    return pieces.read(0, pieces.size)


@pytest.mark.parametrize("options", [{}, {"pieces": 3}, {"is_in_idat": True}])
def test_the_bytes_of_an_item_are_found(options: dict[str, Any]) -> None:
    items = items_of(
        heif_files.file_of(
            [Item(b"av01", b"first one", [SIZE], **options), Item(b"av01", b"second", [SIZE])],
            primary=2,
        )
    )
    assert items.primary == 2
    assert (content(items, 1), content(items, 2)) == (b"first one", b"second")


@pytest.mark.parametrize(
    ("version", "fields"),
    [
        (0, struct.pack(">BBHHHIHII", 0x44, 0x40, 1, 7, 0, 2, 1, 1, 3)),
        (0, struct.pack(">BBHHHHQQ", 0x88, 0, 1, 7, 0, 1, 3, 3)),
        (1, struct.pack(">BBHHHHHIII", 0x44, 4, 1, 7, 0, 0, 1, 99, 3, 3)),
        (2, struct.pack(">BBIIHHQHI", 0x04, 0x80, 1, 7, 0, 0, 3, 1, 3)),
    ],
)
def test_places_of_every_version_are_read(version: int, fields: bytes) -> None:
    iloc = box(b"iloc", bytes([version, 0, 0, 0]) + fields)
    data = box(b"meta", bytes(4) + iloc) + box(b"mdat", b"abcdefgh")
    assert content(items_of(data), 7) == data[3:6]


def test_long_numbers_of_items_and_properties_are_read() -> None:
    items = items_of_boxes(
        box(b"pitm", struct.pack(">II", 1 << 24, 70_000)),
        box(b"iinf", struct.pack(">II", 1 << 24, 1)) + b"",
        box(
            b"iprp",
            box(b"ipco", SIZE + box(b"irot", b"\1"))
            + box(b"ipma", struct.pack(">IIIBHH", 0x01000001, 1, 70_000, 2, 0x8001, 2)),
        ),
        box(b"iref", struct.pack(">I", 1 << 24) + box(b"auxl", struct.pack(">IHI", 9, 1, 70_000))),
    )
    assert items.primary == 70_000
    assert [each.kind for each in items.properties(70_000)] == [b"ispe", b"irot"]
    assert items.references == [Reference(b"auxl", 9, (70_000,))]


def test_the_kinds_of_items_are_read() -> None:
    infos = box(b"infe", struct.pack(">IHH4s", 2 << 24, 5, 0, b"av01") + b"\0")
    infos += box(b"infe", struct.pack(">IIH4s", 3 << 24, 70_000, 0, b"grid") + b"\0")
    short = items_of_boxes(box(b"iinf", struct.pack(">IH", 0, 2) + infos))
    long = items_of_boxes(box(b"iinf", struct.pack(">II", 1 << 24, 2) + infos))
    assert short.kinds == long.kinds == {5: b"av01", 70_000: b"grid"}


def listed(count: int) -> dict[str, bytes]:
    """A box of each list with so many entries."""
    info = box(b"infe", bytes(12))
    return {
        "kinds": box(
            b"iinf",
            struct.pack(">IH", 0, 0)
            + b"".join(
                box(b"infe", struct.pack(">IHH4s", 2 << 24, number, 0, b"av01"))
                for number in range(min(count, 3000))
            ),
        ),
        "places": box(b"iloc", struct.pack(">IBBH", 0, 0, 0, count) + bytes(4 * count)),
        "pieces": box(b"iloc", struct.pack(">IBBHHHH", 0, 0x44, 0, 1, 1, 0, count) + bytes(8)),
        "properties": box(b"iprp", box(b"ipco", info) + box(b"ipma", struct.pack(">II", 0, count))),
        "references": box(
            b"iref", bytes(4) + box(b"dimg", struct.pack(">HH", 1, count) + bytes(2 * count))
        ),
    }


@pytest.mark.parametrize("kind", listed(0))
def test_lists_that_are_too_long_are_refused_with_their_limit(kind: str) -> None:
    items = items_of_boxes(listed(MAX_LINKS + 1)[kind])
    with pytest.raises(ValueError, match=f"the limit is ({MAX_ITEMS}|{MAX_LINKS})"):
        items.check_counts()


def test_pieces_that_overlap_are_refused() -> None:
    places = struct.pack(">IBBHHHH", 0, 0x44, 0, 1, 1, 0, 3) + struct.pack(">II", 0, 60) * 3
    with pytest.raises(ValueError, match="overlap"):
        items_of_boxes(box(b"iloc", places)).check_counts()


@pytest.mark.parametrize(
    ("iloc", "message"),
    [
        (b"", "has no bytes"),
        (struct.pack(">IBBHHHHII", 0, 0x44, 0, 1, 1, 0, 1, 0, 5000), "truncated"),
        (struct.pack(">IBBHHHHHII", 1 << 24, 0x44, 0, 1, 1, 1, 0, 1, 0, 5), "idat box is missing"),
        (struct.pack(">IBBHHHHHII", 1 << 24, 0x44, 0, 1, 1, 2, 0, 1, 0, 5), "has no bytes"),
        (struct.pack(">IBBH", 0, 0x34, 0, 1), "odd size"),
    ],
)
def test_an_item_without_bytes_in_the_file_is_refused(iloc: bytes, message: str) -> None:
    items = items_of_boxes(box(b"iloc", iloc) if iloc else b"")
    with pytest.raises(ValueError, match=message):
        items.coded(1)
