"""Text from callers in messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilpose.service.printable import MOST_CHARACTERS, excerpt, printable

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize("text", ["", "flip_test", "Größe 人 😀", "two words"])
def test_what_is_printable_stays_as_it_is(text: str) -> None:
    assert printable(text) == excerpt(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r", r"a\nb\r"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x00\x7f\x9b", r"\x00\x7f\x9b"),
        ("\u202etxt", r"\u202etxt"),
        ("\u2028\u0085", r"\u2028\x85"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
    ids=["lines", "colour", "controls", "direction", "separators", "surrogate", "tag"],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANY_TEXT)
def test_any_text_is_printable_afterwards(text: str) -> None:
    assert printable(text).isprintable()
    printable(text).encode()


@given(ANY_TEXT, st.integers(1, 300))
def test_an_excerpt_is_printable_and_within_its_limit(text: str, most: int) -> None:
    shown = excerpt(text, most=most)
    assert shown.isprintable()
    assert len(shown) <= most


@pytest.mark.parametrize("text", ["x" * 201, "\x00" * 51])
def test_a_cut_is_marked(text: str) -> None:
    shown = excerpt(text)
    assert len(shown) == MOST_CHARACTERS
    assert shown.endswith("…")


def test_a_text_of_just_the_limit_is_not_cut() -> None:
    assert excerpt("x" * MOST_CHARACTERS) == "x" * MOST_CHARACTERS
