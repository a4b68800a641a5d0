"""Encoding of drawn pictures."""

import io

import numpy as np
import pytest
from PIL import Image

from distilpose.model.drawing.encode import LARGEST_SIDE_PX, PictureFormat, encode

RED = np.full((40, 30, 3), (250, 5, 5), np.uint8)


def test_a_png_holds_the_pixels() -> None:
    picture = Image.open(io.BytesIO(encode(RED, "png")))
    assert picture.format == "PNG"
    np.testing.assert_array_equal(np.asarray(picture), RED)


def test_a_jpeg_keeps_red_red() -> None:
    picture = Image.open(io.BytesIO(encode(RED, "jpeg")))
    assert picture.format == "JPEG"
    assert np.abs(np.asarray(picture).astype(int) - RED).max() <= 4


@pytest.mark.parametrize("picture_format", LARGEST_SIDE_PX)
@pytest.mark.parametrize("axis", [0, 1])
def test_the_largest_sides_are_those_that_can_be_written(
    picture_format: PictureFormat, axis: int
) -> None:
    shape = [1, 1, 3]
    shape[axis] = LARGEST_SIDE_PX[picture_format]
    assert encode(np.zeros(shape, np.uint8), picture_format)
    shape[axis] += 1
    with pytest.raises(RuntimeError):
        encode(np.zeros(shape, np.uint8), picture_format)
