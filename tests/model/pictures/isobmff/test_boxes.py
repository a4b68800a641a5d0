import struct

import pytest

from distilpose.model.pictures.isobmff.boxes import MAX_BOXES, Box, BoxReader
from heif_files import box


def boxes_in(data: bytes) -> list[Box]:
    return list(BoxReader(data).boxes(0, len(data)))


def test_boxes_follow_each_other() -> None:
    data = box(b"free", b"ab") + box(b"meta", b"")
    assert boxes_in(data) == [(b"free", 8, 10), (b"meta", 18, 18)]


def test_a_box_may_have_a_long_size_and_the_last_one_none() -> None:
    long = struct.pack(">I4sQ", 1, b"meta", 19) + b"abc"
    assert boxes_in(long + struct.pack(">I4s", 0, b"mdat") + b"x") == [
        (b"meta", 16, 19),
        (b"mdat", 27, 28),
    ]


def test_a_path_leads_to_the_box_within_boxes() -> None:
    data = box(b"moov", box(b"free", b"") + box(b"trak", box(b"tkhd", b"abc")))
    reader = BoxReader(data)
    [moov] = reader.boxes(0, len(data))
    found = reader.path(moov, b"trak", b"tkhd")
    assert data[found.start : found.end] == b"abc"
    with pytest.raises(ValueError, match="mdia box is missing"):
        reader.path(moov, b"trak", b"mdia")


@pytest.mark.parametrize(
    "data", [box(b"free", b"abc")[:-1], struct.pack(">I4s", 7, b"free"), struct.pack(">I", 8)]
)
def test_a_box_that_does_not_fit_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        boxes_in(data)


def test_too_many_boxes_are_refused() -> None:
    assert len(boxes_in(box(b"free", b"") * MAX_BOXES)) == MAX_BOXES
    with pytest.raises(ValueError, match=f"more than {MAX_BOXES} boxes"):
        boxes_in(box(b"free", b"") * (MAX_BOXES + 1))
