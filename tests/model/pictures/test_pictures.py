"""Encoded images and raw frames through the same functions."""

import numpy as np
import pytest

from distilpose.model.errors import TooManyPixels
from distilpose.model.pictures import EncodedImage, RawFrame, Source, decode, read_header
from odd_images import encode, noise

PICTURE = noise(3, 5)


@pytest.mark.parametrize(
    "source", [EncodedImage(encode(PICTURE, "png")), RawFrame(PICTURE.tobytes(), "RGB8", 5, 3)]
)
def test_the_same_pixels_come_of_either(source: Source) -> None:
    header = read_header(source, max_pixels=15)
    assert header.size_wh == (5, 3)
    np.testing.assert_array_equal(decode(source, header), PICTURE)
    with pytest.raises(TooManyPixels):
        read_header(source, max_pixels=14)
