"""Cutting crops out of images."""

from pathlib import Path

import cv2
import numpy as np

from distilpose.model import crop, geometry

GOLDEN_FOLDER = Path(__file__).parents[1] / "golden"
GEOMETRY = np.load(GOLDEN_FOLDER / "geometry.npz")
WARP = np.load(GOLDEN_FOLDER / "warp.npz")


def chessboard_240_180() -> np.ndarray:
    y, x = np.mgrid[:180, :240]
    squares = np.where((x // 12 + y // 12) % 2 == 1, 220, 20)
    return np.stack([x * 255 // 239, y * 255 // 179, squares], -1).astype(np.uint8)


def assert_close_to_published(crop_HWC: np.ndarray, index: int) -> None:
    # OpenCV versions differ from the one that made the golden by up to 8 levels.
    difference = crop_HWC[::4, ::4].astype(int) - WARP["warped_sub"][index]
    assert np.abs(difference).max() <= 8
    assert np.abs(difference).mean() <= 0.2


def test_a_crop_is_the_published_one() -> None:
    box = GEOMETRY["boxes"][WARP["box_index"][0]]
    regions = geometry.crop_regions(geometry.xywh_to_xyxy(box[None]))
    [crop_HWC] = crop.cut(chessboard_240_180(), regions)
    assert_close_to_published(crop_HWC, 0)


def test_a_rotated_warp_is_the_published_one() -> None:
    row = WARP["box_index"][1]
    affine = geometry.image_to_crop_affine(
        GEOMETRY["center"][row],
        GEOMETRY["scale"][row, 0] * 200,
        rotation_degrees=GEOMETRY["rotation"][row],
    )
    crop_HWC = cv2.warpAffine(chessboard_240_180(), affine, (192, 256), flags=cv2.INTER_LINEAR)
    assert_close_to_published(np.asarray(crop_HWC), 1)


def test_outside_the_image_is_black() -> None:
    image = np.full((100, 100, 3), 255, np.uint8)
    regions = geometry.crop_regions(np.array([[0, 0, 100, 100]], np.float32))
    [crop_HWC] = crop.cut(image, regions)
    assert crop_HWC[0, 0].tolist() == [0, 0, 0]
    assert crop_HWC[128, 96].tolist() == [255, 255, 255]


def test_a_mirrored_crop_has_its_first_column_last() -> None:
    crops = np.arange(256 * 192 * 3, dtype=np.uint64).astype(np.uint8).reshape(1, 256, 192, 3)
    np.testing.assert_array_equal(crop.mirror(crops)[:, :, 0], crops[:, :, -1])


def test_no_boxes_give_no_crops() -> None:
    regions = geometry.crop_regions(np.zeros((0, 4), np.float32))
    assert crop.cut(chessboard_240_180(), regions).shape == (0, 256, 192, 3)
