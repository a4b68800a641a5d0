import io
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import odd_images
from distilpose.model.arrays import ImageHWC
from distilpose.model.errors import TooManyPixels, Undecodable
from distilpose.model.formats import MAX_PIXELS
from distilpose.model.pictures.encoded import decode
from distilpose.model.pictures.headers import ImageHeader, read_header
from odd_images import read
from photos import photo


def test_a_header_tells_format_size_and_orientation() -> None:
    data = odd_images.encode(odd_images.noise(40, 60), "jpeg", exif=odd_images.exif(6))
    header = read_header(data, max_pixels=MAX_PIXELS)
    assert header == ImageHeader(format="jpeg", size_wh=(60, 40), orientation=6, coding="jpeg")
    assert header.pixels == 2400


@pytest.mark.parametrize(
    ("name", "size_hw"), [("bus.jpg", (1080, 810)), ("zidane.jpg", (720, 1280))]
)
def test_a_photo_is_decoded_as_pillow_does(name: str, size_hw: tuple[int, int]) -> None:
    data = photo(name)
    image = read(data)
    assert image.shape == (*size_hw, 3)
    assert image.flags.c_contiguous
    np.testing.assert_allclose(image, np.asarray(Image.open(io.BytesIO(data))), atol=1)


@pytest.mark.parametrize("name", odd_images.LOSSLESS)
def test_lossless_formats_give_the_very_pixels(name: str) -> None:
    picture = odd_images.noise(17, 31)
    data = odd_images.encode(picture, name, **odd_images.LOSSLESS[name])
    np.testing.assert_array_equal(read(data), picture)


@pytest.mark.parametrize("name", odd_images.FORMATS)
def test_red_is_red(name: str) -> None:
    red = np.full((16, 16, 3), (255, 0, 0), np.uint8)
    data = odd_images.encode(red, name, **odd_images.NEARLY_LOSSLESS[name])
    np.testing.assert_allclose(read(data), red, atol=4)


@pytest.mark.parametrize("name", odd_images.FORMATS)
def test_one_pixel_is_an_image(name: str) -> None:
    data = odd_images.encode(np.full((1, 1, 3), 255, np.uint8), name)
    np.testing.assert_allclose(read(data), [[[255, 255, 255]]], atol=1)


# Orientation: each letter is a block of one colour; turned as its number says, a stored picture is
# "abc" over "def".

COLOURS = {
    "a": (255, 0, 0),
    "b": (0, 255, 0),
    "c": (0, 0, 255),
    "d": (255, 255, 0),
    "e": (0, 255, 255),
    "f": (255, 255, 255),
}
STORED = {
    1: ["abc", "def"],
    2: ["cba", "fed"],
    3: ["fed", "cba"],
    4: ["def", "abc"],
    5: ["ad", "be", "cf"],
    6: ["cf", "be", "ad"],
    7: ["fc", "eb", "da"],
    8: ["da", "eb", "fc"],
}


def blocks(rows: list[str]) -> ImageHWC:
    letters = np.array([[COLOURS[letter] for letter in row] for row in rows], np.uint8)
    return letters.repeat(16, axis=0).repeat(16, axis=1)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff", "avif"])
def test_an_image_is_turned_upright_once(name: str, orientation: int) -> None:
    data = odd_images.encode(
        blocks(STORED[orientation]),
        name,
        exif=odd_images.exif(orientation),
        **odd_images.NEARLY_LOSSLESS[name],
    )
    header = read_header(data, max_pixels=MAX_PIXELS)
    assert header.orientation == orientation
    assert header.size_wh == ((48, 32) if orientation < 5 else (32, 48))
    np.testing.assert_allclose(decode(data, header), blocks(STORED[1]), atol=12)


def test_exif_after_the_pixels_of_a_png_counts() -> None:
    exif = odd_images.png_chunk(b"eXIf", odd_images.exif(3)[6:])
    data = odd_images.png((2, 1), 8, 0, [b"\x10\x20"], after=exif)
    assert read(data)[..., 0].tolist() == [[0x20, 0x10]]


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_broken_exif_does_not_spoil_an_image(name: str) -> None:
    data = odd_images.encode(
        odd_images.noise(8, 8), name, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f\x01"
    )
    assert read(data).shape == (8, 8, 3)


def test_broken_exif_does_not_spoil_an_avif() -> None:
    exif = Image.Exif()
    exif[271] = "a maker with a name"
    data = odd_images.encode(odd_images.noise(8, 8), "avif", exif=exif.tobytes())
    broken = data.replace(b"MM\0*\0\0\0\x08\0\x01", b"MM\0*\0\0\0\x08\0\xff")
    assert broken != data
    assert read(broken).shape == (8, 8, 3)


# Limits.


@pytest.mark.parametrize("name", odd_images.FORMATS)
def test_pixels_over_the_limit_are_refused_by_the_header(name: str) -> None:
    data = odd_images.encode(odd_images.noise(20, 30), name)
    assert read_header(data, max_pixels=600).pixels == 600
    with pytest.raises(TooManyPixels, match=re.escape("600 pixels (30x20), the limit is 599")):
        read_header(data, max_pixels=599)


def test_bombs_are_refused_without_their_memory(tmp_path: Path) -> None:
    bombs = [odd_images.of_announced_size(name, 16000, 16000) for name in odd_images.FORMATS]
    bombs.append(odd_images.tiff_tile_bomb())
    for number, bomb in enumerate(bombs):
        (tmp_path / f"{number}").write_bytes(bomb)
    script = (
        "import pathlib, resource, sys\n"
        "from distilpose.model.errors import TooManyPixels, Undecodable\n"
        "from distilpose.model.pictures.encoded import decode\n"
        "from distilpose.model.pictures.headers import read_header\n"
        "def peak_kib(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak_kib()\n"
        "for bomb in pathlib.Path(sys.argv[1]).iterdir():\n"
        "    data = bomb.read_bytes()\n"
        "    try:\n"
        "        decode(data, read_header(data, max_pixels=50_000_000))\n"
        "    except (TooManyPixels, Undecodable) as refusal:\n"
        "        print(type(refusal).__name__)\n"
        "assert peak_kib() - before < 50 * 1024\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
    assert sorted(output) == ["TooManyPixels"] * len(odd_images.FORMATS) + ["Undecodable"]


@pytest.mark.parametrize("name", odd_images.FORMATS)
def test_a_file_that_holds_more_than_its_header_said_is_refused(name: str) -> None:
    data = odd_images.encode(odd_images.noise(40, 60), name)
    with pytest.raises(Undecodable, match="announces"):
        decode(data, ImageHeader(name, (6, 4), 1, name))


def test_a_second_size_in_a_png_is_refused() -> None:
    second = odd_images.png_chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 8, 0, 0, 0, 0))
    data = odd_images.png((1, 1), 8, 0, [b"\0"], before=second)
    with pytest.raises(Undecodable, match="announces"):
        read(data)


@pytest.mark.parametrize("name", ["jpeg", "png", "bmp", "tiff"])
def test_an_image_without_pixels_is_refused(name: str) -> None:
    with pytest.raises(Undecodable):
        read_header(odd_images.of_announced_size(name, 16, 0), max_pixels=MAX_PIXELS)


def test_text_and_profile_bombs_in_a_png_are_never_inflated() -> None:
    bomb = zlib.compress(bytes(100_000_000), 9)
    text = odd_images.png_chunk(b"zTXt", b"a\0\0" + bomb)
    profile = odd_images.png_chunk(b"iCCP", b"a\0\0" + bomb)
    assert read(odd_images.png((1, 1), 8, 0, [b"\x07"], before=text + profile)).tolist() == [
        [[7] * 3]
    ]
