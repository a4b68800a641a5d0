"""Conversion of REST input to domain objects."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilpose.service.errors import InvalidOptions, InvalidRequest
from distilpose.service.rest.request import parse_body, parse_options_json, parse_options_query
from distilpose.service.settings import Settings


def test_options_come_from_a_query() -> None:
    body = parse_options_query(
        [("flip_test", "true"), ("min_box_score", "0.5"), ("boxes", "[[[1, 2, 3, 4]]]")]
    )
    options = body.resolve(Settings(), images=1)
    assert options.flip_test
    assert options.min_box_score == 0.5
    assert options.boxes is not None
    np.testing.assert_array_equal(options.boxes[0], [[1, 2, 3, 4]])


def test_options_come_from_json() -> None:
    assert parse_options_json('{"whole_image": true}').whole_image


@pytest.mark.parametrize("text", ["0", "0.5"])
def test_a_threshold_is_read_from_every_kind_of_body(text: str) -> None:
    in_query = parse_options_query([("min_keypoint_score", text)])
    in_part = parse_options_json(f'{{"min_keypoint_score": {text}}}')
    _, in_body = parse_body(
        f'{{"images": [{{"content": ""}}], "options": {{"min_keypoint_score": {text}}}}}'.encode()
    )
    for body in (in_query, in_part, in_body):
        assert body.min_keypoint_score == float(text)


def test_a_threshold_of_null_in_json_is_an_absent_one() -> None:
    body = parse_options_json('{"min_box_score": null, "min_keypoint_score": null}')
    options = body.resolve(Settings(), images=1)
    assert (options.min_box_score, options.min_keypoint_score) == (0.25, 0.3)


def test_ellipses_are_asked_for_in_a_query() -> None:
    assert parse_options_query([("draw_sigma", "true")]).draw_sigma
    assert not parse_options_query([]).draw_sigma


@pytest.mark.parametrize("text", ["{", '{"x": 1}', '{"max_people": "many"}', "null", ""])
def test_wrong_options_are_refused(text: str) -> None:
    with pytest.raises(InvalidOptions):
        parse_options_json(text)


def test_a_message_never_repeats_the_content() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse_body(b'{"images": [{"content": 12345678}]}')
    assert "12345678" not in refusal.value.detail


@given(st.binary(max_size=200))
def test_rubbish_is_refused_and_nothing_else(body: bytes) -> None:
    with pytest.raises((InvalidRequest, InvalidOptions)):
        parse_body(body)
