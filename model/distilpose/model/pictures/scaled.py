"""How much smaller a JPEG may be decoded, and how the picture then lies in the whole image.

Knows no pixels.
"""

from collections.abc import Callable
from typing import Final

from distilpose.model.configs import CROP_HEIGHT
from distilpose.model.geometry import CropRegions, Reduction
from distilpose.model.pictures.headers import ImageHeader, reduced_size_wh

FACTORS: Final = (8, 4, 2)
"""By how much libjpeg decodes smaller, in its fast ways."""


def factor_for_detector(header: ImageHeader, image_size_px: int) -> int:
    """The largest factor that leaves the detector's square (side `image_size_px`) its pixels."""
    long_side_px = max(header.size_wh)
    return _largest(header, lambda factor: long_side_px >= factor * image_size_px)


def factor_for_crops(header: ImageHeader, regions: CropRegions) -> int:
    """The largest factor that leaves every crop its rows."""
    return _largest(header, lambda factor: leaves_rows(regions, factor))


def leaves_rows(regions: CropRegions, factor: int) -> bool:
    """Whether each region (image pixels) has a crop's rows, or all there are, in the picture."""
    return factor == 1 or bool((regions.sizes_wh_px[:, 1] >= factor * CROP_HEIGHT).all())


def reduction_of(header: ImageHeader, factor: int) -> Reduction:
    """How the upright picture, decoded `factor` times smaller, lies in the upright image."""
    full_wh = header.upright_size_wh
    shown_wh = (side * factor for side in reduced_size_wh(full_wh, factor))
    # What the last squares show beyond the picture comes first where it is mirrored.
    left, top = (
        full - shown if is_mirrored else 0
        for full, shown, is_mirrored in zip(full_wh, shown_wh, header.is_mirrored_xy, strict=True)
    )
    return Reduction(factor, (left, top))


def _largest(header: ImageHeader, suffices: Callable[[int], bool]) -> int:
    if header.format != "jpeg":
        return 1
    return next((factor for factor in FACTORS if suffices(factor)), 1)
