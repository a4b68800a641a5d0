"""JSON that is read in pieces, however it is cut."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilpose.service.errors import InvalidRequest
from distilpose.service.rest.base64_text import NotBase64
from distilpose.service.rest.json_text import MOST_NAME_BYTES, JsonText, TooMuchText

BLANK = st.text(" \t\r\n", max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
SIZES = st.integers(1, 9)


async def cut(text: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


def written(value: object, blank: str, *, ascii_only: bool) -> bytes:
    separators = (f"{blank},{blank}", f"{blank}:{blank}")
    text = json.dumps(value, separators=separators, ensure_ascii=ascii_only)
    return f"{blank}{text}{blank}".encode()


async def read_object(text: JsonText) -> dict[str, Any]:
    assert await text.open("{")
    read = {}
    while await text.more():
        name = await text.name()
        read[name] = json.loads(await text.value(most_bytes=10_000, most_tokens=1000))
    await text.end()
    return read


@given(st.dictionaries(st.text(max_size=20), VALUES, max_size=4), BLANK, st.booleans(), SIZES)
async def test_every_object_is_read_as_it_was_written(
    sent: dict[str, Any], blank: str, ascii_only: bool, size: int
) -> None:
    text = JsonText(cut(written(sent, blank, ascii_only=ascii_only), size))
    assert await read_object(text) == sent


@given(st.lists(VALUES, max_size=4), BLANK, SIZES)
async def test_every_array_is_read_as_it_was_written(
    sent: list[Any], blank: str, size: int
) -> None:
    text = JsonText(cut(written(sent, blank, ascii_only=False), size))
    assert await text.open("[")
    read = []
    while await text.more():
        read.append(json.loads(await text.value(most_bytes=10_000, most_tokens=1000)))
    await text.end()
    assert read == sent


@given(st.binary(max_size=100), st.sampled_from(["", "/", "+/="]), SIZES)
async def test_base64_is_decoded_whatever_is_escaped(sent: bytes, escaped: str, size: int) -> None:
    content = base64.b64encode(sent).decode()
    for character in escaped:
        content = content.replace(character, f"\\u{ord(character):04x}")
    text = JsonText(cut(f'"{content.replace("/", chr(92) + "/")}"'.encode(), size))
    assert await text.base64() == sent
    await text.end()


@given(st.binary(max_size=200), st.sampled_from(["\n", "\r\n"]), st.booleans(), SIZES)
async def test_line_breaks_of_base64_may_be_escaped_or_not(
    sent: bytes, end: str, is_escaped: bool, size: int
) -> None:
    content = base64.encodebytes(sent).decode().replace("\n", end)
    written = json.dumps(content) if is_escaped else f'"{content}"'
    text = JsonText(cut(written.replace("/", "\\/").encode(), size))
    assert await text.base64() == sent
    await text.end()


@pytest.mark.parametrize("size", [1, 4, 100])
async def test_what_is_not_base64_is_refused_by_its_index_in_the_string(size: int) -> None:
    with pytest.raises(NotBase64, match="'!' at character 7"):
        await JsonText(cut(rb'"AA\/A\u000a\nA!AA"', size)).base64()


@pytest.mark.parametrize("text", [b"1", b"null", b"[]", b"{}", b"true"])
async def test_what_is_no_string_holds_no_base64(text: bytes) -> None:
    assert await JsonText(cut(text, 1)).base64() is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "ends too early at byte 1"),
        (b'{"a', "ends too early at byte 3"),
        (b'{"a" 1}', "expected a colon at byte 5"),
        (b'{"a": 1 "b": 2}', "not JSON"),
        (b'{"a": 1,}', "expected a name in quotes at byte 8"),
        (b"{a: 1}", "expected a name in quotes at byte 1"),
        (b'{"a": 1} x', "expected the end at byte 9"),
        (b'{"a": 1]', "expected a comma or }"),
        (b'{"\xff": 1}', "not a string at byte 1"),
        (b'{"\\ud800": 1}', "not a string at byte 1"),
        (b'{"\n": 1}', "not a string at byte 1"),
    ],
)
@pytest.mark.parametrize("size", [1, 100])
async def test_what_is_not_json_is_refused_by_its_place(text: bytes, words: str, size: int) -> None:
    with pytest.raises((InvalidRequest, json.JSONDecodeError)) as refusal:
        await read_object(JsonText(cut(text, size)))
    if isinstance(refusal.value, InvalidRequest):
        assert words in refusal.value.detail


@pytest.mark.parametrize("size", [100, 5000, 100_000])
@pytest.mark.parametrize("length", [MOST_NAME_BYTES - 2, 50_000])
async def test_a_long_name_is_read_no_further_than_its_limit(size: int, length: int) -> None:
    sent = f'{{"{"n" * length}": 1}}'.encode()
    text = JsonText(cut(sent, size))
    assert await text.open("{")
    assert await text.more()
    assert await text.name() == "n" * min(length, MOST_NAME_BYTES)


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ("[1,2]", True),
        ("[1,2,3]", False),
        ('["a,b"]', True),
        ("[[[[", False),
        ('"' + "x" * 18 + '"', True),
        ('"' + "x" * 19 + '"', False),
        ("1" * 20, True),
        ("1" * 21, False),
        (" " * 30 + "1", True),
        ("1" + " " * 30, False),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 100])
async def test_a_value_has_limits_of_bytes_and_tokens(value: str, fits: bool, size: int) -> None:
    text = JsonText(cut(f"[{value}]".encode(), size))
    assert await text.open("[")
    assert await text.more()
    if fits:
        found = await text.value(most_bytes=20, most_tokens=3)
        assert found == value.strip().encode()
    else:
        with pytest.raises(TooMuchText):
            await text.value(most_bytes=20, most_tokens=3)


@pytest.mark.parametrize("size", [100, 5000, 100_000])
async def test_a_string_within_a_value_has_a_limit(size: int) -> None:
    longest = b'"' + b"\\n" * 4095 + b'"'
    text = JsonText(cut(b"[[" + longest + b"]]", size))
    assert await text.open("[")
    assert await text.value(most_bytes=100_000, most_tokens=3) == b"[" + longest + b"]"
    text = JsonText(cut(b"[[" + longest.replace(b"n", b"nn", 1) + b"]]", size))
    assert await text.open("[")
    with pytest.raises(TooMuchText):
        await text.value(most_bytes=100_000, most_tokens=3)
