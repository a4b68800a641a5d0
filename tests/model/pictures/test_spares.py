"""Spare bytes after the pixels of a restart interval: harmless ones do not count."""

from collections.abc import Callable

import numpy as np
import pytest

import odd_jpegs
from distilpose.model.errors import Undecodable
from distilpose.model.pictures.scans import walk
from distilpose.model.pictures.spares import MAX_INTERVALS, without_spare_bytes
from odd_images import encode, read
from odd_jpegs import ARITHMETIC, JPEGS, interval_ends, with_bytes

HUFFMAN = [name for name in JPEGS if name not in ARITHMETIC]
OTHERS = b"\x5a\xa7\x01\x3c\x99\x42\x66"
PLACES: dict[str, Callable[[list[int]], list[int]]] = {
    "before every marker": lambda ends: ends,
    "before one marker": lambda ends: [ends[len(ends) // 2]],
    "before the end of the image": lambda ends: ends[-1:],
}
HARMLESS = {
    "a zero": lambda _: b"\0",
    "four others": lambda _: OTHERS[:4],
    "eight zeros": lambda _: bytes(8),
    "a hundred zeros": lambda _: bytes(100),
    "ones": lambda _: b"\xff\0" * 20,
    "fill bytes": lambda _: b"\xff" * 5,
    "ones and fill bytes": lambda _: b"\0\xff\0\0\xff\xff\0" * 3 + b"\xff",
    "ever more": lambda number: bytes(number % 7) + OTHERS[: number % 3],
}


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("name", HUFFMAN)
def test_spare_bytes_do_not_count(name: str, where: str) -> None:
    jpeg = JPEGS[name]
    places = PLACES[where](interval_ends(jpeg))
    for what, added in HARMLESS.items():
        odd = with_bytes(jpeg, places, added)
        if what == "ever more":
            odd = with_bytes(jpeg, places, lambda number: OTHERS[: number % 5])
        np.testing.assert_array_equal(read(odd), read(jpeg), err_msg=what)


@pytest.mark.parametrize("name", ARITHMETIC)
def test_spare_zeros_of_an_arithmetic_jpeg_do_not_count(name: str) -> None:
    jpeg = JPEGS[name]
    for places in (interval_ends(jpeg), interval_ends(jpeg)[-1:]):
        for zeros in (1, 8, 100):
            odd = with_bytes(jpeg, places, lambda _, zeros=zeros: bytes(zeros))  # type: ignore[misc]
            np.testing.assert_array_equal(read(odd), read(jpeg))


@pytest.mark.parametrize("name", JPEGS)
def test_a_longer_run_of_other_bytes_is_refused(name: str) -> None:
    jpeg = JPEGS[name]
    ends = interval_ends(jpeg)
    for added in (OTHERS * 3, OTHERS + bytes(30)):
        for places in (ends[:1], ends[-1:], ends):
            with pytest.raises(Undecodable, match=r"bytes too many|extraneous bytes"):
                read(with_bytes(jpeg, places, lambda _, added=added: added))  # type: ignore[misc]


def test_five_other_bytes_before_a_restart_marker_are_refused_by_number() -> None:
    jpeg = JPEGS["rows"]
    with pytest.raises(Undecodable, match="5 bytes too many before a restart or end marker"):
        read(with_bytes(jpeg, interval_ends(jpeg)[:1], lambda _: OTHERS[:5]))


def test_the_spare_bytes_of_each_interval_are_found() -> None:
    jpeg = JPEGS["units"]
    odd = with_bytes(jpeg, interval_ends(jpeg), lambda number: bytes(number % 5))
    warning = "Corrupt JPEG data: 3 extraneous bytes before marker 0xd4"
    assert without_spare_bytes(walk(odd), warning) == walk(jpeg).tidied({})


def test_a_warning_of_damage_is_raised() -> None:
    warning = "Corrupt JPEG data: bad Huffman code"
    with pytest.raises(ValueError, match=warning):
        without_spare_bytes(walk(JPEGS["rows"]), warning)


def test_damage_that_the_warning_does_not_tell_is_found() -> None:
    jpeg = JPEGS["rows"]
    end = interval_ends(jpeg)[1]
    with pytest.raises(ValueError, match="premature end of data segment"):
        without_spare_bytes(walk(jpeg[: end - 3] + jpeg[end:]), "9 extraneous bytes before marker")


def test_spare_bytes_in_endless_intervals_are_refused() -> None:
    picture = np.zeros((1120, 1152), np.uint8)
    jpeg = encode(picture, "jpeg", restart_marker_blocks=1)
    ends = interval_ends(jpeg)
    assert len(ends) > MAX_INTERVALS
    with pytest.raises(Undecodable, match=f"more than {MAX_INTERVALS} restart intervals"):
        read(with_bytes(jpeg, ends[:1], lambda _: bytes(9)))


@pytest.mark.parametrize("rows", [17, 23])
def test_long_intervals_fit_too(rows: int) -> None:
    """A row of 400 units of 16 pixels, times a prime, is longer than the widest JPEG."""
    picture = np.resize(odd_jpegs.scene(), (rows * 2 * 16, 6400, 3))
    jpeg = encode(picture, "jpeg", restart_marker_rows=rows)
    [first, last] = interval_ends(jpeg)
    odd = with_bytes(jpeg, [first, last], lambda _: b"\0\x55")
    np.testing.assert_array_equal(read(odd), read(jpeg))


def test_an_interval_of_more_units_than_a_restart_interval_may_have_fits_too() -> None:
    picture = np.resize(odd_jpegs.scene()[..., 0], (2064, 2064))
    jpeg = encode(picture, "jpeg")
    odd = with_bytes(jpeg, interval_ends(jpeg), lambda _: bytes(64))
    np.testing.assert_array_equal(read(odd), read(jpeg))
