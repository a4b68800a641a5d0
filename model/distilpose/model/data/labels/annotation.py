"""One annotation as a person, with what is wrong in it repaired, or left out."""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from distilpose.model.arrays import FloatArray
from distilpose.model.data.labels.faults import (
    ABOVE_TWO,
    AREA,
    BELOW_ZERO,
    BOX,
    CROWD,
    EMPTY_BOX,
    LENGTH,
    NO_BOX,
    POINT,
    SCORE,
    WEIGHT,
)
from distilpose.model.data.labels.values import (
    LIMIT_PX,
    are_numbers,
    number,
    numbers,
    shown,
    text,
)
from distilpose.model.data.person import LEFT_OUT_LABEL, Person
from distilpose.model.data.rules import Breach, Rule
from distilpose.model.geometry import xywh_to_xyxy
from distilpose.model.skeleton import AREA_SHARE, KEYPOINT_COUNT, KEYPOINT_NAMES

_VALUES: Final = 3 * KEYPOINT_COUNT
_AREA_SLACK: Final = 1.001
"""Tolerance for areas above the box's: boxes are rounded."""
_CROWDS: Final[dict[object, bool]] = {0: False, 1: True, "0": False, "1": True}
_VISIBILITIES: Final = frozenset({0, 1, 2})

Order = npt.NDArray[np.intp] | None


class LeftOut(Exception):
    """The annotation cannot be trusted, for the reason in `breach`."""

    def __init__(self, rule: Rule, detail: str) -> None:
        super().__init__(detail)
        self.breach = Breach(rule, detail)


class Labelled(NamedTuple):
    """A person, and the repairs that were needed."""

    person: Person
    repairs: list[Breach]


def read_person(entry: dict[str, Any], *, annotation_id: int | None, order: Order) -> Labelled:
    """Return the person that an annotation describes.

    `order` is the index (17,) that brings its keypoints into COCO's order, or None.

    Raises:
        LeftOut: with the reason.
    """
    repairs: list[Breach] = []
    box_xyxy_px = _box(entry.get("bbox"))
    keypoints = _keypoints(entry.get("keypoints"), order, repairs)
    visibility = keypoints[:, 2].astype(np.uint8)
    labelled = visibility > 0
    if box_xyxy_px is None:
        box_xyxy_px = _extent(keypoints[labelled, :2])
        repairs.append(Breach(EMPTY_BOX, f"bbox is {shown(entry.get('bbox'))}"))
    person = Person(
        box_xyxy_px=box_xyxy_px,
        area_px2=_area_px2(entry.get("area"), box_xyxy_px, repairs),
        keypoints_xy_px=keypoints[:, :2] * labelled[:, None],
        visibility=visibility,
        keypoint_weight=_weights(entry.get("keypoint_weight"), labelled, order),
        label=text(entry.get("label")) or ("human" if labelled.any() else "box"),
        is_crowd=_is_crowd(entry.get("iscrowd")),
        annotation_id=annotation_id,
    )
    return Labelled(person, repairs)


def region_of(entry: Any, *, annotation_id: int | None) -> Person | None:
    """The box of an annotation that is left out, as a region to ignore; None if it has none."""
    try:
        box_xyxy_px = _box(entry.get("bbox")) if isinstance(entry, dict) else None
    except LeftOut:
        return None
    if box_xyxy_px is None:
        return None
    return Person(
        box_xyxy_px=box_xyxy_px,
        area_px2=AREA_SHARE * _box_area_px2(box_xyxy_px),
        keypoints_xy_px=np.zeros((KEYPOINT_COUNT, 2), np.float32),
        visibility=np.zeros(KEYPOINT_COUNT, np.uint8),
        keypoint_weight=np.zeros(KEYPOINT_COUNT, np.float32),
        label=LEFT_OUT_LABEL,
        is_crowd=False,
        annotation_id=annotation_id,
    )


def _box(value: object) -> FloatArray | None:
    """The corners (4,) of a box; None where it is missing or has no size."""
    if value is None or value == []:
        return None
    if not isinstance(value, list) or len(value) != 4 or not are_numbers(value):
        raise LeftOut(BOX, f"bbox is {shown(value)}")
    [box_xyxy_px] = xywh_to_xyxy(value)
    return box_xyxy_px if _has_size(box_xyxy_px) else None


def _has_size(box_xyxy_px: FloatArray) -> bool:
    x1, y1, x2, y2 = box_xyxy_px.tolist()
    return bool(x1 < x2 and y1 < y2)


def _extent(points_xy_px: FloatArray) -> FloatArray:
    if len(points_xy_px):
        corners = np.concatenate([points_xy_px.min(axis=0), points_xy_px.max(axis=0)])
        if _has_size(corners):
            return corners
    raise LeftOut(NO_BOX, f"{len(points_xy_px)} labelled points")


def _keypoints(value: object, order: Order, repairs: list[Breach]) -> FloatArray:
    """Keypoints (17, 3) in COCO's order with a visibility of 0, 1 or 2; zeros if there are none."""
    if value is None or value == []:
        return np.zeros((KEYPOINT_COUNT, 3), np.float32)
    flat = _flat(value)
    if len(flat) != _VALUES:
        raise LeftOut(LENGTH, f"{len(flat)} values instead of {_VALUES}")
    points = numbers(flat).reshape(KEYPOINT_COUNT, 3)
    points = points if order is None else points[order]
    if not (are_numbers(flat) and _VISIBILITIES.issuperset(flat[2::3])):
        _repair(points, repairs)
    return points.astype(np.float32)


def _flat(value: object) -> list[Any]:
    """A list of values, also of points that are lists themselves."""
    if not isinstance(value, list):
        raise LeftOut(LENGTH, f"keypoints are {shown(value)}")
    if all(isinstance(each, list) and len(each) == 3 for each in value):
        return [part for each in value for part in each]
    return value


def _repair(points: npt.NDArray[np.float64], repairs: list[Breach]) -> None:
    """Bring the visibility of points (17, 3) to 0, 1 or 2, with zeros for points that have none."""
    visibility = points[:, 2]
    scores = np.flatnonzero(visibility % 1 > 0)
    if scores.size:
        first = scores[0]
        raise LeftOut(SCORE, f"visibility {visibility[first]:g} of {KEYPOINT_NAMES[first]}")
    broken = np.isnan(points).any(axis=1) & ~(visibility <= 0)
    for rule, wrong in ((BELOW_ZERO, visibility < 0), (ABOVE_TWO, visibility > 2), (POINT, broken)):
        if wrong.any():
            first = np.flatnonzero(wrong)[0]
            repairs.append(Breach(rule, f"{wrong.sum()} points, {KEYPOINT_NAMES[first]} first"))
    points[:, 2] = np.clip(visibility, 0, 2)
    points[broken | ~(visibility > 0)] = 0


def _area_px2(value: object, box_xyxy_px: FloatArray, repairs: list[Breach]) -> float:
    area_px2, box_px2 = number(value, limit=LIMIT_PX**2), _box_area_px2(box_xyxy_px)
    if area_px2 is not None and 1 < area_px2 <= box_px2 * _AREA_SLACK:
        return area_px2
    repairs.append(Breach(AREA, f"area is {shown(value)}, the box's {box_px2:g}"))
    return AREA_SHARE * box_px2


def _box_area_px2(box_xyxy_px: FloatArray) -> float:
    width, height = (box_xyxy_px[2:] - box_xyxy_px[:2]).tolist()
    return float(width * height)


def _weights(value: object, labelled: npt.NDArray[np.bool_], order: Order) -> FloatArray:
    if value is None:
        return np.asarray(labelled, np.float32)
    if not isinstance(value, list) or len(value) != KEYPOINT_COUNT or not _are_shares(value):
        raise LeftOut(WEIGHT, f"keypoint_weight is {shown(value)}")
    weights = np.array(value, np.float32)
    return weights if order is None else weights[order]


def _are_shares(values: list[Any]) -> bool:
    return are_numbers(values) and min(values) >= 0 and max(values) <= 1


def _is_crowd(value: object) -> bool:
    if value is None:
        return False
    crowd = _CROWDS.get(value) if isinstance(value, (int, float, str)) else None
    if crowd is None:
        raise LeftOut(CROWD, f"iscrowd is {shown(value)}")
    return crowd
