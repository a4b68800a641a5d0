"""Sizes read before anything is decoded."""

import pytest

from distilpose.model.pictures.headers import ImageHeader, reduced_size_wh


@pytest.mark.parametrize(
    ("orientation", "upright_size_wh"),
    [(1, (60, 40)), (2, (60, 40)), (4, (60, 40)), (5, (40, 60)), (6, (40, 60)), (8, (40, 60))],
)
def test_an_image_on_its_side_is_as_wide_as_it_was_stored_high(
    orientation: int, upright_size_wh: tuple[int, int]
) -> None:
    assert ImageHeader("jpeg", (60, 40), orientation, "jpeg").upright_size_wh == upright_size_wh


def test_a_smaller_picture_rounds_up() -> None:
    assert reduced_size_wh((4001, 17), 4) == (1001, 5)
    assert reduced_size_wh((4000, 16), 8) == (500, 2)
    assert reduced_size_wh((3, 1), 8) == (1, 1)
    assert reduced_size_wh((3, 1), 1) == (3, 1)
