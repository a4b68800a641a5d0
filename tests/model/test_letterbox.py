import numpy as np
import pytest

from distilpose.model.arrays import FloatArray
from distilpose.model.errors import ArrayError
from distilpose.model.letterbox import Letterbox, letterbox


def boxes(*rows: list[float]) -> FloatArray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_a_wide_image_is_centred_between_grey_bands() -> None:
    square, placed = letterbox(np.zeros((50, 100, 3), np.uint8), 64)

    assert square.shape == (64, 64, 3)
    assert (square[:16] == 114).all()
    assert (square[16:48] == 0).all()
    assert (square[48:] == 114).all()
    assert placed == Letterbox(0.64, 0, 16, (100, 50))


def test_a_tall_image_is_centred_between_grey_bands() -> None:
    square, placed = letterbox(np.zeros((100, 50, 3), np.uint8), 64)

    assert (square[:, :16] == 114).all()
    assert (square[:, 16:48] == 0).all()
    assert (square[:, 48:] == 114).all()
    assert placed == Letterbox(0.64, 16, 0, (50, 100))


def test_an_odd_border_has_its_larger_half_below() -> None:
    square, placed = letterbox(np.zeros((59, 64, 3), np.uint8), 64)

    assert placed.pad_y_px == 2
    assert (square[:2] == 114).all()
    assert (square[2:61] == 0).all()
    assert (square[61:] == 114).all()


def test_an_image_of_the_squares_size_is_left_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)

    square, placed = letterbox(image, 64)

    assert np.array_equal(square, image)
    assert placed == Letterbox(1, 0, 0, (64, 64))


def test_a_single_pixel_fills_the_square() -> None:
    square, _ = letterbox(np.full((1, 1, 3), 7, np.uint8), 64)

    assert (square == 7).all()


def test_a_hair_thin_image_keeps_one_column() -> None:
    square, placed = letterbox(np.zeros((20_000, 1, 3), np.uint8), 64)

    assert (square[:, 31] == 0).all()
    assert np.allclose(placed.to_image(boxes([31, 0, 32, 64])), boxes([0, 0, 1, 20_000]))


def test_a_mirrored_view_gives_what_its_copy_gives() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8)[:, ::-1]

    assert np.array_equal(letterbox(image, 64)[0], letterbox(image.copy(), 64)[0])


def test_boxes_return_to_image_pixels() -> None:
    _, placed = letterbox(np.zeros((1080, 810, 3), np.uint8), 640)

    found = placed.to_image(boxes([80, 0, 560, 640], [320, 320, 380, 480]))

    assert np.allclose(found, boxes([0, 0, 810, 1080], [405, 540, 506.25, 810]))
    assert found.dtype == np.float32


def test_rounding_to_whole_pixels_does_not_move_boxes() -> None:
    """3 rows of 1000 become 2 of 640: the vertical scale is 2/3 and not 0.64."""
    _, placed = letterbox(np.zeros((3, 1000, 3), np.uint8), 640)

    assert np.allclose(placed.to_image(boxes([0, 319, 640, 321])), boxes([0, 0, 1000, 3]))


def test_boxes_are_clipped_to_the_image() -> None:
    _, placed = letterbox(np.zeros((50, 100, 3), np.uint8), 64)

    found = placed.to_image(boxes([-5, 0, 70, 64], [10, 2, 20, 9]))

    assert np.allclose(found, boxes([0, 0, 100, 50], [15.625, 0, 31.25, 0]))


def test_no_boxes_stay_no_boxes() -> None:
    _, placed = letterbox(np.zeros((50, 100, 3), np.uint8), 64)

    assert placed.to_image(boxes()).shape == (0, 4)


def test_a_grey_picture_without_channels_is_refused() -> None:
    with pytest.raises(ArrayError, match=r"expected shape \('any', 'any', 3\), got \(50, 100\)"):
        letterbox(np.zeros((50, 100), np.uint8), 64)
