"""JPEGs decoded at reduced size: their pixels, and their position in the whole image."""

import cv2
import numpy as np
import pytest
from PIL import Image

import odd_images
from distilpose.model.errors import Undecodable
from distilpose.model.formats import MAX_PIXELS
from distilpose.model.geometry import CropRegions, regions_in_reduced
from distilpose.model.pictures.encoded import decode
from distilpose.model.pictures.headers import read_header
from distilpose.model.pictures.scaled import FACTORS, reduction_of
from odd_images import Picture, encode, exif
from photos import photo

SIZE_WH = (203, 131)
SPOT_XY_PX = (80.25, 50.5)
TO_STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: upright.transpose(1, 0, 2)[::-1],
    7: lambda upright: upright.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda upright: upright.transpose(1, 0, 2)[:, ::-1],
}


def smaller(data: bytes, factor: int) -> Picture:
    return decode(data, read_header(data, max_pixels=MAX_PIXELS), factor=factor)


def spot() -> Picture:
    """A soft white spot on black."""
    y, x = np.mgrid[: SIZE_WH[1], : SIZE_WH[0]]
    distance_px = np.hypot(x - SPOT_XY_PX[0], y - SPOT_XY_PX[1])
    light = 255 * np.exp(-(distance_px**2) / (2 * 12**2))
    return np.repeat(light.astype(np.uint8)[..., None], 3, axis=2)


def middle_of_light_xy_px(image: Picture) -> tuple[float, float]:
    light = np.clip(image[..., 0].astype(np.float64) - 8, 0, None)
    y, x = np.mgrid[: light.shape[0], : light.shape[1]]
    return float((x * light).sum() / light.sum()), float((y * light).sum() / light.sum())


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size_hw", [(h, w) for h in (1, 8, 17, 33) for w in (1, 7, 31, 97)])
def test_sizes_round_up(size_hw: tuple[int, int], subsampling: int, factor: int) -> None:
    data = encode(odd_images.noise(*size_hw), "jpeg", subsampling=subsampling)
    height, width = size_hw
    assert smaller(data, factor).shape == (-(-height // factor), -(-width // factor), 3)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("progressive", [False, True])
def test_a_pixel_is_the_mean_of_its_square(factor: int, progressive: bool) -> None:
    picture = Image.fromarray(odd_images.read(photo("bus.jpg"))).resize((808, 1080))
    data = encode(picture, "jpeg", quality=95, subsampling=0, progressive=progressive)
    size_wh = 808 // factor, 1080 // factor
    means = cv2.resize(smaller(data, 1), size_wh, interpolation=cv2.INTER_AREA)
    assert np.abs(smaller(data, factor).astype(int) - means).mean() < 2


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("orientation", TO_STORED)
def test_what_is_seen_smaller_is_where_it_was(orientation: int, factor: int) -> None:
    stored = np.ascontiguousarray(TO_STORED[orientation](spot()))
    data = encode(stored, "jpeg", quality=95, exif=exif(orientation))
    header = read_header(data, max_pixels=MAX_PIXELS)
    assert header.upright_size_wh == SIZE_WH
    image = decode(data, header, factor=factor)
    assert image.flags.c_contiguous
    region = CropRegions(np.array([SPOT_XY_PX], np.float32), np.ones((1, 2), np.float32))
    expected = regions_in_reduced(region, reduction_of(header, factor)).centers_xy_px[0]
    np.testing.assert_allclose(middle_of_light_xy_px(image), expected, atol=0.5 / factor)


def test_ink_is_decoded_smaller_too() -> None:
    red = Image.new("CMYK", (40, 24), (0, 255, 255, 0))
    np.testing.assert_allclose(smaller(encode(red, "jpeg"), 4), np.full((6, 10, 3), (255, 0, 0)))


@pytest.mark.parametrize("factor", FACTORS)
def test_a_truncated_jpeg_is_refused_at_any_size(factor: int) -> None:
    data = photo("bus.jpg")
    with pytest.raises(Undecodable):
        smaller(data[: len(data) // 2], factor)
