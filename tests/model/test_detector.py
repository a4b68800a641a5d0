from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch

from distilpose.model.arrays import ImageHWC
from distilpose.model.detector import Detections, PersonDetector, to_image
from distilpose.model.errors import ArrayError
from distilpose.model.letterbox import Letterbox, letterbox
from photos import BUS_BOXES_XYXY_PX, photo_path


def picture(name: str) -> ImageHWC:
    bgr = cv2.imread(str(photo_path(name)))
    assert bgr is not None
    return np.asarray(bgr[..., ::-1], np.uint8)


@pytest.fixture(scope="module")
def bus() -> ImageHWC:
    return picture("bus.jpg")


@pytest.fixture(scope="module")
def zidane() -> ImageHWC:
    return picture("zidane.jpg")


@pytest.fixture(scope="module")
def detector() -> PersonDetector:
    return PersonDetector.load()


@pytest.fixture(scope="module")
def small_detector() -> PersonDetector:
    return PersonDetector.load(image_size_px=320)


def assert_same(
    found: Detections,
    boxes_xyxy_px: Sequence[Sequence[float]],
    scores: list[float],
    *,
    within_px: float,
) -> None:
    assert found.boxes_xyxy_px.shape == (len(scores), 4)
    assert np.abs(found.boxes_xyxy_px - boxes_xyxy_px).max() < within_px
    assert np.abs(found.scores - scores).max() < 0.01


# What the uncut network of 80 classes says, with ultralytics' own letterbox and suppression.
BUS_SCORES = [0.8902, 0.8833, 0.8784, 0.4363]
ZIDANE_BOXES = [[113.29, 196.94, 1113.23, 711.26], [748.81, 41.97, 1144.49, 710.92]]
ZIDANE_SCORES = [0.8270, 0.8252]


def test_the_packaged_detector_finds_what_the_uncut_network_found(
    detector: PersonDetector, bus: ImageHWC, zidane: ImageHWC
) -> None:
    of_bus, of_zidane = detector.detect([bus, zidane], min_box_score=0.25)

    assert_same(of_bus, BUS_BOXES_XYXY_PX, BUS_SCORES, within_px=1)
    assert_same(of_zidane, ZIDANE_BOXES, ZIDANE_SCORES, within_px=1)


def test_bfloat16_moves_boxes_by_less_than_two_pixels(
    small_detector: PersonDetector, bus: ImageHWC
) -> None:
    in_bfloat16 = PersonDetector.load(image_size_px=320, dtype=torch.bfloat16)

    (expected,) = small_detector.detect([bus], min_box_score=0.25)
    (found,) = in_bfloat16.detect([bus], min_box_score=0.25)

    assert len(found.scores) == 3
    assert np.abs(found.boxes_xyxy_px - expected.boxes_xyxy_px).max() < 2
    assert np.abs(found.scores - expected.scores).max() < 0.01


def test_the_network_gets_red_first_and_pixels_over_255(small_detector: PersonDetector) -> None:
    squares = torch.tensor([255, 51, 0], dtype=torch.uint8).expand(1, 320, 320, 3)

    pixels = small_detector.normalise(squares)

    assert pixels.shape == (1, 3, 320, 320)
    assert pixels[0, :, 0, 0].tolist() == pytest.approx([1, 0.2, 0])


def test_i2_swapping_red_and_blue_changes_the_scores(
    detector: PersonDetector, zidane: ImageHWC
) -> None:
    (swapped,) = detector.detect([zidane[..., ::-1]], min_box_score=0.25)

    assert swapped.scores[1] < ZIDANE_SCORES[1] - 0.1


def test_b9_an_image_has_the_same_boxes_alone_and_in_any_company(
    bus: ImageHWC, zidane: ImageHWC
) -> None:
    detector = PersonDetector.load(image_size_px=160)
    images = [bus, zidane, bus[:, 200:500], zidane[::2, ::2], np.zeros((9, 30, 3), np.uint8)]
    alone = [detector.detect([image], min_box_score=0.25)[0] for image in images]
    assert [len(found.scores) for found in alone] == [3, 2, 1, 2, 0]
    random = np.random.default_rng(0)

    for _ in range(20):
        batch = random.integers(0, len(images), random.integers(2, 5))
        together = detector.detect([images[i] for i in batch], min_box_score=0.25)
        for i, found in zip(batch, together, strict=True):
            assert len(found.scores) == len(alone[i].scores)
            assert np.allclose(found.boxes_xyxy_px, alone[i].boxes_xyxy_px, rtol=0, atol=0.02)
            assert np.allclose(found.scores, alone[i].scores, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((480, 640, 3), np.uint8),
        np.full((480, 640, 3), 114, np.uint8),
        np.full((1, 1, 3), 200, np.uint8),
        np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8),
    ],
    ids=["black", "grey", "one pixel", "noise"],
)
def test_r3_nobody_is_found_where_nobody_is(
    small_detector: PersonDetector, image: ImageHWC
) -> None:
    (found,) = small_detector.detect([image], min_box_score=0.25)

    assert found.boxes_xyxy_px.shape == (0, 4)
    assert found.scores.shape == (0,)


def test_no_images_have_no_answers(small_detector: PersonDetector) -> None:
    assert small_detector.detect([], min_box_score=0.25) == []


def test_each_square_has_its_own_least_score(
    small_detector: PersonDetector, zidane: ImageHWC
) -> None:
    square, _ = letterbox(zidane, 320)

    few, many = small_detector.run(np.stack([square] * 2), np.array([0.999, 0.25], np.float32))

    assert (len(few.scores), len(many.scores)) == (0, 2)


def test_a_box_in_the_border_is_dropped() -> None:
    in_border_and_image = Detections(
        np.array([[0, 0, 20, 5], [2, 7, 9, 14]], np.float32), np.array([0.9, 0.8], np.float32)
    )

    found = to_image(in_border_and_image, Letterbox(1, 0, 6, (20, 10)))

    assert found.boxes_xyxy_px.tolist() == [[2, 1, 9, 8]]
    assert found.scores.tolist() == pytest.approx([0.8])


def test_squares_of_another_size_are_refused(small_detector: PersonDetector) -> None:
    with pytest.raises(ArrayError, match=r"squares: expected shape \('any', 320, 320, 3\)"):
        small_detector.run(np.zeros((1, 64, 64, 3), np.uint8), np.zeros(1, np.float32))


def test_one_least_score_for_two_squares_is_refused(small_detector: PersonDetector) -> None:
    with pytest.raises(ArrayError, match="min_box_scores"):
        small_detector.run(np.zeros((2, 320, 320, 3), np.uint8), np.zeros(1, np.float32))


def test_the_digest_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="distilpose.model.detector"):
        detector = PersonDetector.load()

    assert caplog.messages == [f"detector yolov8n-person, sha256 {detector.sha256}"]
