import struct

import pytest

import odd_images
from distilpose.model.pictures.containers import (
    exif_orientation,
    first_directory,
    jpeg_segments,
    pixels_only_avif,
    pixels_only_png,
    pixels_only_tiff,
    png_chunks,
    webp_chunks,
)

GREY_TAGS = {256: 2, 257: 1, 258: 8, 259: 1, 262: 1, 277: 1}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_tells_the_orientation_in_both_byte_orders(orientation: int, order: str) -> None:
    assert exif_orientation(odd_images.exif(orientation, order)) == orientation


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0XX*\0\x08\0\0\0",
        odd_images.exif(6)[:-8],
        odd_images.exif(6).replace(b"\x08\0\0\0", b"\xff\xff\xff\xff"),
        odd_images.exif(0),
        odd_images.exif(9),
    ],
)
def test_missing_or_broken_exif_means_upright(exif: bytes) -> None:
    assert exif_orientation(exif) == 1


def test_jpeg_segments_end_with_the_first_scans_header() -> None:
    jpeg = b"\xff\xd8\xff\xe1\0\x05abc\xff\xff\xdb\0\x03q\xff\xda\0\x02\xff\xe2\0\x03x"
    assert list(jpeg_segments(jpeg)) == [(b"\xe1", 6, 9), (b"\xdb", 14, 15), (b"\xda", 19, 19)]


def test_of_a_png_the_wanted_chunks_are_given() -> None:
    text = odd_images.png_chunk(b"tEXt", b"a\0b")
    png = odd_images.png((1, 1), 8, 0, [b"\0"], before=text)
    assert [png[start:end] for _, start, end in png_chunks(png, {b"tEXt"})] == [b"a\0b"]


def test_a_png_without_its_end_is_truncated() -> None:
    png = odd_images.png((1, 1), 8, 0, [b"\0"])
    with pytest.raises(ValueError, match="truncated"):
        list(png_chunks(png[:-12], {b"IDAT"}))


def test_webp_chunks_of_odd_length_are_padded() -> None:
    webp = b"RIFF\0\0\0\0WEBPVP8 \x03\0\0\0abc\0EXIF\x02\0\0\0de"
    assert list(webp_chunks(webp)) == [(b"VP8 ", 20, 23), (b"EXIF", 32, 34)]


def test_a_reduced_png_keeps_only_pixels() -> None:
    extras = odd_images.png_chunk(b"zTXt", b"a\0\0junk") + odd_images.png_chunk(b"acTL", bytes(8))
    png = odd_images.png((1, 1), 8, 0, [b"\0"], before=extras)
    assert pixels_only_png(png) == odd_images.png((1, 1), 8, 0, [b"\0"])


def test_a_wrong_checksum_of_pixels_is_refused() -> None:
    png = bytearray(odd_images.png((1, 1), 8, 0, [b"\0"]))
    png[-13] ^= 1
    with pytest.raises(ValueError, match="checksum of its IDAT chunk"):
        pixels_only_png(bytes(png))


def test_nothing_about_the_end_of_a_png_counts_but_that_it_is_there() -> None:
    png = odd_images.png((1, 1), 8, 0, [b"\0"])
    assert pixels_only_png(png[:-12] + b"\0\0\0\2IENDxx\1\2\3\4after") == png


def test_a_reduced_avif_differs_only_in_the_name_of_its_exif_item() -> None:
    avif = b"\0\0\0\x15infe\x02\0\0\x01\0\x02\0\0Exif\0mdatExif"
    assert pixels_only_avif(avif) == b"\0\0\0\x15infe\x02\0\0\x01\0\x02\0\0skip\0mdatExif"


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_reduced_tiff_keeps_only_the_pixels_of_its_first_page(order: str) -> None:
    tiff = odd_images.tiff(GREY_TAGS | {274: 6, 34665: 999}, b"\x10\x20", order=order)
    reduced = pixels_only_tiff(tiff)
    assert sorted(first_directory(reduced).entries) == [256, 257, 258, 259, 262, 273, 277, 279]
    assert len(reduced) == len(tiff)
    assert reduced.endswith(b"\x10\x20")


def test_tiff_values_outside_the_file_are_refused() -> None:
    tiff = odd_images.tiff(GREY_TAGS, b"\x10\x20")
    many_offsets = tiff.replace(b"\x11\x01\x04\0\x01\0\0\0", b"\x11\x01\x04\0\xff\0\0\0")
    with pytest.raises(ValueError, match="tag 273 lie outside the file"):
        pixels_only_tiff(many_offsets)


def test_a_tiff_tag_with_too_many_values_is_refused() -> None:
    tiff = odd_images.tiff(GREY_TAGS, b"\x10\x20")
    two_widths = tiff.replace(b"\0\x01\x04\0\x01\0\0\0", b"\0\x01\x04\0\x02\0\0\0", 1)
    with pytest.raises(ValueError, match="tag 256 has 2 values"):
        pixels_only_tiff(two_widths)


def test_a_tiff_tile_far_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="tiles of 32000x32000"):
        pixels_only_tiff(odd_images.tiff_tile_bomb())


def test_a_tiff_whose_strips_do_not_cover_the_image_is_refused() -> None:
    tiff = odd_images.tiff(GREY_TAGS | {257: 2, 278: 1}, b"\x10\x20")
    with pytest.raises(ValueError, match="do not cover the image"):
        pixels_only_tiff(tiff)


@pytest.mark.parametrize("tag", [258, 273])
def test_a_list_that_would_fill_the_memory_is_refused(tag: int) -> None:
    tiff = odd_images.tiff(GREY_TAGS, bytes(10**6))
    entry = struct.pack("<HHI", tag, 4, 1)
    with pytest.raises(ValueError, match=f"tag {tag} has 200001 values, the limit is 200000"):
        pixels_only_tiff(tiff.replace(entry, struct.pack("<HHI", tag, 4, 200_001)))


def test_a_tiff_of_too_many_strips_is_refused() -> None:
    tiff = odd_images.tiff(GREY_TAGS, bytes(10**6))
    entry = struct.pack("<HHI", 273, 4, 1)
    with pytest.raises(ValueError, match="150000 strips or tiles, the limit is 100000"):
        pixels_only_tiff(tiff.replace(entry, struct.pack("<HHI", 273, 4, 150_000)))


def test_a_tiff_of_strips_and_tiles_is_refused() -> None:
    tiff = odd_images.tiff(GREY_TAGS | {322: 16, 323: 16, 273: 8}, bytes(256))
    with pytest.raises(ValueError, match="both strips and tiles"):
        pixels_only_tiff(tiff)


@pytest.mark.parametrize(("bits", "photometric"), [(12, 1), (16, 0)])
def test_tiff_grey_that_would_come_out_wrong_is_refused(bits: int, photometric: int) -> None:
    tiff = odd_images.tiff(GREY_TAGS | {258: bits, 262: photometric}, bytes(4))
    with pytest.raises(ValueError, match="not supported"):
        pixels_only_tiff(tiff)
