"""Base64 as many tools write it, however it is cut."""

import base64
import textwrap
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilpose.service.rest.base64_text import Base64Text, NotBase64

SENT = bytes(range(256)) + b"\xfb\xff\xbf"  # its text has + and /
TEXT = base64.b64encode(SENT).decode()
CUTS = st.lists(st.integers(0, 2000), max_size=6)


def decoded(text: str, cuts: list[int] = []) -> bytes:  # noqa: B006 - read only
    """The bytes of a text that arrives in pieces, cut at those bytes."""
    data = text.encode()
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    decoder = Base64Text()
    for start, end in pairwise(bounds):
        decoder.add(data[start:end])
    return decoder.decoded()


def in_lines(text: str, end: str, width: int = 76) -> str:
    return "".join(f"{line}{end}" for line in textwrap.wrap(text, width))


WRITERS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "line breaks, as Android's default": lambda text: in_lines(text, "\n"),
    "line breaks of mail": lambda text: in_lines(text, "\r\n"),
    "line breaks of an old Mac": lambda text: in_lines(text, "\r", 60),
    "indented lines": lambda text: in_lines(f"  {text}", "\n    "),
    "lines with blanks at their ends": lambda text: in_lines(text, " \t\r\n"),
    "blanks around": lambda text: f" \n\t{text} ",
    "the URL-safe alphabet": lambda text: text.replace("+", "-").replace("/", "_"),
    "both alphabets": lambda text: text.replace("+", "-"),
    "escaped for a URL": lambda text: text.replace("+", "%2B").replace("/", "%2f"),
    "lines escaped for a URL": lambda text: in_lines(text, "%0D%0A").replace("=", "%3D"),
    "a data URL": lambda text: f"data:image/jpeg;base64,{text}",
    "a data URL with a parameter": lambda text: f"data:image/png;charset=utf-8;base64,{text}",
    "a data URL of a wrong type": lambda text: f"data:text/plain;base64,{text}",
    "a data URL of no type": lambda text: f"data:;base64,{text}",
    "a data URL with a name": lambda text: f"data:image/png;name=\N{SNOWMAN}.png;base64,{text}",
    "a data URL in capitals": lambda text: f"DATA:IMAGE/JPEG;BASE64,{text}",
    "a data URL with blanks": lambda text: f" data:image/jpeg; base64 , {text}",
    "a data URL in lines": lambda text: in_lines(f"data:image/jpeg;base64,{text}", "\n"),
}


@pytest.mark.parametrize("written", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("length", [255, 256, 257], ids=["no", "two", "one"])
def test_every_writer_s_base64_is_decoded_byte_by_byte(
    written: Callable[[str], str], length: int
) -> None:
    sent = SENT[-length:]
    text = base64.b64encode(sent).decode()
    assert text.count("=") == -length % 3
    for padded in (text, text.rstrip("=")):
        assert decoded(written(padded), list(range(2000))) == sent


@given(
    written=st.sampled_from([*WRITERS.values()]),
    sent=st.binary(max_size=300) | st.just(SENT),
    is_padded=st.booleans(),
    cuts=CUTS,
)
def test_base64_is_decoded_wherever_it_is_cut(
    written: Callable[[str], str], sent: bytes, is_padded: bool, cuts: list[int]
) -> None:
    text = base64.b64encode(sent).decode()
    assert decoded(written(text if is_padded else text.rstrip("=")), cuts) == sent


@given(
    written=st.sampled_from([*WRITERS.values()]),
    place=st.integers(0, len(TEXT) - 1),
    wrong=st.sampled_from("!{#\x00\N{EURO SIGN}"),
    cuts=CUTS,
)
def test_a_wrong_character_is_named_by_its_index_wherever_the_text_is_cut(
    written: Callable[[str], str], place: int, wrong: str, cuts: list[int]
) -> None:
    text = written(f"{TEXT[:place]}{wrong}{TEXT[place:]}")
    with pytest.raises(NotBase64) as refusal:
        decoded(text, cuts)
    assert str(refusal.value).endswith(f" at character {text.index(wrong)}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A", "a last group of only one character at character 1"),
        ("AAAAA", "only one character at character 5"),
        ("=", "padding of 1 where 0 belong at character 1"),
        ("AAAA=", "padding of 1 where 0 belong at character 5"),
        ("AA=", "padding of 1 where 2 belong at character 3"),
        ("AAA==", "padding of 2 where 1 belong at character 5"),
        ("AA==AAAA", "more after the padding at character 4"),
        ("AA==\nAAAA", "more after the padding at character 5"),
        ("AA AA", "a blank within a line (perhaps a decoded plus sign) at character 2"),
        ("AAAA\n \nAA\t  AA", "a blank within a line (perhaps a decoded plus sign) at character 9"),
        ("AA%20AA", "a blank within a line (perhaps a decoded plus sign) at character 2"),
        ("AAAA%2", "an escape that is cut at character 4"),
        ("AAAA%zz", "'%' at character 4"),
        ("AAAA%21", "'%21' at character 4"),
        ("b'AAAA'", '"\'" at character 1'),
        ("AA\N{SNOWMAN}A", "an unknown character at character 2"),
        ("data:image/jpeg,AAAA", "a data URL without `;base64,` at character 0"),
        ("data:image/jpeg;base64", "':' at character 4"),
        (f" data:{'x' * 300};base64,AAAA", "a data URL without `;base64,` at character 1"),
        ("data:;base64,data:;base64,AAAA", "':' at character 17"),
        ("data%3Aimage/png", "'%3A' at character 4"),
        ("https://example.com/photo.jpg", "':' at character 5"),
    ],
)
@pytest.mark.parametrize("cuts", [[], list(range(400))], ids=["whole", "in single bytes"])
def test_what_is_not_base64_is_refused_with_its_place(
    text: str, words: str, cuts: list[int]
) -> None:
    with pytest.raises(NotBase64) as refusal:
        decoded(text, cuts)
    assert words in str(refusal.value)


def test_nothing_stands_for_nothing() -> None:
    assert decoded("") == decoded(" \n") == decoded("data:image/png;base64,") == b""
