"""JPEGs that are cut, flipped or filled at random: a picture, or a refusal with the damage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilpose.model.arrays import check_image
from distilpose.model.errors import NotAccepted, TooManyPixels, Undecodable
from odd_images import read
from odd_jpegs import ARITHMETIC, JPEGS, interval_ends, with_bytes

NAMES = st.sampled_from(sorted(JPEGS))
CI_CASES, SLOW_CASES = 200, 5000


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A JPEG with flipped bits, lost bytes and inserted ones."""
    jpeg = bytearray(JPEGS[draw(NAMES)])
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(jpeg) - 1))
        match draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip":
                jpeg[place] ^= draw(st.integers(1, 255))
            case "cut":
                del jpeg[place : place + draw(st.integers(1, 40))]
            case _:
                jpeg[place:place] = draw(st.binary(min_size=1, max_size=20))
        if not jpeg:
            break
    return bytes(jpeg)


def check_damaged(jpeg: bytes) -> None:
    refused = ""
    try:
        check_image(read(jpeg))
    except (Undecodable, NotAccepted, TooManyPixels) as refusal:
        refused = str(refusal)
    assert "its structure is broken" not in refused


def check_cut(name: str, where: float) -> None:
    jpeg = JPEGS[name]
    with pytest.raises(Undecodable):
        read(jpeg[: int(where * len(jpeg))])


@st.composite
def spared(draw: st.DrawFn) -> tuple[str, bytes]:
    """A JPEG with harmless bytes at the ends of some intervals, and its name."""
    name = draw(NAMES)
    filling = st.integers(0, 60).map(bytes)
    if name not in ARITHMETIC:
        others = st.lists(st.integers(1, 254), max_size=4).map(bytes)
        filling = filling | others | st.integers(1, 9).map(b"\xff\0".__mul__)
    ends = interval_ends(JPEGS[name])
    chosen = draw(st.sets(st.sampled_from(ends), min_size=1))
    added = [draw(filling) for _ in chosen]
    return name, with_bytes(JPEGS[name], chosen, added.__getitem__)


def check_spared(case: tuple[str, bytes]) -> None:
    name, jpeg = case
    np.testing.assert_array_equal(read(jpeg), read(JPEGS[name]))


FAST = settings(max_examples=CI_CASES, deadline=None, derandomize=True)
SLOW = settings(max_examples=SLOW_CASES, deadline=None)
WHERE = st.floats(0, 1, exclude_max=True)


@given(jpeg=damaged())
@FAST
def test_a_damaged_jpeg_is_an_image_or_refused_by_its_damage(jpeg: bytes) -> None:
    check_damaged(jpeg)


@given(name=NAMES, where=WHERE)
@FAST
def test_a_cut_jpeg_is_refused(name: str, where: float) -> None:
    check_cut(name, where)


@given(case=spared())
@FAST
def test_harmless_bytes_at_any_ends_do_not_count(case: tuple[str, bytes]) -> None:
    check_spared(case)


@pytest.mark.slow
@given(jpeg=damaged())
@SLOW
def test_many_damaged_jpegs_are_images_or_refused_by_their_damage(jpeg: bytes) -> None:
    check_damaged(jpeg)


@pytest.mark.slow
@given(name=NAMES, where=WHERE)
@SLOW
def test_many_cut_jpegs_are_refused(name: str, where: float) -> None:
    check_cut(name, where)


@pytest.mark.slow
@given(case=spared())
@SLOW
def test_many_harmless_bytes_at_any_ends_do_not_count(case: tuple[str, bytes]) -> None:
    check_spared(case)
