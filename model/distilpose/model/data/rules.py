"""The rules of a data set, and the check of a person's labels against them. Knows no files."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np

from distilpose.model.arrays import FloatArray
from distilpose.model.data.person import Person
from distilpose.model.skeleton import KEYPOINT_NAMES

BOX_SLACK_PX: Final = 2.0
"""Tolerance for boxes that extend beyond their picture: labels are rounded, pictures scaled."""
KEYPOINT_SLACK: Final = 0.25
"""Tolerance for keypoints outside their box, as a share of the box's longer side."""

_OPPOSITE_COSINE: Final = -0.5
"""Two directions more than 120 degrees apart are opposite."""
_MIN_TORSO_SPAN: Final = 0.2
"""Minimum width of shoulders or hips, as a share of the torso's length: narrower ones are seen from
the side, and may be in either order."""
_MIN_EYE_SPAN: Final = 0.02
"""Minimum distance of the eyes, as a share of the box's longer side: closer ones may be swapped by
imprecise labelling."""
_MIN_SHOULDER_SPAN: Final = 2.5
"""Minimum width of the shoulders, as a multiple of the eyes' distance: a head turns far over a
shoulder seen from the side."""
_NOSE_BETWEEN: Final = (0.25, 0.75)
_NOSE: Final = KEYPOINT_NAMES.index("nose")


@dataclass(frozen=True)
class Rule:
    """One kind of error, and the share of it that a usable data set may have."""

    name: str
    meaning: str
    """The condition that breaks the rule, in words."""
    of: Literal["files", "pictures", "annotations", "people", "people with keypoints"]
    """The population of the share."""
    tolerated_share: float
    done: str = ""
    """The remedy, where there is one, in words."""
    leaves_out: bool = False
    """True if the remedy is to use nothing but the box, as a region to ignore."""


class Breach(NamedTuple):
    """A broken rule, with details."""

    rule: Rule
    detail: str


MISSING: Final = Rule("missing", "a picture that is missing", "pictures", 0)
UNREADABLE: Final = Rule(
    "unreadable", "a picture that is broken or has another size than labelled", "pictures", 0
)
DUPLICATE: Final = Rule(
    "duplicate", "a picture that the other folder has too, by name, bytes or look", "pictures", 0
)
BOX_OUTSIDE: Final = Rule(
    "box outside", f"a box more than {BOX_SLACK_PX:g} px out of its picture", "people", 0.001
)
KEYPOINT_OUTSIDE: Final = Rule(
    "keypoint outside",
    f"a keypoint out of the box by more than {KEYPOINT_SLACK:g} of its longer side",
    "people with keypoints",
    0.05,
)
SWAP: Final = Rule(
    "left/right swap",
    "shoulders that point the other way than the hips or than the eyes of a frontal face",
    "people with keypoints",
    0.02,
)
RULES: Final = (
    MISSING,
    UNREADABLE,
    DUPLICATE,
    BOX_OUTSIDE,
    KEYPOINT_OUTSIDE,
    SWAP,
)


def person_breaches(person: Person, size_wh: tuple[int, int]) -> Iterator[Breach]:
    """Each rule that the labels of a person in a picture of `size_wh` break, at most once each."""
    box_wh_px = person.box_xyxy_px[2:] - person.box_xyxy_px[:2]
    outside_px = _outside_px(
        person.box_xyxy_px.reshape(2, 2), np.array([0, 0, *size_wh], np.float32)
    )
    if outside_px.max() > BOX_SLACK_PX:
        yield Breach(BOX_OUTSIDE, f"by {outside_px.max():.1f} px")
    if person.is_crowd or not person.has_keypoints:
        return
    far = _outside_px(person.keypoints_xy_px, person.box_xyxy_px) / box_wh_px.max()
    far[person.visibility == 0] = 0
    if far.max() > KEYPOINT_SLACK:
        worst = KEYPOINT_NAMES[int(far.argmax())]
        yield Breach(KEYPOINT_OUTSIDE, f"{worst} by {far.max():.2f} of the box")
    against = suspected_swap(person)
    if against:
        yield Breach(SWAP, f"shoulders against {against}")


def suspected_swap(person: Person) -> Literal["hips", "face"] | None:
    """The part of a person that the shoulders contradict in direction (right to left), or None.

    Shoulders and hips point the same way, and so do shoulders and the eyes of a frontal face, if
    both are wide enough for a reliable direction: nobody twists by 120 degrees.
    """
    shoulders, hips, eyes = (_right_to_left(person, part) for part in ("shoulder", "hip", "eye"))
    if shoulders is None:
        return None
    if hips is not None and _opposite(shoulders, hips):
        min_span_px = _MIN_TORSO_SPAN * _torso_px(person)
        if min(_norm(shoulders), _norm(hips)) >= min_span_px:
            return "hips"
    if eyes is not None and _opposite(shoulders, eyes) and _is_frontal(person, eyes):
        box_px = float((person.box_xyxy_px[2:] - person.box_xyxy_px[:2]).max())
        wide = _norm(shoulders) >= _MIN_SHOULDER_SPAN * _norm(eyes)
        if wide and _norm(eyes) >= _MIN_EYE_SPAN * box_px:
            return "face"
    return None


def _is_frontal(person: Person, eyes: FloatArray) -> bool:
    """Return True if the nose lies between the eyes; in profile it is in front of both."""
    if person.visibility[_NOSE] == 0:
        return False
    nose = person.keypoints_xy_px[_NOSE] - person.keypoints_xy_px[_pair("eye")[0]]
    return _NOSE_BETWEEN[0] < float(nose @ eyes) / float(eyes @ eyes) < _NOSE_BETWEEN[1]


def _right_to_left(person: Person, part: str) -> FloatArray | None:
    right, left = _pair(part)
    if not person.visibility[[right, left]].all():
        return None
    xy_px = person.keypoints_xy_px
    return np.asarray(xy_px[left] - xy_px[right], np.float32)


def _torso_px(person: Person) -> float:
    shoulders, hips = (
        person.keypoints_xy_px[list(_pair(part))].mean(axis=0) for part in ("shoulder", "hip")
    )
    return _norm(shoulders - hips)


def _pair(part: str) -> tuple[int, int]:
    return KEYPOINT_NAMES.index(f"right_{part}"), KEYPOINT_NAMES.index(f"left_{part}")


def _opposite(one: FloatArray, other: FloatArray) -> bool:
    return float(one @ other) < _OPPOSITE_COSINE * _norm(one) * _norm(other)


def _norm(vector: FloatArray) -> float:
    return float(np.linalg.norm(vector))


def _outside_px(points_xy_px: FloatArray, box_xyxy_px: FloatArray) -> FloatArray:
    """The distance of each point (N, 2) outside the box, along x or y: (N,), 0 inside."""
    over = np.maximum(box_xyxy_px[:2] - points_xy_px, points_xy_px - box_xyxy_px[2:])
    return np.asarray(np.maximum(over, 0).max(axis=1), np.float32)
