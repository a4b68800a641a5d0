"""Conversion of REST input to domain objects."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from distilpose.service.errors import InvalidOptions, InvalidRequest, TooLarge
from distilpose.service.intake import MOST_ID_CHARACTERS, OptionsBody, OptionsLimits
from distilpose.service.rest.request import Parsed, PoseBody, parse_query, read_json
from distilpose.service.settings import Settings

T = TypeVar("T")
LIMITS = OptionsLimits(max_images=3, max_people=5)
LARGER = OptionsLimits(max_images=32, max_people=50)
IMAGE = '{"content": "AAAA"}'


async def read(body: str | bytes, limits: OptionsLimits = LIMITS, *, size: int = 16_384) -> Parsed:
    """The images and options of a body that arrives in pieces of that size."""
    data = body.encode() if isinstance(body, str) else body

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), size):
            yield data[start : start + size]

    return await read_json(pieces(), limits)


def with_options(options: str) -> str:
    return f'{{"images": [{IMAGE}], "options": {options}}}'


def test_options_come_from_a_query() -> None:
    _, body = parse_query(
        [("flip_test", "true"), ("min_box_score", "0.5"), ("boxes", "[[[1, 2, 3, 4]]]")], LIMITS
    )
    options = body.resolve(Settings(), images=1)
    assert options.flip_test
    assert options.min_box_score == 0.5
    assert options.boxes is not None
    np.testing.assert_array_equal(options.boxes[0], [[1, 2, 3, 4]])


@pytest.mark.parametrize("text", ["0", "0.5"])
async def test_a_threshold_is_read_from_every_kind_of_body(text: str) -> None:
    _, in_query = parse_query([("min_keypoint_score", text)], LIMITS)
    _, in_body = await read(with_options(f'{{"min_keypoint_score": {text}}}'))
    for body in (in_query, in_body):
        assert body.min_keypoint_score == float(text)


def test_ellipses_are_asked_for_in_a_query() -> None:
    assert parse_query([("draw_sigma", "true")], LIMITS)[1].draw_sigma
    assert not parse_query([], LIMITS)[1].draw_sigma


def test_a_query_may_have_the_image_s_id() -> None:
    assert parse_query([("id", "139"), ("flip_test", "1")], LIMITS)[0] == "139"
    assert parse_query([("flip_test", "1")], LIMITS)[0] is None


@pytest.mark.parametrize("size", [1, 10, 16_384])
async def test_images_and_options_come_in_any_order(size: int) -> None:
    content = base64.b64encode(b"photo").decode()
    images = json.dumps(
        [{"content": content}, {"id": "b", "content": content}, {"id": 7, "content": ""}]
    )
    for body in (
        f'{{"images": {images}, "options": {{"flip_test": true}}}}',
        f' {{ "options" : {{ "flip_test" : true }} , "images" : {images} }} ',
    ):
        found, options = await read(body, size=size)
        assert [(image.content, image.id) for image in found] == [
            (b"photo", None),
            (b"photo", "b"),
            (b"", 7),
        ]
        assert options.flip_test


@pytest.mark.parametrize("size", [1, 16_384])
async def test_a_data_url_in_lines_is_an_image(size: int) -> None:
    content = json.dumps(f"data:image/jpeg;base64,{base64.encodebytes(bytes(300)).decode()}")
    [image], _ = await read(f'{{"images": [{{"content": {content}}}]}}', size=size)
    assert image.content == bytes(300)


async def test_slashes_of_base64_may_be_escaped() -> None:
    sent = bytes([255] * 300)
    content = base64.b64encode(sent).decode().replace("/", "\\/").replace("+", "\\u002b")
    [image], _ = await read(f'{{"images": [{{"content": "{content}"}}]}}', size=7)
    assert image.content == sent


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("", InvalidRequest, "not JSON: it ends too early at byte 0"),
        ("[]", InvalidRequest, "the body: expected an object"),
        ("{}", InvalidRequest, "images: Field required"),
        ('{"images": {}}', InvalidRequest, "images: expected an array"),
        ('{"images": []}', InvalidRequest, "images: expected at least one image"),
        ('{"images": [1]}', InvalidRequest, "images.0: expected an object"),
        ('{"images": [{}]}', InvalidRequest, "images.0.content: Field required"),
        ('{"images": [{"content": null}]}', InvalidRequest, "images.0.content: expected a string"),
        (
            '{"images": [{"content": "!"}]}',
            InvalidRequest,
            "images.0.content: not base64: '!' at character 0",
        ),
        (f'{{"images": [{IMAGE}, {{"content": "AA AA"}}]}}', InvalidRequest, "images.1.content: "),
        ('{"images": [{"url": 1}]}', InvalidRequest, "images.0.url: Extra inputs"),
        ('{"images": [{"content": "", "id": true, "id": 1}]}', InvalidRequest, "id: given twice"),
        ('{"images": [{"content": "", "content": ""}]}', InvalidRequest, "content: given twice"),
        (f'{{"images": [{IMAGE}], "images": []}}', InvalidRequest, "images: given twice"),
        (f'{{"images": [{IMAGE}], "no": []}}', InvalidRequest, "no: Extra inputs"),
        (f'{{"images": [{IMAGE}]}} 1', InvalidRequest, "expected the end at byte 34"),
        (f'{{"images": [{IMAGE}', InvalidRequest, "ends too early"),
        (f'{{"images": [{",".join([IMAGE] * 4)}', TooLarge, "more than 3 images"),
        (with_options("null"), InvalidOptions, "options: "),
        (with_options("[]"), InvalidOptions, "options: "),
        (with_options('{"x": 1}'), InvalidOptions, "options.x: Extra inputs"),
        (with_options('{"max_people": "many"}'), InvalidOptions, "options.max_people"),
        (with_options('{"boxes": [[[1]]]}'), InvalidOptions, "options.boxes.0.0: "),
        (with_options('{"boxes": [}'), InvalidRequest, "ends too early"),
        (with_options('{"boxes": [}]}'), InvalidRequest, "options: Invalid JSON"),
    ],
)
@pytest.mark.parametrize("size", [1, 16_384])
async def test_a_fault_is_named(body: str, kind: type[Exception], words: str, size: int) -> None:
    with pytest.raises(kind) as refusal:
        await read(body, size=size)
    assert type(refusal.value) is kind
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    "value", ['"x"', "7", "null", '"\\ud83d\\ude00"', f'"{"é" * MOST_ID_CHARACTERS}"']
)
async def test_an_id_is_a_text_or_a_number(value: str) -> None:
    [image], _ = await read(f'{{"images": [{{"id": {value}, "content": "AAAA"}}]}}')
    assert image.id == json.loads(value)


@pytest.mark.parametrize(
    "value",
    ["[]", "{}", "1.5", "nul", '"\\ud800"', "9" * 5000, "[" * 50, f'"{"x" * 7000}"'],
)
async def test_another_id_is_refused(value: str) -> None:
    with pytest.raises((InvalidRequest, TooLarge), match=r"^images\.0\.id") as refusal:
        await read(f'{{"images": [{{"id": {value}, "content": "AAAA"}}]}}')
    assert len(refusal.value.detail) < 500


async def test_of_an_option_given_twice_in_json_the_last_counts() -> None:
    _, options = await read(with_options('{"max_people": 1, "max_people": 2}'))
    assert options.max_people == 2


@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize("kind", [float, str])
async def test_as_many_boxes_as_may_be_asked_for_fit(indent: int | None, kind: type) -> None:
    box = [kind(v) for v in (0.1 + 0.2, 1 / 3, 1000 / 3, 2000 / 3)]
    boxes = [[box] * LARGER.max_people] * LARGER.max_images
    images = [{"content": "AAAA"}] * LARGER.max_images
    sent = json.dumps({"options": {"boxes": boxes}, "images": images}, indent=indent)
    _, options = await read(sent, LARGER)
    assert options.boxes is not None
    assert sum(map(len, options.boxes)) == LARGER.boxes


HOSTILE = {
    "boxes that are none": '{"boxes": [' + "[]," * 40_000,
    "numbers for boxes": '{"boxes": [[' + "1," * 80_000,
    "wrong boxes": '{"boxes": [[' + "[1,2,3]," * 20_000,
    "boxes in boxes": '{"boxes": ' + "[" * 80_000,
    "objects in objects": '{"x":' * 30_000,
    "many options": "{" + "".join(f'"n{i}": 1,' for i in range(16_000)),
    "a long name": '{"' + "n" * 600_000,
    "a long number": '{"max_people": ' + "1" * 600_000,
    "a long text": '{"format": "' + "x" * 600_000,
    "blanks": "{" + " " * 600_000,
    "no options": '"' * 600_000,
}
"""Beginnings of options, each with more text than any options need."""


@pytest.mark.parametrize("name", HOSTILE)
async def test_too_much_text_is_refused_before_it_is_parsed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OptionsBody, "model_validate_json", lambda _: pytest.fail("parsed"))
    with pytest.raises((InvalidRequest, TooLarge)) as refusal:
        await read(with_options(HOSTILE[name]), LARGER)
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize("name", ["n" * 5_000_000, "é" * 200_000, "\\n" * 200_000])
@pytest.mark.parametrize("body", ['{{"{}": 1}}', '{{"images": [{{"{}": 1}}]}}'])
async def test_an_unknown_name_is_repeated_cut(name: str, body: str) -> None:
    with pytest.raises(InvalidRequest, match="Extra inputs are not permitted") as refusal:
        await read(body.format(name))
    assert len(refusal.value.detail) < 300


async def test_an_unknown_option_is_repeated_cut() -> None:
    with pytest.raises(InvalidOptions, match="Extra inputs are not permitted") as refusal:
        await read(with_options(json.dumps({"n" * 7_000: 1, **{f"{i}": 1 for i in range(60)}})))
    assert len(refusal.value.detail) < 1000


@pytest.mark.parametrize(
    ("items", "kind", "words"),
    [
        ([("x" * 5000, "1")], InvalidOptions, "x…: Extra inputs are not permitted"),
        ([("flip_test", "1")] * 2, InvalidOptions, "flip_test: given twice"),
        ([("id", "1")] * 2, InvalidOptions, "id: given twice"),
        ([("boxes", "[[1,2]]")], InvalidOptions, "boxes.0.0"),
        ([("boxes", '[[]], "flip_test": 1, "x": 1')], InvalidOptions, "x: Extra"),
        ([("boxes", "[" * 10_000)], TooLarge, "options: more text than"),
        ([("boxes", "1" * 100_000)], TooLarge, "options: more text than"),
    ],
)
def test_a_wrong_query_is_refused(
    items: list[tuple[str, str]], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as refusal:
        parse_query(items, LIMITS)
    assert words in str(refusal.value)
    assert len(str(refusal.value)) < 500


async def test_a_message_never_repeats_the_content() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await read(b'{"images": [{"content": 12345678}]}')
    assert "12345678" not in refusal.value.detail


@given(st.binary(max_size=200), st.integers(1, 50))
async def test_rubbish_is_refused_and_nothing_else(body: bytes, size: int) -> None:
    with pytest.raises((InvalidRequest, InvalidOptions)):
        await read(body, size=size)


NAMES = st.sampled_from(["images", "options", "content", "id", "boxes", "flip_test", "x"])
LEAVES: st.SearchStrategy[object] = st.sampled_from(
    [None, True, 0, 1.5, "", "AAAA", "AA==", "A", [], {}, [[]], [[[0, 0, 1, 1]]]]
)
MEMBERS = st.dictionaries(NAMES, LEAVES, max_size=3)
PICTURES = st.fixed_dictionaries({"content": LEAVES}, optional={"id": LEAVES}) | MEMBERS
BODIES = MEMBERS | st.fixed_dictionaries(
    {"images": st.lists(PICTURES, max_size=4)}, optional={"options": MEMBERS}
)


@given(BODIES)
async def test_what_is_accepted_is_what_the_description_accepts(document: object) -> None:
    text = json.dumps(document)
    described = await outcome(validated(text))
    found = await outcome(read(text))
    if isinstance(found, TooLarge):
        assert "more than 3 images" in found.detail
    elif isinstance(found, InvalidRequest):
        assert isinstance(described, ValidationError) or "base64" in found.detail
    else:
        assert isinstance(described, PoseBody)
        assert isinstance(found, tuple)
        images, options = found
        assert options == described.options
        assert [image.id for image in images] == [image.id for image in described.images]
        assert [image.content for image in images] == [
            base64.b64decode(image.content) for image in described.images
        ]


async def validated(text: str) -> PoseBody:
    return PoseBody.model_validate_json(text)


async def outcome(reading: Awaitable[T]) -> T | Exception:
    try:
        return await reading
    except (ValidationError, InvalidRequest, TooLarge) as err:
        return err
