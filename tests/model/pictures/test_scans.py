import pytest

from distilpose.model.pictures.scans import has_odd_scan, walk
from odd_images import encode, without_segment
from odd_jpegs import JPEGS, SIZE_WH, interval_ends, scans, scene, segment, with_scan_numbers


@pytest.mark.parametrize("name", JPEGS)
def test_scans_and_their_intervals_are_found(name: str) -> None:
    jpeg = JPEGS[name]
    found = walk(jpeg).scans
    assert [scan.intervals[0][0] for scan in found] == [start for _, start in scans(jpeg)]
    assert [end for scan in found for _, end in scan.intervals] == interval_ends(jpeg)


def test_fill_bytes_are_no_pixels() -> None:
    jpeg = JPEGS["plain"]
    [end] = interval_ends(jpeg)
    [scan] = walk(jpeg[:end] + b"\xff\xff\xff" + jpeg[end:]).scans
    assert scan.intervals[-1][1] == end


def test_a_tidied_jpeg_keeps_only_what_pixels_depend_on() -> None:
    extras = segment(0xE1, b"Exif") + segment(0xE2, b"ICC_PROFILE\0\1\2") + segment(0xFE, b"text")
    jpeg = encode(scene(), "jpeg", restart_marker_rows=1)
    odd = jpeg[:20] + extras + b"spare" + jpeg[20:-2] + extras + jpeg[-2:] + b"another picture"
    assert walk(odd).tidied({}) == jpeg


def test_bytes_are_cut_off_where_they_are_spare() -> None:
    jpeg = JPEGS["rows"]
    [scan] = walk(jpeg).scans
    start, end = scan.intervals[1]
    assert walk(jpeg).tidied({(start, end): 3}) == jpeg[: end - 3] + jpeg[end:]


def test_units_are_counted_for_each_interval() -> None:
    assert SIZE_WH == (56, 40)
    assert walk(JPEGS["plain"]).units(walk(JPEGS["plain"]).scans[0]) == [4 * 3]
    assert walk(JPEGS["rows"]).units(walk(JPEGS["rows"]).scans[0]) == [4, 4, 4]
    assert walk(JPEGS["4:4:4"]).units(walk(JPEGS["4:4:4"]).scans[0]) == [5] * 7
    luma, blue, _ = walk(JPEGS["scan for each component"]).scans
    assert walk(JPEGS["scan for each component"]).units(luma) == [2] * 7 + [1]
    assert walk(JPEGS["scan for each component"]).units(blue) == [2] * 3


def test_a_marker_behind_the_last_interval_is_no_interval() -> None:
    jpeg = JPEGS["rows"][:-2] + b"\xff\xd2\xff\xd9"
    assert walk(jpeg).units(walk(jpeg).scans[0]) == [4, 4, 4]


def test_a_lost_interval_is_noticed() -> None:
    first, second, _ = interval_ends(JPEGS["rows"])
    jpeg = walk(JPEGS["rows"][:first] + JPEGS["rows"][second:])
    with pytest.raises(ValueError, match="2 restart intervals where 3 belong"):
        jpeg.units(jpeg.scans[0])


def test_only_odd_sequential_scans_are_odd() -> None:
    assert not any(has_odd_scan(jpeg) for jpeg in JPEGS.values())
    assert has_odd_scan(with_scan_numbers(JPEGS["rows"], b"\0\0\0"))
    assert not has_odd_scan(with_scan_numbers(JPEGS["progressive"], b"\0\0\0"))


def test_units_that_fit_into_no_frame_are_refused() -> None:
    frame = walk(JPEGS["grey"]).frame
    assert frame.grid_wh(frame.components, 7 * 5) == (7, 5)
    assert frame.grid_wh(frame.components, 8000) == (8000, 1)
    assert frame.grid_wh(frame.components, 65_534) == (4681, 14)
    with pytest.raises(ValueError, match="intervals of 65521 units"):
        frame.grid_wh(frame.components, 65_521)


@pytest.mark.parametrize("marker", [0xC0, 0xDA])
def test_a_jpeg_without_frame_or_scan_has_no_structure(marker: int) -> None:
    with pytest.raises(ValueError, match=r"no frame|no pixels"):
        walk(without_segment(JPEGS["plain"], marker))


def test_a_jpeg_without_end_has_no_structure() -> None:
    with pytest.raises(ValueError, match="no end of image"):
        walk(JPEGS["plain"][:-2])
