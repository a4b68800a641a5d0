"""The frames of a stream that are in flight: waiting to be sent, or sent and not yet answered."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable

from distilpose.client.errors import Internal
from distilpose.v1 import pose_pb2


class Outbox(ABC):
    """Frames that wait for a connection, and their handling when it breaks."""

    def __init__(self) -> None:
        self._closed = False
        self._changed = asyncio.Condition()

    async def close(self) -> None:
        """Mark the end: no more frames come."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    @abstractmethod
    def done(self) -> bool:
        """Return True if nothing is left to send."""

    @abstractmethod
    async def put(self, frame: pose_pb2.Frame) -> None:
        """Add a frame."""

    @abstractmethod
    async def next_to_send(self) -> pose_pb2.Frame | None:
        """The next frame for this connection; None if no more frames come."""

    @abstractmethod
    async def answered(self, frame_id: int, dropped: Iterable[int]) -> list[int]:
        """Record an answer and the frames the server dropped; return all ids that get no answer."""

    @abstractmethod
    def reconnected(self) -> None:
        """Start with a new connection."""


class OrderedOutbox(Outbox):
    """Keeps each frame until it is answered, so that a new connection can send it again.

    At most `window` frames are kept.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self._window = window
        self._unanswered: deque[pose_pb2.Frame] = deque()
        self._sent = 0
        """The number of kept frames, from the left, that were sent over this connection."""

    @property
    def done(self) -> bool:
        """Return True if all frames are answered."""
        return self._closed and not self._unanswered

    async def put(self, frame: pose_pb2.Frame) -> None:
        """Add a frame, as soon as there is room."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._unanswered) < self._window)
            self._unanswered.append(frame)
            self._changed.notify_all()

    async def next_to_send(self) -> pose_pb2.Frame | None:
        """The oldest frame not yet sent over this connection."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._has_more)
            if not self._has_more:
                return None
            self._sent += 1
            return self._unanswered[self._sent - 1]

    @property
    def _has_more(self) -> bool:
        return self._sent < len(self._unanswered)

    async def answered(self, frame_id: int, dropped: Iterable[int]) -> list[int]:
        """Remove the oldest frame, which this answers.

        Raises:
            Internal: another frame was answered.
        """
        async with self._changed:
            due = self._unanswered[0].frame_id if self._sent else None
            if frame_id != due:
                raise Internal(f"the server answered frame {frame_id} instead of frame {due}")
            self._unanswered.popleft()
            self._sent -= 1
            self._changed.notify_all()
        return list(dropped)

    def reconnected(self) -> None:
        """Send all unanswered frames again."""
        self._sent = 0


class LatestOutbox(Outbox):
    """Keeps only the newest frame; one that is replaced, or lost with a connection, is dropped."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: pose_pb2.Frame | None = None
        self._sent: list[int] = []
        self._dropped: list[int] = []

    @property
    def done(self) -> bool:
        """Return True if all frames were sent or dropped."""
        return self._closed and self._waiting is None

    async def put(self, frame: pose_pb2.Frame) -> None:
        """Add a frame in place of the waiting one."""
        async with self._changed:
            if self._waiting is not None:
                self._dropped.append(self._waiting.frame_id)
            self._waiting = frame
            self._changed.notify_all()

    async def next_to_send(self) -> pose_pb2.Frame | None:
        """The newest frame."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._waiting is not None)
            frame, self._waiting = self._waiting, None
            if frame is not None:
                self._sent.append(frame.frame_id)
            return frame

    async def answered(self, frame_id: int, dropped: Iterable[int]) -> list[int]:
        """The ids of the frames dropped by client and server since the previous answer."""
        lost = sorted([*self._dropped, *dropped])
        self._dropped = []
        self._sent = [sent for sent in self._sent if sent > frame_id and sent not in lost]
        return lost

    def reconnected(self) -> None:
        """Drop frames that were sent but not answered."""
        self._dropped += self._sent
        self._sent.clear()
