"""The rules that a person's labels break."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from distilpose.model.data.person import Person
from distilpose.model.data.rules import person_breaches, suspected_swap
from distilpose.model.skeleton import KEYPOINT_NAMES
from labelled import FRONTAL

SIZE_WH = (120, 90)
Points = Mapping[str, tuple[float, float]]


def person(
    keypoints: Points = FRONTAL,
    *,
    box: tuple[float, float, float, float] = (45, 5, 75, 85),
    **fields: Any,
) -> Person:
    points = np.zeros((17, 2), np.float32)
    visibility = np.zeros(17, np.uint8)
    for name, xy in keypoints.items():
        points[KEYPOINT_NAMES.index(name)] = xy
        visibility[KEYPOINT_NAMES.index(name)] = 2
    values: dict[str, Any] = {
        "box_xyxy_px": np.array(box, np.float32),
        "area_px2": 1000.0,
        "keypoints_xy_px": points,
        "visibility": visibility,
        "keypoint_weight": (visibility > 0).astype(np.float32),
        "label": "human",
        "is_crowd": False,
    }
    return Person(**values | fields)


def broken(someone: Person) -> list[tuple[str, str]]:
    return [
        (breach.rule.name, breach.detail) for breach in person_breaches(someone, size_wh=SIZE_WH)
    ]


def swapped(*parts: str) -> Points:
    """A frontal person with left and right of these parts exchanged."""
    other = {"left": "right", "right": "left"}
    sides = {f"{side}_{part}": f"{other[side]}_{part}" for side in other for part in parts}
    return {sides.get(name, name): xy for name, xy in FRONTAL.items()}


def turned(keypoints: Points, degrees: float) -> Points:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return {
        name: (60 + cos * (x - 60) - sin * (y - 45), 45 + sin * (x - 60) + cos * (y - 45))
        for name, (x, y) in keypoints.items()
    }


def test_a_well_labelled_person_breaks_nothing() -> None:
    assert broken(person()) == []


def test_a_box_may_reach_two_pixels_out_of_its_picture() -> None:
    assert broken(person(box=(-2, -2, 122, 92))) == []


@pytest.mark.parametrize(
    "box", [(-3, 5, 75, 85), (45, -3, 75, 85), (45, 5, 123, 85), (45, 5, 75, 93)]
)
def test_a_box_further_out_is_reported(box: tuple[float, float, float, float]) -> None:
    assert broken(person(box=box)) == [("box outside", "by 3.0 px")]


def test_a_keypoint_far_out_of_its_box_is_reported() -> None:
    keypoints = dict(FRONTAL) | {"left_wrist": (75 + 0.3 * 80, 40)}
    assert broken(person(keypoints)) == [("keypoint outside", "left_wrist by 0.30 of the box")]


def test_a_keypoint_a_little_out_of_its_box_is_not() -> None:
    assert broken(person(dict(FRONTAL) | {"left_wrist": (75 + 0.2 * 80, 40)})) == []


def test_unlabelled_keypoints_lie_nowhere() -> None:
    assert broken(person({"left_hip": (110, 60)}, box=(90, 40, 118, 85))) == []


def test_a_crowds_keypoints_are_not_looked_at() -> None:
    assert broken(person(swapped("hip"), is_crowd=True)) == []


@pytest.mark.parametrize("degrees", [0, 90, 180, 215])
@pytest.mark.parametrize(
    ("parts", "against"),
    [
        ((), None),
        (("eye", "shoulder", "hip"), None),
        (("shoulder",), "hips"),
        (("hip",), "hips"),
        (("shoulder", "hip"), "face"),
        (("eye",), "face"),
    ],
)
def test_shoulders_tell_a_swap_however_the_person_lies(
    degrees: float, parts: tuple[str, ...], against: str | None
) -> None:
    assert suspected_swap(person(turned(swapped(*parts), degrees))) == against


def test_a_swap_is_reported_with_what_contradicts_it() -> None:
    assert broken(person(swapped("hip"))) == [("left/right swap", "shoulders against hips")]


def test_hips_seen_from_the_side_tell_nothing() -> None:
    narrow = {"left_hip": (58.0, 55.0), "right_hip": (61.0, 55.0)}
    assert suspected_swap(person(dict(FRONTAL) | narrow)) is None


def test_a_head_turned_over_the_shoulder_is_no_swap() -> None:
    back = swapped("shoulder", "hip", "eye")
    in_profile = dict(back) | {"nose": (54, 15), "left_eye": (59, 12), "right_eye": (55, 12)}
    assert suspected_swap(person(in_profile)) is None


def test_a_face_is_no_evidence_against_shoulders_seen_from_the_side() -> None:
    sideways = {"left_shoulder": (57.0, 30.0), "right_shoulder": (63.0, 30.0)}
    no_hips = {name: xy for name, xy in FRONTAL.items() if "hip" not in name}
    assert suspected_swap(person(no_hips | sideways)) is None


@pytest.mark.parametrize("missing", ["left_shoulder", "right_hip"])
def test_half_labelled_pairs_tell_nothing(missing: str) -> None:
    keypoints = dict(swapped("hip"))
    del keypoints[missing]
    assert suspected_swap(person(keypoints)) is None
