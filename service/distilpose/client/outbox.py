"""The frames of a stream that are on their way: to be sent, or sent and not yet answered."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable

from distilpose.client.errors import Internal
from distilpose.v1 import pose_pb2


class Outbox(ABC):
    """Where frames wait for a connection, and what becomes of them when it breaks."""

    def __init__(self) -> None:
        self._closed = False
        self._changed = asyncio.Condition()

    async def close(self) -> None:
        """Say that there will be no more frames."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether nothing is left to be sent."""

    @abstractmethod
    async def put(self, frame: pose_pb2.Frame) -> None:
        """Take a frame."""

    @abstractmethod
    async def next_to_send(self) -> pose_pb2.Frame | None:
        """The next frame for this connection, None when there will be no more."""

    @abstractmethod
    async def answered(self, frame_id: int, dropped: Iterable[int]) -> list[int]:
        """Note an answer and what the server dropped; all frames that will get none, each once."""

    @abstractmethod
    def reconnected(self) -> None:
        """Begin a new connection."""


class OrderedOutbox(Outbox):
    """Keeps each frame until it is answered, so that a new connection can send it again.

    At most `window` frames are kept.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self._window = window
        self._unanswered: deque[pose_pb2.Frame] = deque()
        self._sent = 0
        """How many of them, from the left, went over this connection."""

    @property
    def done(self) -> bool:
        """Whether all frames are answered."""
        return self._closed and not self._unanswered

    async def put(self, frame: pose_pb2.Frame) -> None:
        """Take a frame, as soon as there is room."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._unanswered) < self._window)
            self._unanswered.append(frame)
            self._changed.notify_all()

    async def next_to_send(self) -> pose_pb2.Frame | None:
        """The oldest frame that did not go over this connection."""
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
        """Let go of the oldest frame.

        Raises:
            Internal: another one was answered.
        """
        async with self._changed:
            due = self._unanswered[0].frame_id if self._sent else None
            if frame_id != due:
                raise Internal(f"the server answered frame {frame_id}, frame {due} was due")
            self._unanswered.popleft()
            self._sent -= 1
            self._changed.notify_all()
        return list(dropped)

    def reconnected(self) -> None:
        """Send all frames again that are not answered."""
        self._sent = 0


class LatestOutbox(Outbox):
    """Holds the newest frame alone; one that is replaced, or lost with a connection, is dropped."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: pose_pb2.Frame | None = None
        self._sent: list[int] = []
        self._dropped: list[int] = []

    @property
    def done(self) -> bool:
        """Whether all frames were sent or dropped."""
        return self._closed and self._waiting is None

    async def put(self, frame: pose_pb2.Frame) -> None:
        """Take a frame in place of the one that waits."""
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
        """What was dropped here and there since the answer before."""
        lost = sorted([*self._dropped, *dropped])
        self._dropped = []
        self._sent = [sent for sent in self._sent if sent > frame_id and sent not in lost]
        return lost

    def reconnected(self) -> None:
        """Give up what was sent and not answered."""
        self._dropped += self._sent
        self._sent.clear()
