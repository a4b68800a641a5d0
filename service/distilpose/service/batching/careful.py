"""Guards for injected callbacks: log the exception, return a fallback."""

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
T = TypeVar("T")
logger = logging.getLogger(__name__)


def careful(
    function: Callable[Parameters, T], *, otherwise: Callable[[], T]
) -> Callable[Parameters, T]:
    """Wrap `function`: where it raises, the failure is logged and `otherwise` gives the value."""

    def guarded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except Exception:
            logger.exception("%r failed; continuing without it", function)
            return otherwise()

    return guarded


def steady(clock: Callable[[], float]) -> Callable[[], float]:
    """Wrap `clock`: where reading it fails, it repeats its last reading."""
    last = 0.0

    def read() -> float:
        nonlocal last
        last = clock()
        return last

    return careful(read, otherwise=lambda: last)
