"""The memory of a stream: for the message that may come next, and for frames not answered yet."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from distilpose.service.batching.room import Places
from distilpose.service.pipeline.memory import Holding, Memory
from distilpose.service.words import MemoryPart


@dataclass(slots=True)
class _InFlight:
    arrived_at: float
    size_bytes: int
    is_held: bool = False
    """True if it is held beside the next message; else it still takes that one's place."""


class FrameMemory:
    """Counts a stream's frames. It reads the next message only if any size of it has room."""

    def __init__(self, memory: Memory, holding: Holding, places: Places) -> None:
        self._memory = memory
        self._holding = holding
        self._places = places
        self._in_flight: deque[_InFlight] = deque()
        self._emptied = asyncio.Event()

    async def room(self) -> None:
        """Wait until the last frame has room beside the next message, or all are answered."""
        if not self._in_flight:
            return
        last, memory = self._in_flight[-1], self._memory
        if memory.streams.fits(last.size_bytes) and memory.room.fits(last.size_bytes):
            self._places.add(memory.streams.take(last.size_bytes))
            self._holding.take(last.size_bytes)
            last.is_held = True
            return
        self._emptied.clear()
        await self._emptied.wait()

    def arrived(self, size_bytes: int, *, at: float) -> None:
        """Count a frame that was read at that instant."""
        self._in_flight.append(_InFlight(at, size_bytes))

    def answered(self, *, arrived_at: float) -> None:
        """Forget a frame that was answered, and all before it."""
        while self._in_flight and self._in_flight[0].arrived_at <= arrived_at:
            frame = self._in_flight.popleft()
            if frame.is_held:
                self._memory.streams.release(self._places.use(frame.size_bytes))
                self._holding.shrink_to(self._holding.size_bytes - frame.size_bytes)
        if not self._in_flight:
            self._emptied.set()


@asynccontextmanager
async def frame_memory(
    memory: Memory, *, most_bytes: int, caller: str, accepted_at: float
) -> AsyncIterator[FrameMemory]:
    """The memory of one stream, whose messages may have `most_bytes`.

    Raises:
        Overloaded: there was no room for a second.
    """
    with (
        memory.streams.take(most_bytes) as places,
        memory.hold(MemoryPart.STREAMS, caller=caller) as holding,
    ):
        await holding.grow(most_bytes, accepted_at=accepted_at)
        yield FrameMemory(memory, holding, places)
