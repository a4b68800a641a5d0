"""Read what a caller iterates over: off the client's event loop, numbered and timed."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from distilpose.client.pictures import Frame, Picture, Source, load

T = TypeVar("T")
Frames: TypeAlias = Iterable[Picture | Frame] | AsyncIterable[Picture | Frame]

_END: Final[Any] = object()
_LEAST_MS: Final = 0.001


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


async def numbered(frames: Frames) -> AsyncIterator[NumberedFrame]:
    """Number the frames from 0; those without a time get the milliseconds since the first frame.

    Raises:
        OSError: a file cannot be read.
        InvalidRequest: an item is not a picture.
    """
    frame_id, began, last_ms = 0, None, -_LEAST_MS
    async for given in pull(frames):
        now = time.monotonic()
        began = now if began is None else began
        passed_ms = (now - began) * 1000
        last_ms = max(passed_ms, last_ms + _LEAST_MS)
        frame = given if isinstance(given, Frame) else Frame(given, last_ms)
        source = await asyncio.to_thread(load, frame.image)
        yield NumberedFrame(frame_id, frame.timestamp_ms, source)
        frame_id += 1
