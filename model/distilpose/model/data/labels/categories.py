"""Categories of people, and the order of their keypoints."""

from collections.abc import Hashable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from distilpose.model.data.labels.faults import GROUP, ORDER
from distilpose.model.data.labels.values import key_of, shown
from distilpose.model.data.rules import Breach
from distilpose.model.errors import DataError
from distilpose.model.skeleton import KEYPOINT_COUNT, KEYPOINT_NAMES

_PERSON: Final = "person"
_SPACES: Final = str.maketrans(" -", "__")


class Categories(NamedTuple):
    """The categories of a document."""

    people: frozenset[Hashable]
    """Ids of the categories of people."""
    others: frozenset[Hashable]
    """Ids of the others."""
    order: npt.NDArray[np.intp] | None
    """Index (17,) that brings the keypoints into COCO's order; None if they are in it."""
    breaches: tuple[Breach, ...]


def read_categories(entries: Sequence[Any]) -> Categories:
    """Return the categories of people: called person, or with COCO's 17 keypoints by name.

    Raises:
        DataError: there is none, or the order of keypoints is unknown or not the same for all.
    """
    known = [each for each in entries if isinstance(each, dict)]
    people = [each for each in known if _is_person(each)]
    if not people:
        names = ", ".join(shown(each.get("name")) for each in known) or "none at all"
        raise DataError(f"no category is called {_PERSON}, only {names}")
    orders = {_names(each) for each in people} - {()}
    if len(orders) > 1:
        raise DataError(f"categories of people have {len(orders)} orders of keypoints")
    order = _order(orders.pop()) if orders else None
    breaches = [] if order is None else [Breach(ORDER, "keypoints by their names")]
    if len(people) > 1:
        ids = ", ".join(shown(each.get("id")) for each in people)
        breaches.append(Breach(GROUP, f"{ids} are {_PERSON}"))
    keys, others = (
        frozenset(key for each in group if (key := key_of(each.get("id"))) is not None)
        for group in (people, [each for each in known if each not in people])
    )
    return Categories(keys, others - keys, order, tuple(breaches))


def _is_person(category: dict[str, Any]) -> bool:
    name = category.get("name")
    if isinstance(name, str) and name.strip().casefold() == _PERSON:
        return True
    keypoints = category.get("keypoints")
    return isinstance(keypoints, list) and sorted(map(_name, keypoints)) == sorted(KEYPOINT_NAMES)


def _names(category: dict[str, Any]) -> tuple[str, ...]:
    """The names of a category's keypoints as COCO writes them; none if it names none."""
    keypoints = category.get("keypoints")
    if keypoints is None or keypoints == []:
        return ()
    if not isinstance(keypoints, list) or not all(isinstance(each, str) for each in keypoints):
        raise DataError(
            f"keypoints of category {shown(category.get('id'))} are not a list of names"
        )
    return tuple(map(_name, keypoints))


def _name(keypoint: object) -> str:
    return keypoint.strip().casefold().translate(_SPACES) if isinstance(keypoint, str) else ""


def _order(names: tuple[str, ...]) -> npt.NDArray[np.intp] | None:
    if names == KEYPOINT_NAMES:
        return None
    if sorted(names) != sorted(KEYPOINT_NAMES):
        unknown = [shown(each) for each in names if each not in KEYPOINT_NAMES]
        what = f"{len(names)}, of these unknown: {', '.join(unknown)}" if unknown else len(names)
        raise DataError(f"keypoints are not COCO's {KEYPOINT_COUNT}, but {what}")
    return np.array([names.index(each) for each in KEYPOINT_NAMES])
