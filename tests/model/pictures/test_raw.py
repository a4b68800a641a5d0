"""Raw pixels of each format, compared with OpenCV's conversions."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from distilpose.model.errors import BadRawFrame, TooManyPixels
from distilpose.model.pictures.raw import read_header, to_rgb
from distilpose.model.pictures.source import RawFrame
from odd_images import Picture, noise

PADDING = 10


def padded(rows: Picture, padding: int) -> bytes:
    """Rows with that many bytes of garbage after each."""
    return np.pad(rows, ((0, 0), (0, padding)), constant_values=77).tobytes()


def frame(format_name: str, rows: Picture, padding: int = 0, **sizes: int) -> RawFrame:
    """A frame of one plane with these rows of bytes."""
    stride = rows.shape[1] + padding if padding else 0
    return RawFrame(padded(rows, padding), format_name, row_stride_bytes=stride, **sizes)


def i420(rgb: Picture) -> Picture:
    """OpenCV's planes of a picture: rows of luma, then U, then V."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), np.uint8)


def yuv_frame(format_name: str, yuv: Picture, padding: int = 0) -> RawFrame:
    """A frame of these planes, optionally with padded rows."""
    height, width = yuv.shape[0] * 2 // 3, yuv.shape[1]
    luma, planes = yuv[:height], yuv[height:].reshape(2, height // 2, width // 2)
    if format_name == "I420":
        chroma = padded(planes.reshape(height, width // 2), padding // 2)
    else:
        chroma = padded(planes.transpose(1, 2, 0).reshape(height // 2, width), padding)
    stride = width + padding if padding else 0
    return RawFrame(padded(luma, padding) + chroma, format_name, width, height, stride)


@pytest.mark.parametrize("padding", [0, PADDING])
@pytest.mark.parametrize("format_name", ["RGB8", "BGR8", "GRAY8"])
def test_packed_pixels_are_taken_as_they_are(format_name: str, padding: int) -> None:
    rgb = noise(5, 7)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    pixels, expected = {
        "RGB8": (rgb, rgb),
        "BGR8": (cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), rgb),
        "GRAY8": (grey, cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)),
    }[format_name]
    rows = np.asarray(pixels, np.uint8).reshape(5, -1)
    sent = frame(format_name, rows, padding, width=7, height=5)
    assert read_header(sent, max_pixels=35).size_wh == (7, 5)
    image = to_rgb(sent)
    np.testing.assert_array_equal(image, expected)
    assert image.flags.c_contiguous


@pytest.mark.parametrize("padding", [0, PADDING])
@pytest.mark.parametrize("format_name", ["I420", "NV12"])
def test_yuv_is_converted_as_opencv_does(format_name: str, padding: int) -> None:
    yuv = i420(noise(6, 8))
    sent = yuv_frame(format_name, yuv, padding)
    read_header(sent, max_pixels=48)
    np.testing.assert_array_equal(to_rgb(sent), cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB_I420))


def test_yuv_is_in_limited_range() -> None:
    white, black = (RawFrame(bytes([y] * 4 + [128] * 2), "I420", 2, 2) for y in (235, 16))
    assert to_rgb(white).min() == 255
    assert to_rgb(black).max() == 0


@pytest.mark.parametrize("format_name", ["I420", "NV12"])
@pytest.mark.parametrize("stride", [0, 5, 9])
def test_odd_sizes_are_the_even_picture_cut(format_name: str, stride: int) -> None:
    yuv = i420(noise(4, 6))
    even = yuv_frame(format_name, yuv)
    luma = np.frombuffer(even.data, np.uint8)[:24].reshape(4, 6)[:3, :5]
    chroma = np.frombuffer(even.data, np.uint8)[24:].reshape(2, 6)
    row = stride or 5
    half = (row + 1) // 2
    chroma_rows = chroma.reshape(4, 3) if format_name == "I420" else chroma
    chroma_row = half if format_name == "I420" else 2 * half
    data = padded(luma, row - 5) + padded(chroma_rows, chroma_row - chroma_rows.shape[1])
    odd = RawFrame(data, format_name, 5, 3, stride)
    read_header(odd, max_pixels=15)
    np.testing.assert_array_equal(to_rgb(odd), to_rgb(even)[:3, :5])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "YUY2"}, r"4x2 YUY2; accepted formats: RGB8, BGR8, GRAY8, I420, NV12"),
        ({"width": 0}, r"0x2 RGB8: it has no pixels"),
        ({"height": 0}, r"4x0 RGB8: it has no pixels"),
        ({"row_stride_bytes": 11}, r"row_stride_bytes is 11, a row has 12 bytes"),
        ({"row_stride_bytes": 13}, r"with 13 bytes a row: expected 26 bytes, got 24"),
        ({"data": bytes(23)}, r"with 12 bytes a row: expected 24 bytes, got 23"),
        ({"data": bytes(25)}, r"expected 24 bytes, got 25"),
        ({"format": "I420"}, r"with 4 bytes a row: expected 12 bytes, got 24"),
        ({"format": "NV12", "width": 3}, r"with 3 bytes a row: expected 10 bytes, got 24"),
    ],
)
def test_numbers_that_do_not_add_up_are_refused_and_named(
    change: dict[str, object], words: str
) -> None:
    sent = replace(RawFrame(bytes(24), "RGB8", 4, 2), **change)  # type: ignore[arg-type]  # names of its fields
    with pytest.raises(BadRawFrame, match=words):
        read_header(sent, max_pixels=100)


def test_a_frame_has_the_pixels_that_an_image_may_have() -> None:
    sent = RawFrame(b"", "GRAY8", 4_000_000_000, 4_000_000_000)
    with pytest.raises(TooManyPixels, match=r"4000000000x4000000000.*limit is 100"):
        read_header(sent, max_pixels=100)
