"""Recognition of the same picture in two data sets."""

from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from distilpose.model.arrays import ImageHWC
from distilpose.model.data.duplicates import (
    MAX_DIFFERENT_BITS,
    Fingerprint,
    content_of,
    look_of,
    twins,
)
from distilpose.model.data.person import Picture
from photos import photo_path


def picture(picture_id: int, file_name: str | None = None) -> Picture:
    return Picture(
        id=picture_id,
        file_name=file_name or f"{picture_id}.png",
        size_wh=(1, 1),
        source="coco",
        shard=None,
        boxes_complete=True,
        people=(),
    )


def photo(name: str) -> Image.Image:
    return Image.open(photo_path(name))


def pixels(image: Image.Image) -> ImageHWC:
    return np.asarray(image.convert("RGB"))


def saved_again(image: Image.Image) -> Image.Image:
    buffer = BytesIO()
    image.resize((image.width // 2, image.height // 2)).save(buffer, "JPEG", quality=50)
    return Image.open(buffer)


def darkened(image: Image.Image) -> Image.Image:
    return image.point(lambda level: 0.7 * level + 10)


def different_bits(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(one != other))


@pytest.mark.parametrize("name", ["bus.jpg", "zidane.jpg"])
@pytest.mark.parametrize("change", [saved_again, darkened])
def test_a_changed_copy_looks_the_same(name: str, change: object) -> None:
    assert callable(change)
    look = look_of(pixels(photo(name)))
    assert look.shape == (256,)
    assert different_bits(look, look_of(pixels(change(photo(name))))) <= MAX_DIFFERENT_BITS


def test_two_photos_look_different() -> None:
    looks = [look_of(pixels(photo(name))) for name in ("bus.jpg", "zidane.jpg")]
    assert different_bits(*looks) > 3 * MAX_DIFFERENT_BITS


def test_a_picture_of_one_pixel_has_a_look() -> None:
    assert not look_of(np.zeros((1, 1, 3), np.uint8)).any()


def print_of(picture_id: int, content: bytes, seed: int, name: str | None = None) -> Fingerprint:
    look = np.random.default_rng(seed).integers(0, 2, 256).astype(np.bool_)
    return Fingerprint(picture(picture_id, name), content_of(content), look)


@pytest.mark.parametrize(
    ("other", "by"),
    [
        (print_of(9, b"x", 8, "1.png"), "name 1.png"),
        (print_of(9, b"a", 8), "same bytes"),
        (print_of(9, b"x", 1), "same look but for 0 of 256"),
        (print_of(9, b"a", 1), "same bytes"),
        (print_of(9, b"a", 1, "1.png"), "name 1.png"),
    ],
)
def test_a_twin_is_reported_once_by_its_surest_sign(other: Fingerprint, by: str) -> None:
    [twin] = twins([print_of(1, b"a", 1), print_of(2, b"b", 2)], [print_of(8, b"c", 3), other])
    assert (twin.picture.id, twin.other.id, twin.by) == (1, 9, by)


def test_cocos_id_tells_a_twin_under_another_name() -> None:
    one = Fingerprint(picture(1, "coco_000000000139.avif"))
    other = Fingerprint(picture(2, "000000000139.jpg"))
    assert [twin.by for twin in twins([one], [other])] == ["name COCO 139"]


def test_pictures_that_could_not_be_read_are_not_twins() -> None:
    assert twins([Fingerprint(picture(1))], [Fingerprint(picture(2))]) == []


def test_strangers_are_not_twins() -> None:
    ones = [print_of(number, bytes([number]), number) for number in range(40)]
    others = [print_of(number, bytes([number]), number) for number in range(40, 80)]
    assert twins(ones, others) == []
