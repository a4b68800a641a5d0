from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from distilpose.model import geometry
from distilpose.model.arrays import ImageHWC
from distilpose.model.errors import ArrayError
from distilpose.model.geometry import Reduction
from distilpose.model.letterbox import Letterbox, letterbox, square
from distilpose.model.runtime.detector import Detections, PersonDetector, to_image, to_whole
from distilpose.model.runtime.pytorch.detector import TorchDetector
from photos import BUS_BOXES_XYXY_PX, ZIDANE_BOXES_XYXY_PX, photo_path
from precisions import MAX_BOX_SCORE_CHANGE, MIN_IOU, box_changes


def read_picture(path: Path) -> ImageHWC:
    bgr = cv2.imread(str(path))
    assert bgr is not None
    return np.asarray(bgr[..., ::-1], np.uint8)


@pytest.fixture(scope="module")
def bus() -> ImageHWC:
    return read_picture(photo_path("bus.jpg"))


@pytest.fixture(scope="module")
def zidane() -> ImageHWC:
    return read_picture(photo_path("zidane.jpg"))


@pytest.fixture(scope="module")
def detector() -> PersonDetector:
    return TorchDetector.load()


@pytest.fixture(scope="module")
def small_detector() -> TorchDetector:
    return TorchDetector.load(image_size_px=320)


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


# The output of the unreduced network of 80 classes, with ultralytics' letterbox and suppression.
BUS_SCORES = [0.8902, 0.8833, 0.8784, 0.4363]
ZIDANE_SCORES = [0.8270, 0.8252]


def test_the_packaged_detector_finds_what_the_uncut_network_found(
    detector: PersonDetector, bus: ImageHWC, zidane: ImageHWC
) -> None:
    squares, placed = zip(*(letterbox(image, square(640)) for image in (bus, zidane)), strict=True)
    found = detector.run(squares, np.full(2, 0.25, np.float32))
    of_bus, of_zidane = map(to_image, found, placed)

    assert_same(of_bus, BUS_BOXES_XYXY_PX, BUS_SCORES, within_px=1)
    assert_same(of_zidane, ZIDANE_BOXES_XYXY_PX, ZIDANE_SCORES, within_px=1)


def test_without_the_square_s_border_the_same_people_are_found(
    detector: PersonDetector, bus: ImageHWC, zidane: ImageHWC
) -> None:
    of_bus, of_zidane = detector.detect([bus, zidane], min_box_score=0.25)

    for found, boxes_xyxy_px in ((of_bus, BUS_BOXES_XYXY_PX), (of_zidane, ZIDANE_BOXES_XYXY_PX)):
        assert len(found.scores) == len(boxes_xyxy_px)
        overlaps = geometry.iou(found.boxes_xyxy_px, np.array(boxes_xyxy_px, np.float32))
        assert sorted(overlaps.argmax(1)) == list(range(len(boxes_xyxy_px)))
        assert overlaps.max(1).min() >= 0.89


@pytest.fixture(scope="module")
def in_both_precisions(detector: PersonDetector) -> list[tuple[Detections, Detections]]:
    """Photos, the same at half size, and all of them mirrored; with low-scoring people too."""
    in_bfloat16 = TorchDetector.load(precision="bfloat16")
    photos = [read_picture(photo_path(name)) for name in ("bus.jpg", "zidane.jpg")]
    pictures = [*photos, *(image[::2, ::2] for image in photos)]
    mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in pictures]
    return [
        (
            detector.detect([image], min_box_score=0.05)[0],
            in_bfloat16.detect([image], min_box_score=0.05)[0],
        )
        for image in (*pictures, *mirrored)
    ]


def test_whoever_is_surely_there_in_float32_has_nearly_the_same_box_in_bfloat16(
    in_both_precisions: list[tuple[Detections, Detections]],
) -> None:
    assert len(in_both_precisions) == 8
    for exact, rough in in_both_precisions:
        changes = box_changes(exact, rough)
        assert len(changes.iou) >= 2
        assert changes.iou.min() >= MIN_IOU
        assert changes.score.max() <= MAX_BOX_SCORE_CHANGE


def test_bfloat16_makes_up_nobody_who_is_surely_there(
    in_both_precisions: list[tuple[Detections, Detections]],
) -> None:
    assert len(in_both_precisions) == 8
    for exact, rough in in_both_precisions:
        changes = box_changes(rough, exact)
        assert changes.iou.min() >= MIN_IOU
        assert changes.score.max() <= MAX_BOX_SCORE_CHANGE


def test_in_bfloat16_boxes_are_placed_in_float32(bus: ImageHWC) -> None:
    canvas, _ = letterbox(bus, square(640))
    in_bfloat16 = TorchDetector.load(precision="bfloat16")
    (found,) = in_bfloat16.run([canvas], np.array([0.25], np.float32))
    edges_px = torch.from_numpy(found.boxes_xyxy_px)
    # From 256 pixels on, bfloat16 represents only every second integer.
    assert (edges_px.bfloat16() != edges_px).float().mean() > 0.9


def test_the_network_gets_red_first_and_pixels_over_255(small_detector: TorchDetector) -> None:
    canvases = torch.tensor([255, 51, 0], dtype=torch.uint8).expand(1, 320, 320, 3)

    pixels = small_detector.normalise(canvases)

    assert pixels.shape == (1, 3, 320, 320)
    assert pixels[0, :, 0, 0].tolist() == pytest.approx([1, 0.2, 0])


def test_swapping_red_and_blue_changes_the_scores(
    detector: PersonDetector, zidane: ImageHWC
) -> None:
    (swapped,) = detector.detect([zidane[..., ::-1]], min_box_score=0.25)

    assert swapped.scores[1] < ZIDANE_SCORES[1] - 0.1


def test_an_image_has_the_same_boxes_alone_and_in_any_company(
    bus: ImageHWC, zidane: ImageHWC
) -> None:
    detector = TorchDetector.load(image_size_px=160)
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
def test_nobody_is_found_where_nobody_is(small_detector: TorchDetector, image: ImageHWC) -> None:
    (found,) = small_detector.detect([image], min_box_score=0.25)

    assert found.boxes_xyxy_px.shape == (0, 4)
    assert found.scores.shape == (0,)


def test_no_images_have_no_answers(small_detector: TorchDetector) -> None:
    assert small_detector.detect([], min_box_score=0.25) == []


def test_each_canvas_has_its_own_least_score(
    small_detector: TorchDetector, zidane: ImageHWC
) -> None:
    canvas, _ = letterbox(zidane, square(320))

    few, many = small_detector.run([canvas] * 2, np.array([0.999, 0.25], np.float32))

    assert (len(few.scores), len(many.scores)) == (0, 2)


def test_a_box_in_the_border_is_dropped() -> None:
    in_border_and_image = Detections(
        np.array([[0, 0, 20, 5], [2, 7, 9, 14]], np.float32), np.array([0.9, 0.8], np.float32)
    )

    found = to_image(in_border_and_image, Letterbox(1, 0, 6, (20, 10)))

    assert found.boxes_xyxy_px.tolist() == [[2, 1, 9, 8]]
    assert found.scores.tolist() == pytest.approx([0.8])


@pytest.mark.parametrize("shape", [(64, 64, 3), (320, 320), (320, 208, 3), (160, 320, 4)])
def test_a_canvas_of_another_shape_is_refused(
    small_detector: TorchDetector, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ArrayError, match=r"canvas: expected shape \((320|160), 320, 3\)"):
        small_detector.run([np.zeros(shape, np.uint8)], np.zeros(1, np.float32))


def test_one_least_score_for_two_canvases_is_refused(small_detector: TorchDetector) -> None:
    with pytest.raises(ArrayError, match="min_box_scores"):
        small_detector.run([np.zeros((320, 320, 3), np.uint8)] * 2, np.zeros(1, np.float32))


def test_the_digest_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="distilpose.model.runtime.pytorch.detector"):
        detector = TorchDetector.load()

    assert caplog.messages == [f"detector yolov8n-person, sha256 {detector.sha256}"]


def test_boxes_are_clipped_to_the_whole_image_and_dropped_outside() -> None:
    boxes = np.array([[1, 2, 3, 4], [0, 0, 1001, 751], [1000.5, 0, 1001, 9]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.8, 0.7], np.float32))
    whole = to_whole(found, Reduction(4), (4001, 3003))
    np.testing.assert_array_equal(whole.boxes_xyxy_px, [[4, 8, 12, 16], [0, 0, 4001, 3003]])
    np.testing.assert_array_equal(whole.scores, np.array([0.9, 0.8], np.float32))
