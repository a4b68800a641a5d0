"""The detector run by OpenVINO beside the same detector run by torch."""

import numpy as np

from by_openvino import detector
from distilpose.model.runtime.precision import PRECISIONS
from distilpose.model.runtime.pytorch.detector import TorchDetector
from odd_images import read
from photos import photo
from precisions import MAX_BOX_SCORE_CHANGE, MIN_IOU, box_changes


def test_it_finds_the_people_that_torch_finds() -> None:
    images = [read(photo("bus.jpg")), read(photo("zidane.jpg"))]
    expected = TorchDetector.load(image_size_px=320).detect(images, min_box_score=0.05)

    found = detector(image_size_px=320).detect(images, min_box_score=0.05)

    assert [len(of_image.scores) for of_image in found] == [6, 4]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.boxes_xyxy_px, theirs.boxes_xyxy_px, atol=0.02)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)


def test_in_bfloat16_the_sure_people_stay_where_they_are() -> None:
    images = [read(photo("bus.jpg")), read(photo("zidane.jpg"))]
    exact, rough = (
        detector(precision=precision).detect(images, min_box_score=0.05) for precision in PRECISIONS
    )
    changes = [box_changes(*pair) for pair in zip(exact, rough, strict=True)]
    assert [len(of_image.iou) for of_image in changes] == [3, 2]
    assert min(of_image.iou.min() for of_image in changes) >= MIN_IOU
    assert max(of_image.score.max() for of_image in changes) <= MAX_BOX_SCORE_CHANGE
