import struct

import numpy as np
import pytest
import simplejpeg
from PIL import Image

import odd_images
from distilpose.model.errors import NotAccepted, Undecodable
from distilpose.model.formats import MAX_PIXELS
from distilpose.model.pictures.headers import read_header
from odd_images import read

# Odd JPEGs.


def test_a_grey_jpeg_becomes_rgb() -> None:
    grey = np.full((16, 16), 77, np.uint8)
    np.testing.assert_allclose(read(odd_images.encode(grey, "jpeg")), 77, atol=1)


def test_a_progressive_jpeg_is_the_same_picture() -> None:
    picture = odd_images.noise(32, 32)
    progressive = odd_images.encode(picture, "jpeg", progressive=True)
    np.testing.assert_array_equal(read(progressive), read(odd_images.encode(picture, "jpeg")))


def test_an_arithmetic_jpeg_is_decoded() -> None:
    np.testing.assert_allclose(read(odd_images.ARITHMETIC_JPEG)[4, 4], [255, 0, 0], atol=2)


def test_adobe_cmyk_jpegs_are_inverted() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    data = odd_images.encode(cyan, "jpeg", quality=95)
    np.testing.assert_allclose(read(data)[8, 8], [0, 255, 255], atol=4)


def test_cmyk_jpegs_without_adobe_marker_are_not_inverted() -> None:
    cyan = Image.new("CMYK", (16, 16), (0, 255, 255, 255))
    data = odd_images.without_segment(odd_images.encode(cyan, "jpeg", quality=95), 0xEE)
    np.testing.assert_allclose(read(data)[8, 8], [0, 255, 255], atol=4)


def test_a_ycck_jpeg_is_read_as_inverted_ink() -> None:
    orange = np.full((16, 16, 4), (255, 128, 0, 255), np.uint8)
    data = simplejpeg.encode_jpeg(orange, colorspace="CMYK", quality=95)
    np.testing.assert_allclose(read(data)[8, 8], [255, 128, 0], atol=4)


def test_a_12_bit_jpeg_is_refused_by_name() -> None:
    with pytest.raises(NotAccepted, match="12-bit JPEG"):
        read(odd_images.with_jpeg_frame(bits=12))


@pytest.mark.parametrize(("marker", "name"), [(0xC3, "lossless JPEG"), (0xF7, "JPEG-LS")])
def test_a_jpeg_of_another_process_is_refused_by_name(marker: int, name: str) -> None:
    with pytest.raises(NotAccepted, match=name):
        read(odd_images.with_jpeg_frame(marker=marker))


def test_an_mpo_is_the_jpeg_that_it_starts_with() -> None:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    data = odd_images.encode(first, "mpo", save_all=True, append_images=[second])
    assert read_header(data, max_pixels=MAX_PIXELS).format == "jpeg"
    np.testing.assert_allclose(read(data)[8, 8], [255, 0, 0], atol=2)


# Odd PNGs.


def test_transparent_pixels_lie_over_white() -> None:
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    assert read(odd_images.encode(rgba, "png")).tolist() == [[[255, 0, 0], [255] * 3, [127] * 3]]


def test_grey_with_alpha_lies_over_white() -> None:
    data = odd_images.png((2, 1), 8, 4, [bytes([9, 255, 9, 0])])
    assert read(data).tolist() == [[[9] * 3, [255] * 3]]


def test_a_transparent_palette_entry_is_white() -> None:
    palette = odd_images.png_chunk(b"PLTE", bytes([1, 2, 3, 4, 5, 6]))
    clear = odd_images.png_chunk(b"tRNS", b"\xff\x00")
    data = odd_images.png((2, 1), 8, 3, [b"\0\1"], before=palette + clear)
    assert read(data).tolist() == [[[1, 2, 3], [255] * 3]]


def test_a_transparent_colour_is_white() -> None:
    clear = odd_images.png_chunk(b"tRNS", struct.pack(">HHH", 4, 5, 6))
    data = odd_images.png((2, 1), 8, 2, [bytes([1, 2, 3, 4, 5, 6])], before=clear)
    assert read(data).tolist() == [[[1, 2, 3], [255] * 3]]


def test_a_bilevel_png_is_black_and_white() -> None:
    assert read(odd_images.png((4, 1), 1, 0, [b"\x50"]))[..., 1].tolist() == [[0, 255, 0, 255]]


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    data = odd_images.png((3, 1), 16, 0, [struct.pack(">HHH", 0, 0x8000, 0xFFFF)])
    assert read(data).tolist() == [[[0] * 3, [128] * 3, [255] * 3]]


def test_a_transparent_16_bit_grey_is_white() -> None:
    clear = odd_images.png_chunk(b"tRNS", struct.pack(">H", 0x1234))
    data = odd_images.png((2, 1), 16, 0, [struct.pack(">HH", 0x1234, 0x1235)], before=clear)
    assert read(data)[..., 0].tolist() == [[255, 0x12]]


def test_16_bit_colour_is_scaled_not_clipped() -> None:
    data = odd_images.png((1, 1), 16, 2, [struct.pack(">HHH", 0, 0x8000, 0xFFFF)])
    assert read(data).tolist() == [[[0, 128, 255]]]


def test_a_broken_animation_chunk_does_not_spoil_a_png() -> None:
    animation = odd_images.png_chunk(b"acTL", bytes(8))
    assert read(odd_images.png((1, 1), 8, 0, [b"\x07"], before=animation)).tolist() == [[[7] * 3]]


# Animations, pages, odd TIFFs and BMPs.


@pytest.mark.parametrize("name", ["png", "webp", "tiff", "avif"])
def test_of_several_pictures_the_first_counts(name: str) -> None:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    options = odd_images.NEARLY_LOSSLESS[name]
    data = odd_images.encode(first, name, save_all=True, append_images=[second], **options)
    np.testing.assert_allclose(read(data)[8, 8], [255, 0, 0], atol=4)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiffs_give_the_very_pixels(compression: str) -> None:
    picture = odd_images.noise(17, 31)
    data = odd_images.encode(picture, "tiff", compression=compression)
    np.testing.assert_array_equal(read(data), picture)


def test_a_tiff_of_tiles_gives_the_very_pixels() -> None:
    tags = {256: 2, 257: 2, 258: 8, 259: 1, 262: 1, 277: 1, 322: 16, 323: 16}
    rows = b"\x10\x20" + bytes(14) + b"\x30\x40" + bytes(14 + 14 * 16)
    assert read(odd_images.tiff(tags, rows))[..., 0].tolist() == [[0x10, 0x20], [0x30, 0x40]]


def test_a_cmyk_tiff_is_ink_on_paper() -> None:
    cyan = Image.new("CMYK", (2, 1), (255, 0, 0, 0))
    assert read(odd_images.encode(cyan, "tiff")).tolist() == [[[0, 255, 255]] * 2]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_16_bit_tiff_is_scaled_not_clipped(order: str) -> None:
    tags = {256: 2, 257: 1, 258: 16, 259: 1, 262: 1, 277: 1}
    data = odd_images.tiff(tags, struct.pack(order + "HH", 0x8000, 0xFFFF), order=order)
    assert read(data)[..., 2].tolist() == [[128, 255]]


@pytest.mark.parametrize(("mode", "samples"), [("F", "floating-point"), ("I", "32-bit")])
def test_samples_that_do_not_fit_rgb_are_refused_by_name(mode: str, samples: str) -> None:
    with pytest.raises(Undecodable, match=samples):
        read(odd_images.encode(Image.new(mode, (2, 2)), "tiff"))


@pytest.mark.parametrize("tag", [{254: 1}, {50706: 4}])
def test_a_cameras_raw_file_is_refused(tag: dict[int, int]) -> None:
    tags = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 277: 1}
    with pytest.raises(NotAccepted, match="camera's raw file"):
        read(odd_images.tiff(tags | tag, b"\0"))


def test_a_run_length_bmp_is_refused_by_name() -> None:
    data = bytearray(odd_images.encode(Image.new("P", (4, 4)), "bmp"))
    struct.pack_into("<I", data, 30, 1)
    with pytest.raises(NotAccepted, match="run-length BMP"):
        read(bytes(data))


# What no pixel depends on.

NOISE = odd_images.noise(24, 40)


def odd_png(added: bytes) -> bytes:
    png = odd_images.encode(NOISE, "png")
    return png[:33] + added + png[33:]


def with_wrong_checksum(chunk: bytes) -> bytes:
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


def odd_bmp(at: int, value: bytes) -> bytes:
    bmp = odd_images.encode(NOISE, "bmp")
    return bmp[:at] + value + bmp[at + len(value) :]


def odd_webp(flags: int, **options: bytes) -> bytes:
    webp = odd_images.encode(NOISE, "webp", lossless=True, exact=True, **options)
    assert webp[12:16] == b"VP8X"
    return webp[:20] + bytes([webp[20] ^ flags]) + webp[21:]


COUNTS_FOR_NOTHING = {
    "PNG text with a wrong checksum": lambda: odd_png(
        with_wrong_checksum(odd_images.png_chunk(b"tEXt", b"a\0b"))
    ),
    "PNG profile with a wrong checksum": lambda: odd_png(
        with_wrong_checksum(odd_images.png_chunk(b"iCCP", b"a\0\0junk"))
    ),
    "PNG profile that is none": lambda: odd_png(odd_images.png_chunk(b"iCCP", b"a\0\0junk")),
    "PNG with two profiles": lambda: odd_png(odd_images.png_chunk(b"sRGB", b"\0") * 2),
    "PNG gamma of 0": lambda: odd_png(odd_images.png_chunk(b"gAMA", bytes(4))),
    "PNG chunk of a maker": lambda: odd_png(odd_images.png_chunk(b"abCd", b"junk")),
    "PNG end with a wrong checksum": lambda: odd_images.encode(NOISE, "png")[:-1] + b"\0",
    "WebP profile that is none": lambda: odd_webp(0, icc_profile=b"junk"),
    "WebP with unannounced EXIF": lambda: odd_webp(0x08, exif=b"Exif\0\0junk"),
    "WebP with announced parts that are missing": lambda: odd_webp(0x24, exif=b"Exif\0\0junk"),
    "BMP of no size": lambda: odd_bmp(2, bytes(4)),
    "BMP of a wrong size": lambda: odd_bmp(2, b"\xff" * 4),
    "BMP of a maker": lambda: odd_bmp(6, b"abcd"),
    "BMP of no planes": lambda: odd_bmp(26, bytes(2)),
    "BMP of endless resolution": lambda: odd_bmp(38, b"\xff" * 8),
}


@pytest.mark.parametrize("what", COUNTS_FOR_NOTHING)
def test_what_no_pixel_depends_on_does_not_count(what: str) -> None:
    np.testing.assert_array_equal(read(COUNTS_FOR_NOTHING[what]()), NOISE)


@pytest.mark.parametrize("name", odd_images.FORMATS)
def test_bytes_behind_a_picture_do_not_count(name: str) -> None:
    data = odd_images.encode(NOISE, name)
    np.testing.assert_array_equal(read(data + b"junk" * 9), read(data))


@pytest.mark.parametrize(
    "tags", [{65000: 5}, {274: 99}, {282: 0, 283: 0, 296: 77}, {700: 1, 34675: 3}]
)
def test_odd_tags_of_a_tiff_do_not_count(tags: dict[int, int]) -> None:
    usual = {256: 2, 257: 1, 258: 8, 259: 1, 262: 1, 277: 1}
    assert read(odd_images.tiff(usual | tags, b"\x10\x20"))[..., 0].tolist() == [[0x10, 0x20]]


def test_the_numbers_of_a_scan_in_a_tiff_do_not_count() -> None:
    tiff = odd_images.encode(NOISE, "tiff", compression="jpeg")
    start = tiff.index(b"\xff\xda")
    end = start + 2 + int.from_bytes(tiff[start + 2 : start + 4], "big")
    assert tiff[end - 3 : end] == b"\0\x3f\0"
    np.testing.assert_array_equal(read(tiff[: end - 3] + b"\0\0\0" + tiff[end:]), read(tiff))
