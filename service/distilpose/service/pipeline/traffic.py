"""Accepted images that wait in no queue because they are being decoded, detected or cut.

A batch is held for more items only while some are on their way.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from distilpose.service.words import Stage


class Way:
    """One image's next stage, or none."""

    def __init__(self, coming: dict[Stage, int]) -> None:
        self._coming = coming
        self._stage: Stage | None = None

    def to(self, stage: Stage | None) -> None:
        """Move on to `stage`. Call it right before the image's items are queued, not after."""
        if self._stage:
            self._coming[self._stage] -= 1
        if stage:
            self._coming[stage] += 1
        self._stage = stage


class Traffic:
    """The number of images on their way to each stage."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.coming = {Stage.DETECT: 0, Stage.POSE: 0}
        self._wake = wake

    @contextmanager
    def way(self) -> Iterator[Way]:
        """Register an image's journey; when the context ends, no batch waits for it any more."""
        way = Way(self.coming)
        try:
            yield way
        finally:
            way.to(None)
            self._wake()
