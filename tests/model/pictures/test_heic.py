import numpy as np
import pytest
from PIL import Image

import heif_files
import odd_images
from distilpose.model import pictures
from distilpose.model.errors import NotAccepted, Undecodable
from distilpose.model.pictures import heic
from heif_files import HEIC, Item, box, file_of, grid, size_property

ROWS, COLUMNS = np.mgrid[0:64, 0:96]
SOFT = np.stack([COLUMNS * 2, ROWS * 3, ROWS + COLUMNS], -1).astype(np.uint8)
ALPHA = heif_files.auxiliary_property()


def read(items: list[Item], primary: int = 1) -> np.ndarray:
    return pictures.read(file_of(items, brand=HEIC, primary=primary))


@pytest.mark.parametrize("samples", ["yuv420p", "yuv444p", "yuv420p10le", "yuv422p10le"])
def test_the_samples_of_phones_and_cameras_become_8_bits(samples: str) -> None:
    data = odd_images.encode(SOFT, "heif", samples=samples, quality=5)
    np.testing.assert_allclose(pictures.read(data), SOFT, atol=16)
    deep = pictures.read_header(pictures.EncodedImage(data), max_pixels=10**5).coding
    assert (deep == "heif-deep") == samples.endswith("10le")


@pytest.mark.parametrize("samples", ["gray", "gray10le", "gray12le"])
def test_grey_of_any_depth_is_grey(samples: str) -> None:
    image = read([heif_files.hevc_picture_of(SOFT[..., 0].copy(), samples).item()])
    np.testing.assert_allclose(image, SOFT[..., :1].repeat(3, 2), atol=1)


def test_transparent_pixels_are_white() -> None:
    image = Image.fromarray(SOFT).convert("RGBA")
    image.putalpha(Image.fromarray((COLUMNS > 47).astype(np.uint8) * 255))
    shown = pictures.read(odd_images.encode(image, "heif"))
    np.testing.assert_array_equal(shown[:, :48], 255)
    np.testing.assert_allclose(shown[:, 48:], SOFT[:, 48:], atol=3)


def test_tiles_are_put_together_and_turned() -> None:
    tiles = [heif_files.hevc_picture_of(SOFT[:, at : at + 48].copy()).item() for at in (0, 48)]
    whole = Item(b"grid", grid(1, 2, 96, 60), [size_property(96, 60), box(b"irot", b"\2")], (2, 3))
    np.testing.assert_allclose(read([whole, *tiles]), SOFT[59::-1, ::-1], atol=3)


def test_the_primary_picture_counts_and_another_is_not_decoded() -> None:
    broken = heif_files.hevc_picture(64, 64)
    broken.content = broken.content[:40] + bytes(len(broken.content) - 40)
    soft = heif_files.hevc_picture_of(SOFT).item()
    np.testing.assert_allclose(read([broken.item(), soft], primary=2), SOFT, atol=3)


def test_a_picture_that_is_shown_by_another_item_is_found() -> None:
    shown = Item(b"iden", b"", [size_property(96, 64), box(b"imir", b"\1")], (2,))
    image = read([shown, heif_files.hevc_picture_of(SOFT).item()])
    np.testing.assert_allclose(image, SOFT[:, ::-1], atol=3)


def test_a_cropped_picture_is_cropped_before_it_is_turned() -> None:
    middle = (80).to_bytes(4, "big") + b"\0\0\0\1" + (50).to_bytes(4, "big") + b"\0\0\0\1"
    crop = box(b"clap", middle + (b"\0\0\0\0" + b"\0\0\0\1") * 2)
    picture = heif_files.hevc_picture_of(SOFT)
    image = read([picture.item(crop, box(b"irot", b"\2"))])
    np.testing.assert_allclose(image, SOFT[7:57, 8:88][::-1, ::-1], atol=3)


def test_frames_larger_than_announced_are_refused() -> None:
    large = heif_files.hevc_picture(240, 400)
    small = heif_files.hevc_picture(32, 48)
    for items in (
        [large.item(size_wh=(48, 32))],
        [small.item(), large.item(ALPHA, size_wh=(48, 32), auxiliary_of=1)],
        [
            Item(b"grid", grid(1, 1, 48, 32), [size_property(48, 32)], [2]),
            large.item(size_wh=(64, 64)),
        ],
    ):
        with pytest.raises(Undecodable, match="frames of 400x240 are larger than the picture"):
            read(items)


def test_a_crop_does_not_hide_the_pixels_that_are_decoded() -> None:
    tiny = (2).to_bytes(4, "big") + b"\0\0\0\1"
    crop = box(b"clap", tiny * 2 + (b"\0\0\0\0" + b"\0\0\0\1") * 2)
    large = heif_files.hevc_picture(240, 400)
    data = file_of([large.item(crop)], brand=HEIC)
    header = pictures.read_header(pictures.EncodedImage(data), max_pixels=10**6)
    assert header.size_wh == (2, 2)
    assert header.spare_pixels == 512 * 256 - 128 * 128


def test_a_sequence_without_a_still_picture_is_refused() -> None:
    data = heif_files.ftyp(b"hevc", b"msf1") + box(b"moov", b"")
    with pytest.raises(Undecodable, match="meta box is missing"):
        pictures.read(data)


def test_a_server_without_the_decoder_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = odd_images.encode(SOFT, "heif")
    monkeypatch.setattr(heic, "IS_THERE", False)
    with pytest.raises(NotAccepted, match=r"^this server was built without HEIC$"):
        pictures.read(data)


def test_decoding_registers_nothing_with_pillow() -> None:
    pictures.read(odd_images.encode(SOFT, "heif"))
    assert "HEIF" not in Image.OPEN
    assert ".heic" not in Image.registered_extensions()
