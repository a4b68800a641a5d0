"""Views of stored crops: pixels and keypoints through one map, against the published pipeline."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from distilpose.model import crop, geometry
from distilpose.model.arrays import ImageHWC
from distilpose.model.skeleton import MIRROR_ORDER
from distilpose.model.train.feed import views
from distilpose.model.train.feed.batch import StoredBatch
from distilpose.model.train.feed.views import Views
from golden_rules import golden_arrays
from photos import BUS_BOXES_XYXY_PX, photo_path
from stored_crops import (
    BOX_WH,
    STORE_HW,
    black_crops,
    bright_centers_crop_px,
    crops_with_blob,
    stored_batch,
)

GEOMETRY = golden_arrays("geometry")


def some_views(*, degrees: float = 0.0, mirrored: bool = False) -> Views:
    return Views(
        torch.tensor([[120.0, 190.5]]),
        torch.tensor([160.0]),
        torch.tensor([degrees]).deg2rad(),
        torch.tensor([mirrored]),
    )


def bus() -> ImageHWC:
    return np.asarray(Image.open(photo_path("bus.jpg")), np.uint8)


def view_pixels(batch: StoredBatch, shown: Views, size_hw: tuple[int, int]) -> np.ndarray:
    return views.sample(views.stored_pixels(batch), shown, size_hw).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0.0, 37.0, -80.0])
def test_a_view_is_the_warp_of_the_mirrored_and_rotated_crop(
    degrees: float, mirrored: bool
) -> None:
    stored = np.asarray(cv2.resize(bus(), (264, 352)), np.uint8)
    xy_store_px = np.random.default_rng(0).uniform(100, 200, (17, 2))
    center_xy = np.array([120.0, 190.5])
    # As published: first the picture and its points are mirrored, then the region is turned.
    source, points = stored, xy_store_px
    if mirrored:
        source = stored[:, ::-1]
        points = ([263, 0] + xy_store_px * [-1, 1])[MIRROR_ORDER]
        center_xy = np.array([263 - 120.0, 190.5])
    affine = geometry.image_to_crop_affine(center_xy, 160.0, rotation_degrees=degrees)
    warped = cv2.warpAffine(np.ascontiguousarray(source), affine, (192, 256))

    batch = stored_batch(stored[None], xy_store_px)
    shown = some_views(degrees=degrees, mirrored=mirrored)
    got = view_pixels(batch, shown, (256, 192))[0]
    assert np.abs(got - warped).mean() <= 0.5  # OpenCV counts 32 places between two pixels
    moved = views.move_keypoints(batch, shown)
    want_xy = points @ affine[:, :2].T + affine[:, 2]
    np.testing.assert_allclose(moved.xy_crop_px[0], want_xy, atol=1e-3)


def test_mirrored_keypoints_are_the_published_ones() -> None:
    width = int(GEOMETRY["joints_image_width"])
    visible = GEOMETRY["joints_visible"][:, 0]
    batch = stored_batch(black_crops(1, (500, width)), GEOMETRY["joints"], weight=visible)
    middle_xy = np.array([(width - 1) / 2, 200.0], np.float32)  # where mirroring moves nothing
    shown = Views(
        torch.from_numpy(middle_xy[None]),
        torch.tensor([1000.0]),
        torch.zeros(1),
        torch.tensor([True]),
    )
    moved = views.move_keypoints(batch, shown)
    is_visible = GEOMETRY["joints_mirrored_visible"][:, 0] > 0
    assert moved.weight[0].tolist() == is_visible.tolist()
    xy_store_px = (moved.xy_crop_px[0].numpy() - [96, 128]) * (1000 / 192) + middle_xy
    np.testing.assert_allclose(
        xy_store_px[is_visible], GEOMETRY["joints_mirrored"][is_visible], atol=1e-3
    )


def test_a_keypoint_on_the_crops_last_pixel_counts_and_one_beyond_does_not() -> None:
    xy_store_px = np.full((17, 2), 100.0)
    xy_store_px[0] = 191, 255
    xy_store_px[1] = 191.5, 255
    xy_store_px[2] = 191, 255.5
    xy_store_px[3] = -0.5, 0
    shown = Views(
        torch.tensor([[96.0, 128.0]]), torch.tensor([192.0]), torch.zeros(1), torch.tensor([False])
    )
    batch = stored_batch(black_crops(1), xy_store_px, weight=0.5)
    moved = views.move_keypoints(batch, shown)
    assert moved.weight[0, :5].tolist() == [0.5, 0, 0, 0, 0.5]
    assert moved.outside[0, :5].tolist() == [False, True, True, True, False]


def test_a_keypoint_that_nobody_labelled_lies_nowhere() -> None:
    batch = stored_batch(black_crops(1), (0.0, 0.0), weight=0)
    moved = views.move_keypoints(batch, some_views(mirrored=True))
    assert not moved.outside.any()


def test_the_plain_view_is_what_serving_cuts() -> None:
    # Blurred, so that sampling twice instead of once changes little.
    image = np.asarray(cv2.GaussianBlur(bus(), (0, 0), 4), np.uint8)
    boxes = np.array(BUS_BOXES_XYXY_PX, np.float32)
    regions = geometry.crop_regions(boxes)
    stored, box_wh, xy_store_px = [], [], []
    for box, center, size in zip(boxes, *regions, strict=True):
        width_px = float(size[0]) * 1.35
        affine = geometry.image_to_crop_affine(center, width_px) * (264 / 192)
        stored.append(cv2.warpAffine(image, affine, (264, 352)))
        box_wh.append((box[2:] - box[:2]) * (264 / width_px))
        xy_store_px.append(affine[:, :2] @ box[:2] + affine[:, 2])
    batch = stored_batch(np.stack(stored), np.array(xy_store_px)[:, None], box_wh=box_wh)

    shown = views.plain_views(batch)
    got = view_pixels(batch, shown, (256, 192))
    assert np.abs(got - crop.cut(image, regions)).mean() <= 0.6  # half a pixel off gives 2
    want_xy = geometry.image_to_crop(boxes[:, None, :2], regions) * [192, 256]
    np.testing.assert_allclose(
        views.move_keypoints(batch, shown).xy_crop_px[:, :1], want_xy, atol=1e-2
    )


def test_a_crop_stored_without_margin_is_shown_as_it_is() -> None:
    stored = np.random.default_rng(0).integers(0, 256, (1, 256, 192, 3), np.uint8)
    batch = stored_batch(stored, box_wh=(192 / 1.25, 100))
    got = view_pixels(batch, views.plain_views(batch), (256, 192))
    np.testing.assert_allclose(got, stored, atol=0.05)


@pytest.mark.parametrize("size_hw", [(256, 192), (192, 144), (128, 96), (64, 48)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_mark_on_a_keypoint_stays_on_it_in_every_size(
    size_hw: tuple[int, int], mirrored: bool
) -> None:
    batch = stored_batch(crops_with_blob(1, (131.3, 184.8)), (131.3, 184.8))
    shown = some_views(degrees=25, mirrored=mirrored)
    got = view_pixels(batch, shown, size_hw)
    xy_crop_px = views.move_keypoints(batch, shown).xy_crop_px[:, 0]
    np.testing.assert_allclose(bright_centers_crop_px(got), xy_crop_px, atol=0.05)


def test_a_finer_pattern_than_a_small_view_can_show_is_averaged() -> None:
    rows, columns = np.mgrid[: STORE_HW[0], : STORE_HW[1]]
    chessboard = np.where((rows + columns) % 2 == 1, 200, 0).astype(np.uint8)
    batch = stored_batch(np.tile(chessboard[None, :, :, None], (1, 1, 1, 3)), box_wh=BOX_WH)
    got = view_pixels(batch, views.plain_views(batch), (128, 96))
    assert got.min() >= 95
    assert got.max() <= 105
