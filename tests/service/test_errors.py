"""The detail of a failure, as every protocol and the log show it."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilpose.service.errors import InvalidOptions, InvalidRequest, ServiceError, TooLarge
from distilpose.service.intake import OptionsLimits, options_from_json
from distilpose.service.rest.errors import problem
from distilpose.service.rest.request import parse_query, read_json
from distilpose.service.rpc.errors import status

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT)
def test_a_detail_is_printable_and_has_the_same_text_over_both_protocols(text: str) -> None:
    failure = InvalidRequest(text)
    assert failure.detail == str(failure)
    assert failure.detail.isprintable()
    assert json.loads(bytes(problem(failure).body))["detail"] == failure.detail
    assert status(failure).message == failure.detail


def test_a_detail_has_at_most_1000_characters() -> None:
    assert InvalidRequest("x" * 1000).detail == "x" * 1000
    assert len(InvalidRequest("x" * 1_000_000).detail) == 1000


LIMITS = OptionsLimits(max_images=4, max_people=4)


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    yield body


def refusal_of(name: str, *, way: str) -> ServiceError:
    """The error that an option of this name gets."""
    try:
        match way:
            case "query":
                parse_query([(name, "1")], LIMITS)
            case "twice":
                parse_query([("flip_test", "1"), ("flip_test", "1")], LIMITS)
            case "options":
                options_from_json(json.dumps({name: 1}).encode(), LIMITS)
            case "image":
                body = json.dumps({"images": [{"content": "", name: 1}]}).encode()
                asyncio.run(read_json(_pieces(body), LIMITS))
            case "body":
                body = json.dumps({"images": [{"content": "AAAA"}], "options": {name: 1}}).encode()
                asyncio.run(read_json(_pieces(body), LIMITS))
    except (InvalidRequest, TooLarge) as err:
        return err
    raise AssertionError(f"{name!r} was accepted")


@given(
    name=ANY_TEXT.map(lambda text: f"?{text}"),
    way=st.sampled_from(["query", "twice", "options", "image", "body"]),
)
def test_no_option_name_writes_more_than_itself_into_a_message(name: str, way: str) -> None:
    assert refusal_of(name, way=way).detail.isprintable()


def test_200_characters_of_a_long_option_name_are_shown() -> None:
    for way in ("query", "options", "body"):
        detail = refusal_of("x" * 5_000, way=way).detail
        assert detail.count("x" * 199 + "…") == 1
        assert "x" * 200 not in detail


@pytest.mark.parametrize("way", ["query", "options", "image", "body"])
def test_a_name_of_megabytes_does_not_come_back(way: str) -> None:
    assert len(refusal_of("x" * 4_000_000, way=way).detail) <= 1000


def test_an_unknown_option_is_still_named() -> None:
    detail = refusal_of("flip\x1btset", way="options").detail
    assert detail == r"flip\x1btset: Extra inputs are not permitted"
    assert isinstance(refusal_of("x", way="options"), InvalidOptions)
