from pathlib import Path

import pytest

import coded_pictures
import odd_images
from distilpose.model import pictures
from distilpose.model.formats import ACCEPTED
from distilpose.model.pictures import EncodedImage, RawFrame
from distilpose.model.pictures.costs import ROWS

ALLOWANCE_BYTES = 8 * 2**20
"""Noise of the allocator."""
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak"
)

# The picture of each row that needs most memory; ODD has the arithmetic JPEG, which nothing writes.
HUNGRIEST = {
    "jpeg": "jpeg turned",
    "jpeg-progressive": "jpeg progressive 4:4:4",
    "jpeg-cmyk": "jpeg cmyk",
    "jpeg-cmyk-progressive": "jpeg cmyk progressive",
    "png": "png interlaced 16 bit alpha",
    "webp": "webp alpha",
    "avif": "avif alpha 4:4:4 turned",
    "avif-deep": "avif 12 bit alpha 4:4:4 padded",
    "heif": "heic alpha 4:4:4 turned",
    "heif-deep": "heic 12 bit 4:4:4 alpha turned",
    "bmp": "bmp 32 bit",
    "tiff": "tiff alpha",
    "tiff-tiled": "tiff tile planar alpha",
    "raw": "raw NV12",
}


def cost(source: pictures.Source) -> pictures.Cost:
    return pictures.cost_of(source, pictures.read_header(source, max_pixels=10**9))


def encoded(name: str, size_wh: tuple[int, int], **options: object) -> EncodedImage:
    return EncodedImage(
        odd_images.encode(odd_images.noise(size_wh[1], size_wh[0]), name, **options)
    )


def test_no_kind_of_picture_needs_more_memory_than_is_charged() -> None:
    names = list(HUNGRIEST.values())
    measured = coded_pictures.measured_in_a_child(
        f"((name, coded_pictures.source(name, (1536, 1536))) for name in {names})"
    )
    assert {each["coding"]: each["name"] for each in measured} == HUNGRIEST
    for each in measured:
        assert each["peak_bytes"] > 0.4 * each["charged_bytes"] - ALLOWANCE_BYTES, each
        assert each["peak_bytes"] < each["charged_bytes"] + ALLOWANCE_BYTES, each


def test_no_jpeg_with_spare_bytes_needs_more_memory_than_is_charged() -> None:
    names = [name for name in coded_pictures.NAMES if name.startswith(("jpeg odd", "jpeg spare"))]
    measured = coded_pictures.measured_in_a_child(
        f"((name, coded_pictures.source(name, (1024, 1024))) for name in {names})"
    )
    assert len(measured) == len(names) > 5
    for each in measured:
        assert each["peak_bytes"] < each["charged_bytes"] + ALLOWANCE_BYTES, each


def test_no_odd_picture_needs_more_memory_than_is_charged() -> None:
    measured = coded_pictures.measured_in_a_child(
        "((str(number), pictures.EncodedImage(data))"
        " for number, data in enumerate(odd_images.corpus()))"
    )
    assert len(measured) > 30
    assert "jpeg-arithmetic" in {each["coding"] for each in measured}
    for each in measured:
        assert each["peak_bytes"] < each["charged_bytes"] + ALLOWANCE_BYTES, each


def test_every_accepted_format_has_a_row() -> None:
    assert {coding.split("-")[0] for coding in ROWS} == {*ACCEPTED, "raw"}


def test_the_pixels_are_three_bytes_each_whatever_the_orientation() -> None:
    assert cost(encoded("jpeg", (40, 24), exif=odd_images.exif(6))).pixels_bytes == 40 * 24 * 3
    assert cost(RawFrame(bytes(35), "GRAY8", 7, 5)).pixels_bytes == 7 * 5 * 3


@pytest.mark.parametrize("name", odd_images.FORMATS)
def test_four_times_the_pixels_cost_about_four_times_as_much(name: str) -> None:
    small = cost(EncodedImage(odd_images.of_announced_size(name, 4000, 3000)))
    large = cost(EncodedImage(odd_images.of_announced_size(name, 8000, 6000)))
    assert 3.5 < large.decode_seconds / small.decode_seconds < 4.1
    assert 3.5 < large.peak_bytes / small.peak_bytes < 4.1
    assert small.decode_seconds > 12 * 0.004


def test_a_jpeg_of_many_scans_costs_more_time() -> None:
    progressive = encoded("jpeg", (1024, 1024), quality=10, progressive=True)
    many = EncodedImage(coded_pictures.many_scans(progressive.content, 60))
    assert cost(many).decode_seconds > 2 * cost(progressive).decode_seconds


def test_a_tiff_of_many_strips_costs_more_time_and_memory() -> None:
    few = encoded("tiff", (16, 20_000))
    many = encoded("tiff", (16, 20_000), tiffinfo={278: 1})
    assert cost(many).decode_seconds > cost(few).decode_seconds + 0.15
    assert cost(many).peak_bytes > cost(few).peak_bytes + 20_000 * 400


def test_a_turned_jpeg_costs_one_more_copy() -> None:
    plain, turned = (
        cost(encoded("jpeg", (1024, 1024), exif=odd_images.exif(number))) for number in (1, 6)
    )
    assert turned.peak_bytes > plain.peak_bytes + 1024 * 1024 * 3
    assert turned.decode_seconds > plain.decode_seconds


@pytest.mark.parametrize(
    ("name", "coding"),
    [
        ("jpeg", "jpeg"),
        ("jpeg progressive", "jpeg-progressive"),
        ("jpeg cmyk", "jpeg-cmyk"),
        ("jpeg cmyk progressive", "jpeg-cmyk-progressive"),
        ("tiff tile", "tiff-tiled"),
        ("tiff lzma alpha", "tiff-lzma"),
        ("png", "png"),
        ("raw I420", "raw"),
    ],
)
def test_a_header_tells_the_coding(name: str, coding: str) -> None:
    source = coded_pictures.source(name, (32, 32))
    assert pictures.read_header(source, max_pixels=2000).coding == coding


def test_an_arithmetic_jpeg_has_a_row_of_its_own() -> None:
    source = EncodedImage(odd_images.ARITHMETIC_JPEG)
    assert pictures.read_header(source, max_pixels=64).coding == "jpeg-arithmetic"
