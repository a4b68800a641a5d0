"""Values of labels from files that anybody may have written: numbers, ids and texts of any type."""

import json
from collections.abc import Hashable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

LIMIT_PX: Final = 1e7
"""Coordinates and sizes beyond this count as infinite: no picture is that large, and float32 would
round them."""

_MAX_ID: Final = 2**53
_NUMERIC: Final = frozenset({int, float})
_SHOWN_CHARACTERS: Final = 40


def number(value: object, *, limit: float = LIMIT_PX) -> float | None:
    """A JSON number as a float; None if it is of another type, not finite, or beyond the limit."""
    return float(value) if type(value) in _NUMERIC and abs(value) <= limit else None  # type: ignore[arg-type]


def numbers(values: Sequence[object]) -> npt.NDArray[np.float64]:
    """JSON numbers (N,), with NaN for values that are not a number within `LIMIT_PX`."""
    if are_numbers(values):
        return np.array(values, np.float64)
    found = (number(value) for value in values)
    return np.array([np.nan if value is None else value for value in found], np.float64)


def are_numbers(values: Sequence[Any]) -> bool:
    """Return True if all values are JSON numbers within `LIMIT_PX`, and there is one."""
    # Without NumPy, whose calls would take most of the time of reading labels.
    if not values or not _NUMERIC.issuperset(map(type, values)):
        return False
    return all(-LIMIT_PX <= value <= LIMIT_PX for value in values)


def key_of(value: object) -> Hashable | None:
    """An id by which entries refer to each other: digits as an integer, or a text.

    None if it is neither, so that nothing can refer to it.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str):
        text = value.strip()
        is_number = text.isascii() and text.isdigit() and len(text) < len(str(_MAX_ID))
        return int(text) if is_number else text
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < _MAX_ID else hex(value)
    return None


def numbered(keys: Sequence[Hashable | None]) -> list[int]:
    """A number for each key: its own if it is one, else the next after the largest, in order."""
    upcoming = max((key for key in keys if isinstance(key, int)), default=0)
    upcoming = max(upcoming, 0) + 1
    known: dict[Hashable, int] = {}
    found = []
    for key in keys:
        if not isinstance(key, int):
            number_of_key = upcoming if key is None else known.setdefault(key, upcoming)
            upcoming += number_of_key == upcoming
            key = number_of_key  # noqa: PLW2901 - the number is the text's from here on
        found.append(key)
    return found


def text(value: object) -> str | None:
    """A text that can be printed and name a file; None for other types and other texts."""
    if not isinstance(value, str) or "\0" in value:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return None
    return value


def shown(value: Any) -> str:
    """A value of a file in a message: as JSON, in ASCII, cut where it is long."""
    try:
        written = json.dumps(value, default=lambda other: type(other).__name__)
    except (ValueError, RecursionError):
        written = type(value).__name__
    cut = len(written) > _SHOWN_CHARACTERS
    return f"{written[:_SHOWN_CHARACTERS]}..." if cut else written
