"""Each fault of an annotation, and what is done about it."""

import math
from typing import Any

import numpy as np
import pytest

from coco_documents import (
    AREA,
    BOX_XYWH,
    MISSING,
    POINTS,
    annotation,
    document,
    faults,
    flat,
    good,
    names,
    read,
    with_point,
)
from distilpose.model.data.person import Person

BOX_PX2 = 40 * 60
NO_NUMBERS: list[Any] = [math.nan, None, math.inf, -math.inf, "12", True, [], {}, 10**400, 1e300]


def read_one(**fields: Any) -> tuple[Person, list[str]]:
    """The person of an annotation that stays, and the faults in it."""
    found = read(document([annotation(5, **fields), *good(3)]))
    return found.pictures[0].people[0], names(found)


def left_out(**fields: Any) -> tuple[list[Person], list[str]]:
    """The regions to ignore in place of an annotation that is left out, and its faults."""
    found = read(document([annotation(5, **fields), *good(3)]))
    people = found.pictures[0].people
    assert sum(not person.is_left_out for person in people) == 3
    return [person for person in people if person.is_left_out], names(found)


def test_a_whole_person_has_no_fault() -> None:
    person, found = read_one()
    assert found == []
    assert person.box_xyxy_px.tolist() == [10, 20, 50, 80]
    assert person.area_px2 == AREA
    assert person.keypoints_xy_px.tolist() == [[x, y] for x, y, _ in POINTS]
    assert (person.label, person.annotation_id) == ("human", 5)


@pytest.mark.parametrize("area", [MISSING, 0, -7, 1, 1.0, BOX_PX2 * 1.01, *NO_NUMBERS], ids=repr)
def test_an_area_that_cannot_be_is_estimated_from_the_box(area: Any) -> None:
    person, found = read_one(area=area)
    assert person.area_px2 == pytest.approx(0.53 * BOX_PX2)
    assert found == ["area"]


@pytest.mark.parametrize("area", [1.5, BOX_PX2, BOX_PX2 * 1.0005])
def test_an_area_up_to_the_boxs_is_kept(area: float) -> None:
    assert read_one(area=area)[0].area_px2 == area


@pytest.mark.parametrize(
    ("visibility", "kept", "fault"),
    [
        (0, 0, []),
        (1.0, 1, []),
        (-1, 0, ["visibility below 0"]),
        (3, 2, ["visibility above 2"]),
        (100.0, 2, ["visibility above 2"]),
    ],
)
def test_a_visibility_is_brought_to_0_1_or_2(
    visibility: float, kept: int, fault: list[str]
) -> None:
    person, found = read_one(keypoints=with_point(3, (30, 40, visibility)))
    assert person.visibility.tolist() == [2, 2, 2, kept, *[2] * 13]
    assert person.keypoints_xy_px[3].tolist() == ([30, 40] if kept else [0, 0])
    assert found == fault


@pytest.mark.parametrize("score", [0.87, 1.5, -0.25, 2.0001])
def test_a_fractional_visibility_looks_like_a_score(score: float) -> None:
    regions, found = left_out(keypoints=with_point(3, (30, 40, score)))
    assert found == ["score"]
    assert [region.box_xyxy_px.tolist() for region in regions] == [[10, 20, 50, 80]]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("place", range(3))
def test_a_point_that_is_no_number_is_not_labelled(place: int, value: Any) -> None:
    point: list[Any] = [30, 40, 2]
    point[place] = value
    person, found = read_one(keypoints=with_point(3, point))
    assert person.visibility.tolist() == [2, 2, 2, 0, *[2] * 13]
    assert person.keypoint_weight.tolist() == [1, 1, 1, 0, *[1] * 13]
    assert np.isfinite(person.keypoints_xy_px).all()
    assert found == ["point"]


def test_a_point_that_is_not_labelled_may_hold_anything() -> None:
    person, found = read_one(keypoints=with_point(3, (math.nan, None, 0)))
    assert person.keypoints_xy_px[3].tolist() == [0, 0]
    assert found == []


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("place", range(4))
def test_a_box_with_no_number_is_left_out_without_a_region(place: int, value: Any) -> None:
    box = [*BOX_XYWH[:place], value, *BOX_XYWH[place + 1 :]]
    assert left_out(bbox=box) == ([], ["box"])


@pytest.mark.parametrize("box", ["10 20 40 60", {}, [1, 2, 3], [[1, 2], [3, 4]], 7, True], ids=repr)
def test_a_box_that_is_no_four_numbers_is_left_out(box: Any) -> None:
    assert left_out(bbox=box) == ([], ["box"])


@pytest.mark.parametrize("box", [MISSING, None, [], [0, 0, 0, 0], [9, 9, 0, 50], [9, 9, -4, 50]])
def test_a_box_of_no_size_becomes_the_extent_of_the_labelled_points(box: Any) -> None:
    person, found = read_one(bbox=box, keypoints=with_point(16, (110, 80, 0)))
    assert person.box_xyxy_px.tolist() == [12, 22, 12 + 2 * 15, 22 + 3 * 15]
    assert found == ["empty box"]


@pytest.mark.parametrize("labelled", [0, 1])
def test_a_box_of_no_size_without_an_extent_is_left_out(labelled: int) -> None:
    keypoints = flat([(x, y, 2 * (number < labelled)) for number, (x, y, _) in enumerate(POINTS)])
    assert left_out(bbox=[9, 9, 0, 0], keypoints=keypoints) == ([], ["no box"])


def test_an_extent_replaces_an_area_above_it() -> None:
    person, found = read_one(bbox=[0, 0, 0, 0], area=9999)
    assert person.area_px2 == pytest.approx(0.53 * 32 * 48)
    assert found == ["empty box", "area"]


@pytest.mark.parametrize("keypoints", [MISSING, None, []])
def test_a_person_without_keypoints_has_no_fault(keypoints: Any) -> None:
    person, found = read_one(keypoints=keypoints)
    assert (person.has_keypoints, person.label, found) == (False, "box", [])


@pytest.mark.parametrize(
    "keypoints", [[1, 2, 2], flat(POINTS)[:-1], [*flat(POINTS), 0], [0] * 34, "x", {}, 7, True]
)
def test_keypoints_of_another_length_are_left_out(keypoints: Any) -> None:
    regions, found = left_out(keypoints=keypoints)
    assert (len(regions), found) == (1, ["length"])


def test_points_may_be_lists_of_their_own() -> None:
    person, found = read_one(keypoints=[list(point) for point in POINTS])
    assert person.keypoints_xy_px.tolist() == [[x, y] for x, y, _ in POINTS]
    assert found == []


@pytest.mark.parametrize("crowd", [1, True, 1.0, "1"])
def test_a_crowd_is_one_however_it_is_written(crowd: Any) -> None:
    assert read_one(iscrowd=crowd)[0].is_crowd
    assert not read_one(iscrowd=type(crowd)(0))[0].is_crowd


@pytest.mark.parametrize("crowd", [2, -1, "no", math.nan, [], {}])
def test_iscrowd_of_another_value_is_left_out(crowd: Any) -> None:
    assert left_out(iscrowd=crowd)[1] == ["iscrowd"]


@pytest.mark.parametrize(
    "weight", [[1] * 16, [2] * 17, [-1] * 17, ["1"] * 17, "1", [math.nan] * 17]
)
def test_weights_that_are_no_shares_are_left_out(weight: Any) -> None:
    assert left_out(keypoint_weight=weight)[1] == ["weight"]


@pytest.mark.parametrize("label", [5, None, [], "\ud800"])
def test_a_label_that_is_no_text_is_not_taken(label: Any) -> None:
    assert read_one(label=label)[0].label == "human"


def test_a_fault_names_file_annotation_and_detail() -> None:
    found = read(document([annotation(17, area=0), *good(3)]))
    [fault] = faults(found)
    assert fault.to_json() == {
        "rule": "area",
        "source": "mine",
        "file": "mine.json",
        "entry": "annotation 17",
        "detail": "area is 0, the box's 2400",
        "done": "0.53 of the box",
    }
