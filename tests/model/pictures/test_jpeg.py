"""Whole JPEGs are decoded whatever libjpeg says of their oddities; damaged ones are refused."""

import re
import struct

import numpy as np
import pytest
import simplejpeg
from PIL import Image

import odd_jpegs
from distilpose.model.errors import Undecodable
from distilpose.model.formats import MAX_PIXELS
from distilpose.model.pictures.encoded import decode
from distilpose.model.pictures.headers import read_header
from distilpose.model.pictures.scaled import FACTORS
from odd_images import Picture, encode, exif, read
from odd_jpegs import JPEGS, SEQUENTIAL, interval_ends, segment, with_bytes, with_scan_numbers
from photos import photo

PLAIN = JPEGS["rows"]
AFTER_JFIF = 20
WARNINGS = r"extraneous|Invalid SOS|unknown JFIF|Unknown Adobe|bad ICC"
ICC = b"ICC_PROFILE\0"
ADOBE = b"Adobe\0\x64\0\0\0\0"


def assert_same(odd: bytes, plain: bytes) -> None:
    """The odd file, of which libjpeg warns, has the very pixels of the plain one."""
    with pytest.raises(ValueError, match=WARNINGS):
        simplejpeg.decode_jpeg(odd)
    np.testing.assert_array_equal(read(odd), read(plain))


def after_jfif(jpeg: bytes, added: bytes) -> bytes:
    assert jpeg[6:10] == b"JFIF"
    return jpeg[:AFTER_JFIF] + added + jpeg[AFTER_JFIF:]


def without_jfif(jpeg: bytes, instead: bytes = b"") -> bytes:
    assert jpeg[6:10] == b"JFIF"
    return jpeg[:2] + instead + jpeg[AFTER_JFIF:]


# The header of a scan.


@pytest.mark.parametrize(
    "numbers", [b"\0\0\0", b"\0\x3e\0", b"\x01\x3f\0", b"\0\x3f\x33", b"\xff\xff\xff"]
)
@pytest.mark.parametrize("name", SEQUENTIAL)
def test_the_numbers_of_a_sequential_scan_do_not_count(name: str, numbers: bytes) -> None:
    assert_same(with_scan_numbers(JPEGS[name], numbers), JPEGS[name])


def test_the_numbers_of_a_later_scan_do_not_count_either() -> None:
    jpeg = JPEGS["scan for each component"]
    odd = bytearray(jpeg)
    _, start = odd_jpegs.scans(jpeg)[1]
    odd[start - 1] = 0x11
    assert_same(bytes(odd), jpeg)


def test_numbers_of_a_progressive_scan_that_cannot_be_are_refused() -> None:
    with pytest.raises(Undecodable, match="progressive"):
        read(with_scan_numbers(JPEGS["progressive"], b"\0\0\x33"))


# JFIF, Adobe and profiles.


@pytest.mark.parametrize("revision", [b"\0\0", b"\2\1", b"\xff\xff"])
def test_the_revision_of_jfif_does_not_count(revision: bytes) -> None:
    assert_same(PLAIN[:11] + revision + PLAIN[13:], PLAIN)


@pytest.mark.parametrize("transform", [2, 7, 255])
def test_an_unknown_transform_of_adobe_is_taken_for_the_usual_one(transform: int) -> None:
    known, odd = (without_jfif(PLAIN, segment(0xEE, ADOBE + bytes([n]))) for n in (1, transform))
    assert_same(odd, known)


@pytest.mark.parametrize("transform", [1, 7])
def test_so_it_is_with_ink(transform: int) -> None:
    ycck = JPEGS["YCCK"]
    assert ADOBE + b"\2" in ycck
    assert_same(ycck.replace(ADOBE + b"\2", ADOBE + bytes([transform])), ycck)


def test_a_transform_that_is_known_counts() -> None:
    rgb, ycc = (without_jfif(PLAIN, segment(0xEE, ADOBE + bytes([n]))) for n in (0, 1))
    assert (read(rgb) != read(ycc)).mean() > 0.5


PROFILES = {
    "a part is missing": [(1, 2)],
    "a part comes twice": [(1, 2), (1, 2)],
    "a number is too high": [(3, 2)],
    "a number is 0": [(0, 1)],
    "there are 0 parts": [(1, 0)],
    "the parts count differently": [(1, 2), (2, 3)],
    "the parts are in disorder": [(2, 2), (1, 2)],
}


@pytest.mark.parametrize("fault", PROFILES)
def test_a_broken_profile_does_not_count(fault: str) -> None:
    parts = [ICC + bytes(numbers) + b"profile" for numbers in PROFILES[fault]]
    odd = after_jfif(PLAIN, b"".join(segment(0xE2, part) for part in parts))
    np.testing.assert_array_equal(read(odd), read(PLAIN))


# Bytes between segments.


@pytest.mark.parametrize(
    "spare", [b"\0", b"\0" * 600, b"odd!", b"\xff\0" * 9, b"\xff\xd0", b"\xd8"]
)
@pytest.mark.parametrize("name", ["rows", "progressive", "CMYK", "scan for each component"])
def test_bytes_between_segments_do_not_count(name: str, spare: bytes) -> None:
    jpeg = JPEGS[name]
    starts = [match.start() for match in re.finditer(rb"\xff[\xc0-\xc4\xda\xdb\xdd]", jpeg)]
    for places in (starts[:1], starts[1:2], starts[-1:], starts):
        np.testing.assert_array_equal(read(with_bytes(jpeg, places, lambda _: spare)), read(jpeg))


def test_bytes_before_the_first_segment_do_not_count() -> None:
    assert_same(PLAIN[:2] + b"spare" + PLAIN[2:], PLAIN)


def test_a_segment_that_is_longer_than_it_says_does_not_count() -> None:
    text = bytearray(segment(0xFE, b"a comment"))
    text[3] -= 2
    assert_same(after_jfif(PLAIN, bytes(text)), PLAIN)


def test_the_orientation_behind_spare_bytes_counts() -> None:
    turned = encode(odd_jpegs.scene(), "jpeg", exif=exif(6))
    start = turned.index(b"\xff\xe1")
    assert_same(turned[:start] + b"spare" + turned[start:], turned)


def test_more_than_ten_thousand_bytes_between_segments_are_refused() -> None:
    with pytest.raises(Undecodable, match="more than 10000 bytes between segments"):
        read(after_jfif(PLAIN, bytes(10_001)))


# At once, and at reduced size.


def odd_in_every_way(jpeg: bytes) -> bytes:
    """The JPEG with odd numbers and revision, a broken profile, and bytes wherever they may be."""
    jpeg = with_bytes(jpeg, interval_ends(jpeg), lambda number: bytes(number % 3))
    jpeg = with_scan_numbers(jpeg, b"\0\0\0")
    jpeg = jpeg[:11] + b"\2\1" + jpeg[13:]
    return after_jfif(jpeg, b"spare" + segment(0xE2, ICC + b"\2\3profile") + b"\0")


@pytest.mark.parametrize("name", [name for name in SEQUENTIAL if name not in {"CMYK", "YCCK"}])
def test_all_oddities_together_do_not_count(name: str) -> None:
    assert_same(odd_in_every_way(JPEGS[name]), JPEGS[name])


@pytest.mark.parametrize("factor", FACTORS)
def test_an_odd_jpeg_is_decoded_smaller_too(factor: int) -> None:
    def smaller(data: bytes) -> Picture:
        return decode(data, read_header(data, max_pixels=MAX_PIXELS), factor=factor)

    np.testing.assert_array_equal(smaller(odd_in_every_way(PLAIN)), smaller(PLAIN))


def test_of_two_odd_pictures_in_a_file_the_first_counts() -> None:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    mpo = encode(first, "mpo", save_all=True, append_images=[second])
    odd = with_bytes(mpo, [interval_ends(mpo)[0]], lambda _: bytes(40))
    assert_same(odd, mpo)
    np.testing.assert_allclose(read(odd)[8, 8], [255, 0, 0], atol=2)


def test_a_photo_with_a_height_after_its_pixels_as_well_is_decoded() -> None:
    height = segment(0xDC, struct.pack(">H", odd_jpegs.SIZE_WH[1]))
    [end] = interval_ends(JPEGS["plain"])
    odd = with_bytes(JPEGS["plain"], [end], lambda _: height)
    np.testing.assert_array_equal(read(odd), read(JPEGS["plain"]))


# Damage.


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_without_its_end_is_refused(name: str) -> None:
    jpeg = JPEGS[name]
    for kept in (jpeg[:-1], jpeg[:-2], jpeg[:-2] + bytes(9)):
        with pytest.raises(Undecodable, match=r"Premature end of JPEG file|no end of image"):
            read(kept)


def test_an_odd_jpeg_without_its_end_is_refused() -> None:
    with pytest.raises(Undecodable, match="no end of image: the file is truncated"):
        read(with_scan_numbers(PLAIN, b"\0\0\0")[:-2])


NOT_NOTICED = {"arithmetic", "arithmetic progressive"}


@pytest.mark.parametrize("name", [name for name in JPEGS if name not in NOT_NOTICED])
def test_an_interval_that_ends_too_early_is_refused(name: str) -> None:
    jpeg = JPEGS[name]
    ends = interval_ends(jpeg)
    for end in (ends[0], ends[len(ends) // 2], ends[-1]):
        with pytest.raises(Undecodable, match="premature end of data segment"):
            read(jpeg[: end - 1] + jpeg[end:])


def with_bad_code(jpeg: bytes, end: int) -> bytes:
    """The JPEG with ones only in 16 bits of an interval, which no Huffman table may have."""
    return jpeg[: end - 20] + b"\xff\0" * 8 + jpeg[end - 4 :]


def test_a_bad_code_is_refused() -> None:
    with pytest.raises(Undecodable, match="bad Huffman code"):
        read(with_bad_code(JPEGS["optimised"], interval_ends(JPEGS["optimised"])[0]))


@pytest.mark.parametrize("marker", [0xD3, 0xE5, 0x01])
def test_a_marker_where_none_belongs_is_refused(marker: int) -> None:
    middle = interval_ends(JPEGS["plain"])[0] - 200
    for jpeg in (JPEGS["plain"], with_scan_numbers(JPEGS["plain"], b"\0\0\0")):
        with pytest.raises(Undecodable, match=r"premature end of data segment|no end of image"):
            read(jpeg[:middle] + bytes([0xFF, marker]) + jpeg[middle:])


def test_a_restart_marker_with_a_wrong_number_is_refused() -> None:
    end = interval_ends(PLAIN)[0]
    assert PLAIN[end : end + 2] == b"\xff\xd0"
    with pytest.raises(Undecodable, match="found marker 0xd3 instead of RST0"):
        read(PLAIN[: end + 1] + b"\xd3" + PLAIN[end + 2 :])


def test_a_restart_marker_that_is_missing_is_refused() -> None:
    end = interval_ends(PLAIN)[0]
    with pytest.raises(Undecodable, match="2 restart intervals where 3 belong"):
        read(PLAIN[:end] + PLAIN[end + 2 :])


def test_damage_behind_or_before_something_harmless_is_refused() -> None:
    first, *_, last = interval_ends(PLAIN)
    spare_first = with_bytes(PLAIN, [first], lambda _: bytes(20))
    damaged_last = spare_first[: last + 19] + spare_first[last + 20 :]
    damaged_first = PLAIN[: first - 1] + PLAIN[first:last] + bytes(20) + PLAIN[last:]
    for jpeg in (damaged_last, damaged_first, with_scan_numbers(damaged_first, b"\0\0\0")):
        with pytest.raises(Undecodable, match="premature end of data segment"):
            read(jpeg)


def test_a_photo_that_is_odd_and_damaged_is_refused() -> None:
    data = photo("bus.jpg")
    [end] = interval_ends(data)
    cut = data[: end // 2] + data[end // 2 + 4000 :]
    for odd in (with_scan_numbers(cut, b"\0\0\0"), cut[:-2] + bytes(30) + cut[-2:]):
        with pytest.raises(Undecodable, match="Corrupt JPEG data"):
            read(odd)


def test_a_height_that_comes_only_after_the_pixels_is_refused() -> None:
    jpeg = bytearray(JPEGS["plain"])
    start = jpeg.index(b"\xff\xc0")
    jpeg[start + 5 : start + 7] = b"\0\0"
    with pytest.raises(Undecodable, match="height"):
        read(bytes(jpeg))
