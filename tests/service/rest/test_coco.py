"""Image ids of COCO results."""

import pytest

from distilpose.service.errors import InvalidOptions
from distilpose.service.rest.coco import MOST_IMAGE_ID, image_ids, number_of


@pytest.mark.parametrize(
    ("identity", "number"),
    [
        (139, 139),
        ("139", 139),
        ("000000000139.jpg", 139),
        ("000000000139.JPEG", 139),
        ("139.", 139),
        ("val2017/000000000139.jpg", 139),
        ("C:\\photos\\139.png", 139),
        ("a.b/139", 139),
        ("0", 0),
        (None, None),
        ("", None),
        ("bus.jpg", None),
        ("139.rf.jpg", None),
        ("IMG_0139.jpg", None),
        ("139/a.jpg", None),
        ("-139.jpg", None),
        ("1 39.jpg", None),
        ("\N{ARABIC-INDIC DIGIT ONE}.jpg", None),
        (".jpg", None),
    ],
)
def test_the_number_of_an_id_is_its_own_or_that_of_a_file_name(
    identity: str | int | None, number: int | None
) -> None:
    assert number_of(identity) == number


def test_an_image_without_a_number_has_its_position() -> None:
    assert image_ids(["a.jpg", 7, None, "000000000139.jpg"]) == [0, 7, 2, 139]
    assert image_ids([]) == []


def test_an_id_may_be_given_twice() -> None:
    assert image_ids([5, "5.jpg"]) == [5, 5]


def test_a_position_that_is_another_image_s_id_is_refused() -> None:
    with pytest.raises(InvalidOptions, match=r"images\[1\]: .* images\[0\] has 1 as its id"):
        image_ids(["1.jpg", "cover.jpg"])


@pytest.mark.parametrize("identity", [MOST_IMAGE_ID, f"{MOST_IMAGE_ID}.jpg"])
def test_the_largest_id_fits_into_64_bits(identity: str | int) -> None:
    assert image_ids([identity]) == [2**63 - 1]


@pytest.mark.parametrize("identity", [-1, MOST_IMAGE_ID + 1, f"{10**19}.jpg", "9" * 1024])
def test_an_id_out_of_range_is_refused_with_the_limit(identity: str | int) -> None:
    with pytest.raises(InvalidOptions, match=r"images\[1\]: id .* 0 to 9223372036854775807"):
        image_ids([1, identity])
