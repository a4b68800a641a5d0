"""Choose the factor for decoding a JPEG at reduced size, and map the result to the whole image.

Knows no pixels.
"""

from collections.abc import Callable
from typing import Final

from distilpose.model.configs import CROP_HEIGHT
from distilpose.model.geometry import CropRegions, Reduction
from distilpose.model.pictures.headers import ImageHeader, reduced_size_wh

FACTORS: Final = (8, 4, 2)
"""The factors of libjpeg's fast scaled decoding."""


def factor_for_detector(header: ImageHeader, image_size_px: int) -> int:
    """The largest factor that keeps the detector's canvas (its long side) at full resolution."""
    long_side_px = max(header.size_wh)
    return _largest(header, lambda factor: long_side_px >= factor * image_size_px)


def factor_for_crops(header: ImageHeader, regions: CropRegions) -> int:
    """The largest factor that keeps full resolution in every crop."""
    return _largest(header, lambda factor: leaves_rows(regions, factor))


def leaves_rows(regions: CropRegions, factor: int) -> bool:
    """Return True if regions (image pixels) keep a crop's rows, or all their rows, when reduced."""
    return factor == 1 or bool((regions.sizes_wh_px[:, 1] >= factor * CROP_HEIGHT).all())


def reduction_of(header: ImageHeader, factor: int) -> Reduction:
    """The position of the upright picture, decoded `factor` times smaller, in the upright image."""
    full_wh = header.upright_size_wh
    shown_wh = (side * factor for side in reduced_size_wh(full_wh, factor))
    # If mirrored, the part of the last squares beyond the picture comes first.
    left, top = (
        full - shown if is_mirrored else 0
        for full, shown, is_mirrored in zip(full_wh, shown_wh, header.is_mirrored_xy, strict=True)
    )
    return Reduction(factor, (left, top))


def _largest(header: ImageHeader, suffices: Callable[[int], bool]) -> int:
    if header.format != "jpeg":
        return 1
    return next((factor for factor in FACTORS if suffices(factor)), 1)
