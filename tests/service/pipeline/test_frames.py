"""The memory of a stream."""

import asyncio
from typing import Any

import pytest

from distilpose.service.errors import Overloaded
from distilpose.service.pipeline.frames import FrameMemory, frame_memory
from distilpose.service.pipeline.memory import Memory
from distilpose.service.settings import MEBIBYTE
from distilpose.service.words import MemoryPart
from virtual_time import run_virtually

MESSAGE_BYTES = 10 * MEBIBYTE
TERMS: dict[str, Any] = {"most_bytes": MESSAGE_BYTES, "caller": "a", "accepted_at": 0.0}


def mebibytes(memory: Memory) -> int:
    """The memory that streams hold, by all counts."""
    held_bytes = memory.held_bytes(MemoryPart.STREAMS)
    assert memory.room.used == memory.streams.used == held_bytes
    return held_bytes // MEBIBYTE


async def is_held_back(frames: FrameMemory) -> bool:
    """Return True if the next message is not read yet."""
    try:
        async with asyncio.timeout(0.01):
            await frames.room()
    except TimeoutError:
        return True
    return False


async def test_a_stream_holds_the_next_message_and_its_frames_until_they_are_answered() -> None:
    memory = Memory(90 * MEBIBYTE)
    async with frame_memory(memory, **TERMS) as frames:
        assert mebibytes(memory) == 10
        for number in range(3):
            assert not await is_held_back(frames)
            frames.arrived(4 * MEBIBYTE, at=number)
        assert mebibytes(memory) == 18
        assert not await is_held_back(frames)
        assert mebibytes(memory) == 22
        frames.answered(arrived_at=1)
        assert mebibytes(memory) == 14
        frames.answered(arrived_at=2)
        assert mebibytes(memory) == 10
    assert mebibytes(memory) == 0


async def test_a_frame_takes_as_little_work_after_thousands_of_others() -> None:
    memory, returns = Memory(90 * MEBIBYTE), 0

    def count() -> None:
        nonlocal returns
        returns += 1

    memory.room.on_release = memory.streams.on_release = count
    async with frame_memory(memory, **TERMS) as frames:
        for number in range(3000):
            await frames.room()
            frames.arrived(MEBIBYTE, at=number)
            if number % 3 == 2:  # as in `latest`, where an answer forgets the frames before it
                frames.answered(arrived_at=number)
    assert returns <= 2 * 3000


async def test_without_room_for_another_frame_the_next_is_read_when_all_are_answered() -> None:
    memory = Memory(60 * MEBIBYTE)
    async with frame_memory(memory, **TERMS) as frames:
        frames.arrived(8 * MEBIBYTE, at=1)
        assert not await is_held_back(frames)
        frames.arrived(8 * MEBIBYTE, at=2)
        assert await is_held_back(frames)
        frames.answered(arrived_at=1)
        assert not await is_held_back(frames)
        frames.arrived(9 * MEBIBYTE, at=3)
        waiting = asyncio.create_task(frames.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        frames.answered(arrived_at=3)
        await waiting
    assert mebibytes(memory) == 0


def test_a_stream_without_room_for_its_messages_is_refused() -> None:
    async def scenario() -> None:
        memory = Memory(60 * MEBIBYTE)
        memory.room.take(55 * MEBIBYTE)
        with pytest.raises(Overloaded):
            async with frame_memory(memory, **TERMS):
                pass
        assert memory.streams.used == 0

    run_virtually(scenario())
