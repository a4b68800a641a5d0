"""The calls in progress: at most so many, each with memory for what its caller sends ahead."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from distilpose.service.errors import Overloaded
from distilpose.service.pipeline.memory import Memory
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.words import MemoryPart, RefusalReason

AHEAD_BYTES: Final = 512 * 1024
"""Bytes that a caller may send before they are read: 30 frames of 100 kB a second are 300 kB in
100 ms. With the library's 64 KiB ten a second would arrive, since each would wait for the one
before it."""


class Calls:
    """Places for calls."""

    def __init__(self, most: int, *, memory: Memory, metrics: Metrics) -> None:
        self._most = most
        self._memory = memory
        self._metrics = metrics
        self._count = 0

    def check_room(self) -> None:
        """Check that there is a place.

        Raises:
            Overloaded: there is none.
        """
        if self._count >= self._most:
            self._metrics.refusals.labels(RefusalReason.CALLS).inc()
            raise Overloaded(
                f"{self._most} calls are in progress, which is the limit", retry_after_seconds=1
            )

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place until the `with` ends.

        Raises:
            Overloaded: there is none.
        """
        self.check_room()
        self._count += 1
        try:
            with self._memory.hold(MemoryPart.CONNECTIONS) as holding:
                holding.take(AHEAD_BYTES)
                yield
        finally:
            self._count -= 1
