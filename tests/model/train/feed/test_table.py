"""The people of a folder that training uses, and their data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilpose.model.errors import DataError
from distilpose.model.train.feed.table import CropFormat, PeopleTable, tabulate, training_box
from labelled import FRONTAL, person, picture, write_folder

PLAIN = CropFormat(256, 192, margin=1.0)
NOSE, LEFT_EAR = 0, 3


def table_of(folder: Path, *people: dict[str, Any], crop_format: CropFormat = PLAIN) -> PeopleTable:
    ids = sorted({each["image_id"] for each in people})
    people_folder = write_folder(folder, [picture(i) for i in ids], list(people))
    return tabulate(people_folder, crop_format)[0]


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ((10, 20, 41, 61), (10, 20, 40, 60)),  # a pixel less
        ((-5, -5, 20, 30), (0, 0, 24, 34)),  # moved in before its size is taken
        ((80, 40, 130, 95), (80, 40, 119, 89)),  # ends at the last pixel's centre
    ],
)
def test_a_training_box_is_a_pixel_smaller_and_inside(
    given: tuple[float, ...], used: tuple[float, ...]
) -> None:
    box = training_box(np.array(given, np.float32), (120, 90))
    assert box is not None
    assert box.tolist() == list(used)


@pytest.mark.parametrize(
    "outside", [(130, 10, 150, 40), (10, 100, 30, 120), (10, 10, 11, 40), (5, 5, 5, 5)]
)
def test_a_box_that_shows_nothing_is_none(outside: tuple[float, ...]) -> None:
    assert training_box(np.array(outside, np.float32), (120, 90)) is None


def test_a_keypoint_at_the_boxs_centre_is_at_the_crops_centre(tmp_path: Path) -> None:
    nose = {"nose": (40.0, 40.0)}  # of the box from (10, 20) to (70, 60)
    table = table_of(tmp_path, person(1, nose, bbox=(10, 20, 61, 41)))
    assert table.center_xy_px.tolist() == [[40, 40]]
    assert table.region_wh_px.tolist() == [[75, 100]]
    assert table.xy_px[0, NOSE].tolist() == [40, 40]
    assert table.xy_store_px[0, NOSE].tolist() == [96, 128]
    assert table.box_wh_store_px[0].tolist() == pytest.approx([60 * 2.56, 40 * 2.56])


def test_a_margin_leaves_keypoints_nearer_to_the_centre(tmp_path: Path) -> None:
    off_centre = {"nose": (40.0 + 37.5, 40.0 - 50)}  # a corner of the region
    table = table_of(
        tmp_path,
        person(1, off_centre, bbox=(10, 20, 61, 41)),
        crop_format=CropFormat(352, 264, margin=2.0),
    )
    assert table.region_wh_px.tolist() == [[75, 100]]
    assert table.xy_store_px[0, NOSE].tolist() == [132 + 66, 176 - 88]


def test_unlabelled_keypoints_have_no_place_and_no_weight(tmp_path: Path) -> None:
    table = table_of(tmp_path, person(1, FRONTAL, keypoint_weight=[0.5] * 17))
    assert table.weight[0, NOSE] == 0.5
    assert table.weight[0, LEFT_EAR] == 0
    assert table.xy_store_px[0, LEFT_EAR].tolist() == [0, 0]


def test_people_without_keypoints_are_kept_without_weight(tmp_path: Path) -> None:
    table = table_of(tmp_path, person(1, FRONTAL), person(1))
    assert table.label.tolist() == ["human", "box"]
    assert table.weight.sum(axis=1).tolist() == [7, 0]


def test_crowds_doubtful_and_invisible_people_are_left_out(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        person(1, FRONTAL, iscrowd=1),
        person(1, label="doubtful"),
        person(1, FRONTAL, bbox=(200, 10, 30, 30)),
        person(1, FRONTAL) | {"keypoints": [9, 9, 0.5] * 17},
        person(1, FRONTAL),
        person(1, FRONTAL, bbox=(45, 5, 30, 79)),
    )
    assert table.person_index.tolist() == [3, 4]


def test_the_people_of_a_picture_stand_together(tmp_path: Path) -> None:
    people = [person(7, FRONTAL), person(9, FRONTAL), person(7)]
    people_folder = write_folder(tmp_path, [picture(7), picture(8), picture(9)], people)
    table, pictures = tabulate(people_folder, PLAIN)
    assert table.picture_id.tolist() == [7, 7, 9]
    assert [(each.picture.id, each.first_row) for each in pictures] == [(7, 0), (9, 2)]
    assert [len(each.regions.centers_xy_px) for each in pictures] == [2, 1]


def test_rows_are_taken_in_the_order_asked(tmp_path: Path) -> None:
    table = table_of(tmp_path, person(1, FRONTAL), person(1), person(2, FRONTAL))
    taken = table.take(np.array([2, 0]))
    assert len(taken) == 2
    assert taken.picture_id.tolist() == [2, 1]


def test_a_folder_without_people_is_refused(tmp_path: Path) -> None:
    people_folder = write_folder(tmp_path, [picture(1)], [person(1, iscrowd=1)])
    with pytest.raises(DataError, match="nobody in it has a box to cut out"):
        tabulate(people_folder, PLAIN)
