"""The frames of a stream that were read but not yet answered; one class for each mode.

They know neither the reader nor how a frame is answered.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from distilpose.model.pictures.source import EncodedImage
from distilpose.service.domain import Frame, PoseAnswer
from distilpose.service.errors import InvalidRequest

_MOST_UNSAID: Final = 1000
"""The maximum number of dropped or broken frames that no answer has reported yet; beyond it nothing
is read."""
_PATIENCE: Final = 0.25
"""If an answer takes a larger share of a frame's time than this, too many frames are in flight."""
_NO_PICTURE: Final = EncodedImage(b"")


@dataclass(slots=True, eq=False)
class Waiting:
    """A frame that waits for its answer, which may already be in progress."""

    frame: Frame
    answer: "asyncio.Task[PoseAnswer] | None" = None
    dropped_frame_ids: tuple[int, ...] = ()
    """Ids of the frames dropped since the previous one was taken."""


class Line(Protocol):
    """The queue between reader and answers."""

    async def room(self) -> None:
        """Return when one more frame may be read."""

    def put(self, waiting: Waiting) -> None:
        """Add a frame that was read."""

    def close(self) -> None:
        """Mark the end: no more frames come."""

    async def take(self) -> Waiting | None:
        """The next frame to answer; None when there are no more."""
        ...

    def answered(self, frame: Frame, *, at: float) -> None:
        """Note that the taken frame was answered at that instant."""


class OrderedLine:
    """Every frame is answered; at most `window` are read and not yet answered.

    It starts with one frame in flight, adds one after each quick answer and removes one after each
    slow answer: if many streams all read ahead, their frames would grow old waiting for each other.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._allowed = 1
        self._in_flight = 0
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._line: asyncio.Queue[Waiting | None] = asyncio.Queue()

    async def room(self) -> None:
        """Return when one more frame may be read."""
        await self._has_room.wait()

    def put(self, waiting: Waiting) -> None:
        """Add a frame that was read."""
        self._line.put_nowait(waiting)
        self._count(1)

    def close(self) -> None:
        """Mark the end: no more frames come."""
        self._line.put_nowait(None)

    async def take(self) -> Waiting | None:
        """The next frame to answer; None when there are no more."""
        return await self._line.get()

    def answered(self, frame: Frame, *, at: float) -> None:
        """Note that the taken frame was answered at that instant."""
        took_seconds = at - frame.arrived_at
        step = -1 if took_seconds > _PATIENCE * frame.timeout_seconds else 1
        self._allowed = max(1, min(self._allowed + step, self._window))
        self._count(-1)

    def _count(self, frames: int) -> None:
        self._in_flight += frames
        if self._in_flight < self._allowed:
            self._has_room.set()
        else:
            self._has_room.clear()


class LatestLine:
    """The newest frame is answered, and the frames that it replaces are dropped.

    Only one frame is in flight: with more, each would wait behind others of its own stream and be
    older when it is answered. A frame known to be broken is not a newer picture: it replaces none,
    and is not dropped, because its answer takes no time.
    """

    def __init__(self, tell_replaced: Callable[[], None]) -> None:
        self._tell_replaced = tell_replaced
        self._line: deque[Waiting] = deque()
        self._dropped: list[int] = []
        self._is_closed = False
        self._has_more = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def room(self) -> None:
        """Return when one more frame may be read: at once, as long as answers are being taken."""
        await self._has_room.wait()

    def put(self, waiting: Waiting) -> None:
        """Add a frame that was read; it replaces the waiting one."""
        if waiting.frame.error:
            waiting.frame = replace(waiting.frame, source=_NO_PICTURE)
        else:
            self._drop_older()
        self._line.append(waiting)
        self._has_more.set()
        if len(self._line) + len(self._dropped) >= _MOST_UNSAID:
            self._has_room.clear()

    def close(self) -> None:
        """Mark the end: no more frames come."""
        self._is_closed = True
        self._has_more.set()

    async def take(self) -> Waiting | None:
        """The next frame to answer; None when there are no more."""
        await self._has_more.wait()
        if not self._line:
            return None
        waiting = self._line.popleft()
        waiting.dropped_frame_ids = tuple(self._dropped)
        self._dropped.clear()
        if not (self._line or self._is_closed):
            self._has_more.clear()
        self._has_room.set()
        return waiting

    def answered(self, frame: Frame, *, at: float) -> None:
        """Note that the taken frame was answered at that instant."""

    def _drop_older(self) -> None:
        for older in [each for each in self._line if not each.frame.error]:
            self._line.remove(older)
            self._dropped.append(older.frame.frame_id)
            self._tell_replaced()


class FrameOrder:
    """Checks that each frame comes after the previous ones, and after `last_frame_id`."""

    def __init__(self, last_frame_id: int | None = None) -> None:
        self._last_frame_id = last_frame_id
        self._last_timestamp_ms = -math.inf

    def checked(self, frame: Frame) -> Frame:
        """The frame, with an error if it does not come after the newest one so far."""
        if not math.isfinite(frame.timestamp_ms):
            wrong = f"timestamp_ms: expected a number, got {frame.timestamp_ms}"
        elif self._last_frame_id is not None and frame.frame_id <= self._last_frame_id:
            wrong = f"frame_id: expected more than {self._last_frame_id}, got {frame.frame_id}"
        elif frame.timestamp_ms <= self._last_timestamp_ms:
            wrong = (
                f"timestamp_ms: expected more than {self._last_timestamp_ms}, "
                f"got {frame.timestamp_ms}"
            )
        else:
            self._last_frame_id = frame.frame_id
            self._last_timestamp_ms = frame.timestamp_ms
            return frame
        return replace(frame, error=InvalidRequest(wrong), in_order=False)
