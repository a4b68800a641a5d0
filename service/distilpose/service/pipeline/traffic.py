"""Accepted images on their way to a stage that wait in no queue: decoded, detected or cut.

A batch waits for company only while there is some.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from distilpose.service.words import Stage


class Way:
    """One image's way: to a stage, or to none any more."""

    def __init__(self, coming: dict[Stage, int]) -> None:
        self._coming = coming
        self._stage: Stage | None = None

    def to(self, stage: Stage | None) -> None:
        """Go on to `stage`. To be said right before the image's items are queued, not after."""
        if self._stage:
            self._coming[self._stage] -= 1
        if stage:
            self._coming[stage] += 1
        self._stage = stage


class Traffic:
    """How many images are on their way to each stage."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.coming = {Stage.DETECT: 0, Stage.POSE: 0}
        self._wake = wake

    @contextmanager
    def way(self) -> Iterator[Way]:
        """An image's way; however it ends, the image is no more waited for."""
        way = Way(self.coming)
        try:
            yield way
        finally:
            way.to(None)
            self._wake()
