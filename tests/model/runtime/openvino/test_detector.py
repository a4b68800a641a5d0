"""The detector run by OpenVINO beside the same detector run by torch."""

import numpy as np
import pytest
import torch

from distilpose.model.errors import ConfigError
from distilpose.model.runtime.detector import PersonDetector
from distilpose.model.runtime.openvino.detector import OpenVinoDetector
from odd_images import read
from photos import photo


def test_it_finds_the_people_that_torch_finds() -> None:
    images = [read(photo("bus.jpg")), read(photo("zidane.jpg"))]
    expected = PersonDetector.load(image_size_px=320).detect(images, min_box_score=0.05)

    found = OpenVinoDetector.load(image_size_px=320).detect(images, min_box_score=0.05)

    assert [len(of_image.scores) for of_image in found] == [6, 4]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.boxes_xyxy_px, theirs.boxes_xyxy_px, atol=0.02)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)


def test_another_precision_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"on the cpu in float32 only, not on cpu in torch\.bfloat16"
    ):
        OpenVinoDetector.load(image_size_px=64, dtype=torch.bfloat16)
