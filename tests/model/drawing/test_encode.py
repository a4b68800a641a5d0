"""Encoding of drawn pictures."""

import io

import numpy as np
from PIL import Image

from distilpose.model.drawing.encode import encode

RED = np.full((40, 30, 3), (250, 5, 5), np.uint8)


def test_a_png_holds_the_pixels() -> None:
    picture = Image.open(io.BytesIO(encode(RED, "png")))
    assert picture.format == "PNG"
    np.testing.assert_array_equal(np.asarray(picture), RED)


def test_a_jpeg_keeps_red_red() -> None:
    picture = Image.open(io.BytesIO(encode(RED, "jpeg")))
    assert picture.format == "JPEG"
    assert np.abs(np.asarray(picture).astype(int) - RED).max() <= 4
