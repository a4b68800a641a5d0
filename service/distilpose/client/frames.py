"""Read what a caller iterates over: off the client's event loop, numbered and timed."""

import asyncio
import math
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from distilpose.client.errors import InvalidRequest
from distilpose.client.pictures import Frame, Picture, Source, load

T = TypeVar("T")
Frames: TypeAlias = Iterable[Picture | Frame] | AsyncIterable[Picture | Frame]

_END: Final[Any] = object()
_USUAL_FPS: Final = 30.0
_LEAST_MS: Final = 1.0
"""Frames that arrive together get times that are at least so far apart."""


@dataclass(frozen=True, eq=False)
class NumberedFrame:
    """A frame that is ready to send."""

    frame_id: int
    timestamp_ms: float
    source: Source


async def pull(things: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """The things, one by one; a synchronous iterable is read in another thread."""
    if isinstance(things, AsyncIterable):
        async for thing in things:
            yield thing
        return
    iterator = iter(things)
    while (thing := await asyncio.to_thread(next, iterator, _END)) is not _END:
        yield thing


class FrameTimes:
    """Gives times to frames that have none: `fps` a second, or the instants at which they arrive.

    Without `fps`, frames of which every one is answered (`ordered`) count as 30 a second, since
    they arrive as fast as they are answered.
    """

    def __init__(
        self, fps: float | None, *, by_arrival: bool, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Start at the first frame.

        Raises:
            InvalidRequest: `fps` is not a positive number.
        """
        if fps is not None and not (fps > 0 and math.isfinite(fps)):
            raise InvalidRequest(f"fps: expected a positive number, got {fps}")
        self._by_arrival = by_arrival and fps is None
        self._fps = fps or _USUAL_FPS
        self._now = now
        self._began: float | None = None
        self._last_ms: float | None = None
        self._base_ms = 0.0
        self._since_base = 0

    def given(self, timestamp_ms: float) -> None:
        """Note that a frame brought its own time; those without one go on from there."""
        self._last_ms = self._base_ms = timestamp_ms
        self._since_base = 0

    def next_ms(self) -> float:
        """The time of a frame that has none."""
        now = self._now()
        self._began = now if self._began is None else self._began
        if self._last_ms is None:
            self._last_ms = 0.0
        elif self._by_arrival:
            self._last_ms = max((now - self._began) * 1000, self._last_ms + _LEAST_MS)
        else:
            self._since_base += 1
            self._last_ms = self._base_ms + self._since_base * 1000 / self._fps
        return self._last_ms


async def numbered(frames: Frames, times: FrameTimes) -> AsyncIterator[NumberedFrame]:
    """Number the frames from 0; those without a time get one of `times`.

    Raises:
        OSError: a file cannot be read.
        InvalidRequest: an item is not a picture.
    """
    frame_id = 0
    async for given in pull(frames):
        if isinstance(given, Frame):
            times.given(given.timestamp_ms)
            frame = given
        else:
            frame = Frame(given, times.next_ms())
        source = await asyncio.to_thread(load, frame.image)
        yield NumberedFrame(frame_id, frame.timestamp_ms, source)
        frame_id += 1
