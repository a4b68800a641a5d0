"""What REST callers send, to domain objects."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilpose.service.errors import InvalidOptions, InvalidRequest, TooLarge
from distilpose.service.schemas_request import (
    OptionsBody,
    parse_body,
    parse_options_json,
    parse_options_query,
)
from distilpose.service.settings import DetectorSettings, LimitsSettings, Settings

SETTINGS = Settings(
    limits=LimitsSettings(max_people=5), detector=DetectorSettings(min_box_score=0.4)
)


def test_defaults_come_from_the_settings() -> None:
    options = OptionsBody().resolve(SETTINGS, images=1)
    assert (options.min_box_score, options.max_people) == (0.4, 5)
    assert not options.skips_detector


def test_a_zero_threshold_is_not_the_default() -> None:
    assert OptionsBody(min_box_score=0).resolve(SETTINGS, images=1).min_box_score == 0


def test_options_come_from_a_query() -> None:
    body = parse_options_query(
        [("flip_test", "true"), ("min_box_score", "0.5"), ("boxes", "[[[1, 2, 3, 4]]]")]
    )
    options = body.resolve(SETTINGS, images=1)
    assert options.flip_test
    assert options.min_box_score == 0.5
    assert options.boxes is not None
    np.testing.assert_array_equal(options.boxes[0], [[1, 2, 3, 4]])


def test_options_come_from_json() -> None:
    assert parse_options_json('{"whole_image": true}').whole_image


def test_an_image_may_be_given_no_boxes() -> None:
    options = OptionsBody(boxes=[[], [[0, 0, 1, 1]]]).resolve(SETTINGS, images=2)
    assert options.boxes is not None
    assert [boxes.shape for boxes in options.boxes] == [(0, 4), (1, 4)]


@pytest.mark.parametrize("text", ["{", '{"x": 1}', '{"max_people": "many"}', "null", ""])
def test_wrong_options_are_refused(text: str) -> None:
    with pytest.raises(InvalidOptions):
        parse_options_json(text)


def test_more_people_than_the_limit_are_refused() -> None:
    with pytest.raises(InvalidOptions, match="max_people: at most 5, got 6"):
        OptionsBody(max_people=6).resolve(SETTINGS, images=1)


def test_more_boxes_than_the_limit_are_too_large() -> None:
    with pytest.raises(TooLarge, match=r"boxes\[0\]: 6 boxes, the limit is 5"):
        OptionsBody(boxes=[[[0, 0, 1, 1]] * 6]).resolve(SETTINGS, images=1)


def test_a_message_never_repeats_the_content() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse_body(b'{"images": [{"content": 12345678}]}')
    assert "12345678" not in refusal.value.detail


@given(st.binary(max_size=200))
def test_rubbish_is_refused_and_nothing_else(body: bytes) -> None:
    with pytest.raises((InvalidRequest, InvalidOptions)):
        parse_body(body)
