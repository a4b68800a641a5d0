"""Boxes to crops and back, against the published pipeline's numbers."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilpose.model import geometry

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "geometry.npz")


def golden_regions() -> geometry.CropRegions:
    return geometry.crop_regions(geometry.xywh_to_xyxy(GOLDEN["boxes"]))


def test_crop_regions_are_the_published_ones() -> None:
    regions = golden_regions()
    np.testing.assert_allclose(regions.centers_xy_px, GOLDEN["center"], atol=1e-3)
    np.testing.assert_allclose(regions.sizes_wh_px, GOLDEN["scale"] * 200, rtol=1e-5)


def test_affine_maps_are_the_published_ones() -> None:
    regions = golden_regions()
    for index, rotation in enumerate(GOLDEN["rotation"]):
        affine = geometry.image_to_crop_affine(
            regions.centers_xy_px[index],
            regions.sizes_wh_px[index, 0],
            rotation_degrees=float(rotation),
        )
        points = GOLDEN["points"][index]
        warped = points @ affine[:, :2].T + affine[:, 2]
        np.testing.assert_allclose(warped, GOLDEN["points_warped"][index], atol=1e-3)


def test_regressed_points_decode_to_the_published_pixels() -> None:
    xy_px = geometry.crop_to_image(GOLDEN["regression"], golden_regions())
    np.testing.assert_allclose(xy_px, GOLDEN["regression_decoded"], atol=1e-3)


def test_published_mirroring_is_the_published_one() -> None:
    back = geometry.mirror_xy_crop(GOLDEN["flip_pred_of_mirrored_image"], published=True)
    np.testing.assert_allclose(back, GOLDEN["flip_pred_mirrored_back"], atol=1e-6)


def test_our_mirroring_maps_the_first_pixel_onto_the_last() -> None:
    first = np.zeros((1, 17, 2), np.float32)
    mirrored = geometry.mirror_xy_crop(first)
    np.testing.assert_allclose(mirrored[..., 0] * 192, 191.0, atol=1e-4)


def test_mirroring_swaps_left_and_right() -> None:
    xy_crop = np.zeros((1, 17, 2), np.float32)
    xy_crop[0, 9] = 0.25, 0.75  # left wrist
    assert geometry.mirror_xy_crop(xy_crop)[0, 10, 1] == pytest.approx(0.75)


def test_a_wide_box_grows_in_height() -> None:
    regions = geometry.crop_regions(np.array([[0, 0, 300, 100]], np.float32))
    np.testing.assert_allclose(regions.centers_xy_px, [[150, 50]])
    np.testing.assert_allclose(regions.sizes_wh_px, [[375, 500]])


def test_a_tall_box_grows_in_width() -> None:
    regions = geometry.crop_regions(np.array([[10, 20, 20, 420]], np.float32))
    np.testing.assert_allclose(regions.centers_xy_px, [[15, 220]])
    np.testing.assert_allclose(regions.sizes_wh_px, [[375, 500]])


def test_the_crop_centre_is_the_box_centre() -> None:
    regions = geometry.crop_regions(np.array([[10, 20, 40, 60]], np.float32))
    centre = np.full((1, 1, 2), 0.5, np.float32)
    np.testing.assert_allclose(geometry.crop_to_image(centre, regions)[0, 0], [25, 40])


def test_sigma_grows_with_the_person() -> None:
    regions = geometry.crop_regions(np.array([[0, 0, 38.4, 51.2], [0, 0, 384, 512]], np.float32))
    sigma_px = geometry.sigma_to_image(np.ones((2, 17, 2), np.float32), regions)
    np.testing.assert_allclose(sigma_px[0], 1.0, rtol=1e-6)
    np.testing.assert_allclose(sigma_px[1], 10.0, rtol=1e-6)


def test_boxes_are_clipped_to_the_image() -> None:
    clipped = geometry.clip_boxes(np.array([[-5, 10, 700, 90]], np.float32), (640, 80))
    np.testing.assert_array_equal(clipped, [[0, 10, 640, 80]])


coordinate = st.floats(-2000, 6000, width=32)
side = st.floats(2, 3000, width=32)


@given(x=coordinate, y=coordinate, width=side, height=side, point=st.tuples(coordinate, coordinate))
def test_a_point_comes_back_from_the_crop_to_where_it_was(
    x: float, y: float, width: float, height: float, point: tuple[float, float]
) -> None:
    regions = geometry.crop_regions(np.array([[x, y, x + width, y + height]], np.float32))
    region_px = regions.sizes_wh_px[0, 0]
    # Points near the person: float32 resolves nothing useful a thousand crops away.
    near = regions.centers_xy_px[0] + np.array(point, np.float32) / 6000 * region_px
    back = geometry.crop_to_image(geometry.image_to_crop(near[None, None], regions), regions)
    np.testing.assert_allclose(back[0, 0], near, atol=0.01)


@given(x=coordinate, y=coordinate, width=side, height=side)
def test_the_affine_and_the_fractions_agree(
    x: float, y: float, width: float, height: float
) -> None:
    regions = geometry.crop_regions(np.array([[x, y, x + width, y + height]], np.float32))
    affine = geometry.image_to_crop_affine(regions.centers_xy_px[0], regions.sizes_wh_px[0, 0])
    xy_px = regions.centers_xy_px[0] + regions.sizes_wh_px[0] * np.float32(0.3)
    crop_px = affine[:, :2] @ xy_px.astype(np.float64) + affine[:, 2]
    xy_crop = geometry.image_to_crop(xy_px[None, None], regions)[0, 0]
    np.testing.assert_allclose(crop_px, xy_crop * [192, 256], atol=0.2)


def test_boxes_in_a_smaller_picture_are_boxes_in_the_image() -> None:
    reduction = geometry.Reduction(4, (-3, 0))
    boxes = geometry.boxes_from_reduced(np.array([[0, 0, 10, 20.5]], np.float32), reduction)
    np.testing.assert_array_equal(boxes, [[-3, 0, 37, 82]])
    assert boxes.dtype == np.float32


def test_a_region_in_a_smaller_picture_is_about_the_same_point() -> None:
    regions = geometry.CropRegions(
        np.array([[1.5, 5.5], [0, 0]], np.float32), np.array([[300, 400], [3, 4]], np.float32)
    )
    found = geometry.regions_in_reduced(regions, geometry.Reduction(4, (-4, 0)))
    # Four pixels 0..3 lie about 1.5, the middle of the first small pixel, here the second.
    np.testing.assert_array_equal(found.centers_xy_px, [[1, 1], [0.625, -0.375]])
    np.testing.assert_array_equal(found.sizes_wh_px, [[75, 100], [0.75, 1]])


def test_a_picture_that_is_not_smaller_changes_no_bit() -> None:
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 5000, (1000, 4)).astype(np.float32)
    regions = geometry.crop_regions(boxes)
    found = geometry.regions_in_reduced(regions, geometry.Reduction())
    np.testing.assert_array_equal(found.centers_xy_px, regions.centers_xy_px)
    np.testing.assert_array_equal(found.sizes_wh_px, regions.sizes_wh_px)
    np.testing.assert_array_equal(geometry.boxes_from_reduced(boxes, geometry.Reduction()), boxes)


def test_iou_compares_each_box_with_each() -> None:
    some = np.array([[0, 0, 10, 10], [20, 20, 30, 40]], np.float32)
    others = np.array([[5, 0, 15, 10], [20, 20, 30, 40], [0, 0, 0, 0]], np.float32)

    overlaps = geometry.iou(some, others)

    assert overlaps.tolist() == [pytest.approx([1 / 3, 0, 0]), [0, 1, 0]]


def test_iou_of_nobody_has_no_rows() -> None:
    assert geometry.iou(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)
