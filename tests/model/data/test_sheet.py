"""The contents of a sheet of findings; its look is judged by people."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distilpose.model.arrays import ImageHWC
from distilpose.model.data import sheet
from distilpose.model.data.check import check
from distilpose.model.drawing import skeletons
from distilpose.model.errors import ArrayError
from labelled import FRONTAL, encoded, person, picture, write_folder

TILE_W, TILE_H = 240, 320


def has_colour(image: ImageHWC, colour: skeletons.Colour) -> bool:
    return bool((image == colour).all(axis=-1).any())


def test_people_at_random_have_their_sides_marked(tmp_path: Path) -> None:
    people = [person(1, FRONTAL), person(1, FRONTAL, bbox=(45, 5, 30, 79)), person(1)]
    people_folder = write_folder(tmp_path, [picture(1)], people)
    drawn = sheet.sheet(people_folder, check(people_folder))
    assert 2 * TILE_W < drawn.shape[1] < 3 * TILE_W
    assert has_colour(drawn, skeletons.LEFT_RGB)
    assert has_colour(drawn, skeletons.RIGHT_RGB)


def test_a_side_is_marked_where_its_keypoint_is(tmp_path: Path) -> None:
    left_alone = {"left_hip": FRONTAL["left_hip"]}
    people_folder = write_folder(tmp_path, [picture(1)], [person(1, left_alone)])
    drawn = sheet.sheet(people_folder, check(people_folder))
    marks_yx = np.argwhere((drawn == skeletons.LEFT_RGB).all(axis=-1))
    # The box (45, 5, 30, 80) is 75 x 100 px of a region, and drawn at 3.2 to the pixel.
    want_xy = (8 + 120 + 3.2 * (66 - 60), 8 + 160 + 3.2 * (55 - 45))
    assert marks_yx.mean(axis=0)[::-1] == pytest.approx(want_xy, abs=1)
    assert not has_colour(drawn, skeletons.RIGHT_RGB)


def test_a_duplicate_is_shown_beside_its_twin(tmp_path: Path) -> None:
    red, green = (np.full((90, 120, 3), colour, np.uint8) for colour in [(250, 0, 0), (0, 250, 0)])
    train = write_folder(tmp_path / "a", [picture(1)], [], files={"1.png": encoded(red)})
    other = write_folder(tmp_path / "b", [picture(1)], [], files={"1.png": encoded(green)})
    drawn = sheet.sheet(train, check(train, against=other), against=other)
    assert has_colour(drawn, (250, 0, 0))
    assert has_colour(drawn, (0, 250, 0))


def test_so_many_of_each_rule_are_shown(tmp_path: Path) -> None:
    people = [person(1, FRONTAL, bbox=(-9, 5, 90, 80 - each / 10)) for each in range(9)]
    people_folder = write_folder(tmp_path, [picture(1)], people)
    drawn = sheet.sheet(people_folder, check(people_folder))
    # Five that break the rule and nine at random, in rows of five.
    assert 5 * TILE_W < drawn.shape[1] < 6 * TILE_W
    assert 3 * TILE_H < drawn.shape[0] < 4 * TILE_H
    assert len(check(people_folder).findings) == 9


def test_pictures_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    people_folder = write_folder(
        tmp_path,
        [picture(1), picture(2)],
        [person(1, FRONTAL), person(2, FRONTAL)],
        files={"2.png": b"no picture"},
    )
    report = check(people_folder, decode=True)
    drawn = sheet.sheet(people_folder, report)
    assert drawn.shape[1] < 2 * TILE_W


def test_nothing_to_show_is_refused(tmp_path: Path) -> None:
    people_folder = write_folder(tmp_path, [picture(1)], [person(1)])
    with pytest.raises(ArrayError, match="at least one"):
        sheet.sheet(people_folder, check(people_folder))


def test_the_same_sheet_is_drawn_again(tmp_path: Path) -> None:
    people = [person(i, FRONTAL) for i in range(1, 13)]
    people_folder = write_folder(tmp_path, [picture(i) for i in range(1, 13)], people)
    one, two = (sheet.sheet(people_folder, check(people_folder)) for _ in range(2))
    assert np.array_equal(one, two)


def test_a_sheet_is_written_as_a_png(tmp_path: Path) -> None:
    people_folder = write_folder(tmp_path, [picture(1)], [person(1, FRONTAL)])
    report, path = check(people_folder), tmp_path / "sheet.png"
    sheet.write_sheet(path, people_folder, report)
    with Image.open(path) as drawn:
        assert np.array_equal(np.asarray(drawn), sheet.sheet(people_folder, report))
