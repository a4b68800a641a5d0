import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import odd_images
from distilpose.model.arrays import ImageHWC, check_image
from distilpose.model.errors import NotAccepted, TooManyPixels, Undecodable
from distilpose.model.formats import MAX_PIXELS
from distilpose.model.pictures.encoded import decode
from distilpose.model.pictures.headers import read_header
from odd_images import read
from photos import photo

PICTURE = odd_images.noise(60, 90)
WHOLE = {name: odd_images.encode(PICTURE, name) for name in odd_images.FORMATS} | {
    "progressive jpeg": odd_images.encode(PICTURE, "jpeg", progressive=True),
    "lossless webp": odd_images.encode(PICTURE, "webp", lossless=True),
    "LZW tiff": odd_images.encode(PICTURE, "tiff", compression="tiff_lzw"),
}


@pytest.mark.parametrize("tenths", range(10))
@pytest.mark.parametrize("name", WHOLE)
def test_a_truncated_file_is_refused(name: str, tenths: int) -> None:
    data = WHOLE[name]
    assert read(data).shape == (60, 90, 3)
    with pytest.raises(Undecodable):
        read(data[: len(data) * tenths // 10])


def test_a_jpeg_that_lost_its_last_bytes_is_not_filled_with_grey() -> None:
    data = photo("bus.jpg")
    with pytest.raises(Undecodable, match="premature end of data"):
        read(data[:-200] + data[-2:])


def test_bytes_after_the_end_of_a_jpeg_are_ignored() -> None:
    data = photo("bus.jpg")
    np.testing.assert_array_equal(read(data + b"a film of the same scene"), read(data))


def odd_samples() -> list[bytes]:
    picture = odd_images.noise(16, 24)
    image = Image.fromarray(picture)
    turned = {"exif": odd_images.exif(6)}
    return [
        *(odd_images.encode(picture, name, **turned) for name in ("jpeg", "png", "webp", "tiff")),
        *(odd_images.encode(picture, name) for name in ("bmp", "avif", "heif")),
        odd_images.encode(picture, "tiff", compression="tiff_lzw"),
        odd_images.encode(picture, "jpeg", progressive=True),
        odd_images.encode(image.convert("P"), "png", transparency=3),
        odd_images.encode(image.convert("CMYK"), "jpeg"),
        odd_images.encode(image.convert("RGBA"), "webp"),
    ]


SAMPLES = odd_samples()


def outcome(data: bytes) -> ImageHWC | str:
    try:
        return read(data)
    except (Undecodable, NotAccepted, TooManyPixels) as refusal:
        return str(refusal)


@given(
    data=st.sampled_from(SAMPLES),
    flips=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), max_size=6),
    from_end=st.booleans(),
    lost_bytes=st.integers(0, 30),
)
@settings(max_examples=600, deadline=None, derandomize=True)
def test_damaged_bytes_give_an_image_or_a_refusal(
    data: bytes, flips: list[tuple[int, int]], from_end: bool, lost_bytes: int
) -> None:
    damaged = bytearray(data)
    for position, bits in flips:
        damaged[(-1 - position if from_end else position) % len(data)] ^= bits
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = outcome(bytes(damaged[: len(damaged) - lost_bytes]))
    if isinstance(result, str):
        assert " object at 0x" not in result
    else:
        check_image(result)
    assert not caught


@given(start=st.sampled_from([data[:16] for data in SAMPLES]), rest=st.binary(max_size=200))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_random_bytes_after_a_right_start_are_refused(start: bytes, rest: bytes) -> None:
    with pytest.raises((Undecodable, NotAccepted, TooManyPixels)):
        read(start + rest)


def test_a_lack_of_memory_is_not_called_a_bad_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    data = photo("bus.jpg")
    header = read_header(data, max_pixels=MAX_PIXELS)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", no_memory)
    with pytest.raises(MemoryError):
        decode(data, header)


def test_threads_do_not_disturb_each_other() -> None:
    expected = [read(data) for data in SAMPLES]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(read, SAMPLES * 20))
    for number, result in enumerate(results):
        np.testing.assert_array_equal(result, expected[number % len(SAMPLES)])
