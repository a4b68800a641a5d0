import numpy as np
import pytest

from distilpose.model.arrays import FloatArray
from distilpose.model.errors import ArrayError
from distilpose.model.letterbox import Letterbox, letterbox, rectangles, square


def boxes(*rows: list[float]) -> FloatArray:
    return np.array(rows, np.float32).reshape(-1, 4)


NINE = rectangles(640, multiple_of=32)
WIDE = [(320, 640), (384, 640), (448, 640), (480, 640)]


def test_there_are_nine_canvases_for_the_usual_size() -> None:
    assert set(NINE) == {*WIDE, *((width, height) for height, width in WIDE), (640, 640)}
    areas = [height * width for height, width in NINE]
    assert areas == sorted(areas)


@pytest.mark.parametrize("long_side", [64, 160, 192, 224, 416, 512, 1024, 2048])
def test_canvases_of_any_size_are_whole_strides_with_one_long_side(long_side: int) -> None:
    canvases = rectangles(long_side, multiple_of=32)
    assert len(canvases) == len(set(canvases)) <= 9
    assert {max(shape_hw) for shape_hw in canvases} == {long_side}
    assert all(side % 32 == 0 for shape_hw in canvases for side in shape_hw)
    assert min(map(min, canvases)) * 2 in range(long_side, long_side + 64)


@pytest.mark.parametrize(
    ("size_wh", "shape_hw"),
    [
        ((1280, 720), (384, 640)),  # 16:9
        ((1920, 1080), (384, 640)),
        ((810, 1080), (640, 480)),  # bus.jpg, 3:4
        ((3000, 2000), (448, 640)),  # 3:2
        ((2000, 3000), (640, 448)),
        ((2560, 1080), (320, 640)),  # 21:9
        ((640, 481), (640, 640)),
        ((640, 480), (480, 640)),
        ((1, 1), (640, 640)),
        ((5000, 10), (320, 640)),
    ],
)
def test_an_image_gets_the_smallest_canvas_that_holds_it(
    size_wh: tuple[int, int], shape_hw: tuple[int, int]
) -> None:
    width, height = size_wh
    canvas, placed = letterbox(np.zeros((height, width, 3), np.uint8), NINE)
    assert canvas.shape == (*shape_hw, 3)
    corners = np.array([[placed.pad_x_px, placed.pad_y_px] * 2], np.float32)
    corners[0, 2:] = [shape_hw[1] - placed.pad_x_px, shape_hw[0] - placed.pad_y_px]
    np.testing.assert_allclose(placed.to_image(corners)[0], [0, 0, *size_wh], rtol=0.002, atol=1e-3)


def test_a_wide_image_is_centred_between_grey_bands() -> None:
    canvas, placed = letterbox(np.zeros((50, 100, 3), np.uint8), square(64))

    assert canvas.shape == (64, 64, 3)
    assert (canvas[:16] == 114).all()
    assert (canvas[16:48] == 0).all()
    assert (canvas[48:] == 114).all()
    assert placed == Letterbox(0.64, 0, 16, (100, 50))


def test_a_tall_image_is_centred_between_grey_bands() -> None:
    canvas, placed = letterbox(np.zeros((100, 50, 3), np.uint8), square(64))

    assert (canvas[:, :16] == 114).all()
    assert (canvas[:, 16:48] == 0).all()
    assert (canvas[:, 48:] == 114).all()
    assert placed == Letterbox(0.64, 16, 0, (50, 100))


def test_an_odd_border_has_its_larger_half_below() -> None:
    canvas, placed = letterbox(np.zeros((59, 64, 3), np.uint8), square(64))

    assert placed.pad_y_px == 2
    assert (canvas[:2] == 114).all()
    assert (canvas[2:61] == 0).all()
    assert (canvas[61:] == 114).all()


def test_an_image_of_the_canvas_s_size_is_left_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)

    canvas, placed = letterbox(image, square(64))

    assert np.array_equal(canvas, image)
    assert placed == Letterbox(1, 0, 0, (64, 64))


def test_a_single_pixel_fills_the_canvas() -> None:
    canvas, _ = letterbox(np.full((1, 1, 3), 7, np.uint8), square(64))

    assert (canvas == 7).all()


def test_a_hair_thin_image_keeps_one_column() -> None:
    canvas, placed = letterbox(np.zeros((20_000, 1, 3), np.uint8), square(64))

    assert (canvas[:, 31] == 0).all()
    assert np.allclose(placed.to_image(boxes([31, 0, 32, 64])), boxes([0, 0, 1, 20_000]))


def test_a_mirrored_view_gives_what_its_copy_gives() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8)[:, ::-1]

    assert np.array_equal(letterbox(image, square(64))[0], letterbox(image.copy(), square(64))[0])


def test_boxes_return_to_image_pixels() -> None:
    _, placed = letterbox(np.zeros((1080, 810, 3), np.uint8), square(640))

    found = placed.to_image(boxes([80, 0, 560, 640], [320, 320, 380, 480]))

    assert np.allclose(found, boxes([0, 0, 810, 1080], [405, 540, 506.25, 810]))
    assert found.dtype == np.float32


def test_rounding_to_whole_pixels_does_not_move_boxes() -> None:
    """3 rows of 1000 become 2 of 640: the vertical scale is 2/3 and not 0.64."""
    _, placed = letterbox(np.zeros((3, 1000, 3), np.uint8), square(640))

    assert np.allclose(placed.to_image(boxes([0, 319, 640, 321])), boxes([0, 0, 1000, 3]))


def test_boxes_are_clipped_to_the_image() -> None:
    _, placed = letterbox(np.zeros((50, 100, 3), np.uint8), square(64))

    found = placed.to_image(boxes([-5, 0, 70, 64], [10, 2, 20, 9]))

    assert np.allclose(found, boxes([0, 0, 100, 50], [15.625, 0, 31.25, 0]))


def test_no_boxes_stay_no_boxes() -> None:
    _, placed = letterbox(np.zeros((50, 100, 3), np.uint8), square(64))

    assert placed.to_image(boxes()).shape == (0, 4)


def test_a_grey_picture_without_channels_is_refused() -> None:
    with pytest.raises(ArrayError, match=r"expected shape \('any', 'any', 3\), got \(50, 100\)"):
        letterbox(np.zeros((50, 100), np.uint8), square(64))
