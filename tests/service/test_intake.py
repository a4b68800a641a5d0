"""Options with the server's defaults, and the limit of images per request."""

import threading

import pytest

from distilpose.model.pictures.source import EncodedImage, RawFrame
from distilpose.service.errors import InvalidOptions, InvalidRequest, TooLarge
from distilpose.service.intake import (
    OptionsBody,
    OptionsLimits,
    check_images,
    checked_options,
    options_from_json,
    read_in_thread_if_large,
)
from distilpose.service.settings import DetectorSettings, LimitsSettings, Settings

SETTINGS = Settings(
    limits=LimitsSettings(max_people=5, min_keypoint_score=0.6),
    detector=DetectorSettings(min_box_score=0.4),
)


def test_defaults_come_from_the_settings() -> None:
    options = OptionsBody().resolve(SETTINGS, images=1)
    assert (options.min_box_score, options.max_people) == (0.4, 5)
    assert options.min_keypoint_score == 0.6
    assert not options.skips_detector
    assert not options.draw_sigma


def test_keypoints_are_visible_from_three_tenths_unless_somebody_says_otherwise() -> None:
    assert OptionsBody().resolve(Settings(), images=1).min_keypoint_score == 0.3


@pytest.mark.parametrize("given", [0.0, 0.5, 1.0])
def test_a_threshold_that_is_given_stands_even_if_it_is_zero(given: float) -> None:
    body = OptionsBody(min_box_score=given, min_keypoint_score=given)
    options = body.resolve(SETTINGS, images=1)
    assert (options.min_box_score, options.min_keypoint_score) == (given, given)


@pytest.mark.parametrize("name", ["min_box_score", "min_keypoint_score"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_threshold_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(InvalidOptions, match=name):
        checked_options({name: value})


def test_an_image_may_be_given_no_boxes() -> None:
    options = OptionsBody(boxes=[[], [[0, 0, 1, 1]]]).resolve(SETTINGS, images=2)
    assert options.boxes is not None
    assert [boxes.shape for boxes in options.boxes] == [(0, 4), (1, 4)]


def test_more_people_than_the_limit_are_refused() -> None:
    with pytest.raises(InvalidOptions, match="max_people: at most 5, got 6"):
        OptionsBody(max_people=6).resolve(SETTINGS, images=1)


def test_more_boxes_than_the_limit_are_too_large() -> None:
    with pytest.raises(TooLarge, match=r"boxes\[0\]: 6 boxes, the limit is 5"):
        OptionsBody(boxes=[[[0, 0, 1, 1]] * 6]).resolve(SETTINGS, images=1)


def test_boxes_and_the_whole_image_exclude_each_other() -> None:
    body = OptionsBody(boxes=[[]], whole_image=True)
    with pytest.raises(InvalidOptions, match="one or the other"):
        body.resolve(SETTINGS, images=1)


def test_there_is_one_list_of_boxes_for_each_image() -> None:
    with pytest.raises(InvalidOptions, match="expected 2 lists, one an image, got 1"):
        OptionsBody(boxes=[[]]).resolve(SETTINGS, images=2)


@pytest.mark.parametrize("images", [[], [EncodedImage(b"")], [EncodedImage(b"", "name")]])
def test_a_request_without_an_image_is_refused(images: list[EncodedImage]) -> None:
    with pytest.raises(InvalidRequest, match="no image"):
        check_images(images, max_images=2)


def test_more_images_than_the_limit_are_too_large() -> None:
    frame = RawFrame(b"", "RGB8", 0, 0)
    check_images([frame, EncodedImage(b"")], max_images=2)
    with pytest.raises(TooLarge, match="3 images, the limit is 2"):
        check_images([frame] * 3, max_images=2)


@pytest.mark.parametrize("identity", ["x" * 1024, "\n\x1b" * 512, 7, 10**2000, None])
def test_an_id_is_data_and_may_be_any_text_within_its_limit(identity: str | int | None) -> None:
    check_images([EncodedImage(b"x", identity)], max_images=1)


def test_an_id_over_the_limit_is_too_large() -> None:
    images = [EncodedImage(b"x", "a"), EncodedImage(b"x", "x" * 1025)]
    words = r"images\[1\]: its id has 1025 characters, the limit is 1024"
    with pytest.raises(TooLarge, match=words):
        check_images(images, max_images=2)


async def test_only_what_is_large_is_read_in_another_thread() -> None:
    here = threading.get_ident()
    assert await read_in_thread_if_large(256 * 1024, threading.get_ident) == here
    assert await read_in_thread_if_large(256 * 1024 + 1, threading.get_ident) != here


LIMITS = OptionsLimits(max_images=2, max_people=5)


def test_options_come_from_json() -> None:
    assert options_from_json(b'{"whole_image": true}', LIMITS).whole_image


def test_a_threshold_of_null_in_json_is_an_absent_one() -> None:
    body = options_from_json(b'{"min_box_score": null, "min_keypoint_score": null}', LIMITS)
    options = body.resolve(Settings(), images=1)
    assert (options.min_box_score, options.min_keypoint_score) == (0.25, 0.3)


@pytest.mark.parametrize("text", [b"{", b'{"x": 1}', b'{"max_people": "many"}', b"null", b""])
def test_wrong_options_in_json_are_refused(text: bytes) -> None:
    with pytest.raises(InvalidOptions):
        options_from_json(text, LIMITS)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b" " * (LIMITS.json_bytes + 1), TooLarge),
        (b'{"boxes": [' + b"1," * LIMITS.json_tokens, TooLarge),
        (b'{"boxes": [' + b'"a"' * (LIMITS.json_tokens + 1), TooLarge),
        (b'{"x":' * 65, InvalidOptions),
    ],
)
def test_options_in_json_have_limits_of_text(text: bytes, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^here: more (text )?than"):
        options_from_json(text, LIMITS, place="here")


def test_marks_within_strings_are_not_counted() -> None:
    with pytest.raises(InvalidOptions, match=r"^format: "):
        options_from_json(b'{"format": "' + b":,[" * 3000 + b'"}', LIMITS)


def test_of_wrong_boxes_one_is_named() -> None:
    boxes = [[[0, 0, 1]] * 5] * 2
    with pytest.raises(InvalidOptions) as refusal:
        checked_options({"boxes": boxes})
    assert refusal.value.detail.count("boxes") == 1
