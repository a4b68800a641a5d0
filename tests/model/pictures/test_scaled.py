"""Factors for decoding JPEGs at reduced size, and the mapping to the whole image."""

import numpy as np
import pytest

from distilpose.model.geometry import CropRegions, Reduction
from distilpose.model.pictures import scaled
from distilpose.model.pictures.headers import ImageHeader


def jpeg(width: int, height: int, orientation: int = 1) -> ImageHeader:
    return ImageHeader("jpeg", (width, height), orientation, "jpeg")


def of_rows(*rows: float) -> CropRegions:
    sizes = np.array([(0.75 * each, each) for each in rows], np.float32).reshape(-1, 2)
    return CropRegions(np.zeros_like(sizes), sizes)


@pytest.mark.parametrize(
    ("size_wh", "factor"),
    [
        ((5120, 100), 8),
        ((100, 5120), 8),
        ((5119, 5119), 4),
        ((4000, 3000), 4),
        ((2559, 10), 2),
        ((1280, 720), 2),
        ((1279, 1279), 1),
        ((10, 10), 1),
    ],
)
def test_the_long_side_keeps_the_detectors_pixels(size_wh: tuple[int, int], factor: int) -> None:
    assert scaled.factor_for_detector(jpeg(*size_wh), 640) == factor


@pytest.mark.parametrize(
    ("rows", "factor"),
    [
        ((2048,), 8),
        ((9000, 2047), 4),
        ((1024,), 4),
        ((1023,), 2),
        ((512,), 2),
        ((511,), 1),
        ((9000, 20), 1),
        ((), 8),
    ],
)
def test_the_smallest_crop_keeps_its_256_rows(rows: tuple[int, ...], factor: int) -> None:
    assert scaled.factor_for_crops(jpeg(4000, 3000), of_rows(*rows)) == factor


def test_only_jpegs_are_decoded_smaller() -> None:
    for name in ("png", "webp", "bmp", "tiff", "avif", "RGB8", "NV12"):
        header = ImageHeader(name, (9000, 9000), 1, name)
        assert scaled.factor_for_detector(header, 640) == 1
        assert scaled.factor_for_crops(header, of_rows(9000)) == 1


def test_rows_that_the_whole_image_has_not_are_not_missed() -> None:
    assert scaled.leaves_rows(of_rows(100), 1)
    assert not scaled.leaves_rows(of_rows(100, 5000), 2)
    assert scaled.leaves_rows(of_rows(512), 2)


@pytest.mark.parametrize(
    ("orientation", "corner_xy_px"),
    [
        (1, (0, 0)),
        (2, (-3, 0)),
        (3, (-3, -1)),
        (4, (0, -1)),
        (5, (0, 0)),
        (6, (-1, 0)),
        (7, (-1, -3)),
        (8, (0, -3)),
    ],
)
def test_what_is_shown_beyond_an_odd_size_comes_first_where_it_is_mirrored(
    orientation: int, corner_xy_px: tuple[int, int]
) -> None:
    reduction = scaled.reduction_of(jpeg(4001, 3003, orientation), 4)
    assert reduction == Reduction(4, corner_xy_px)
