"""The memory that requests may hold, by purpose."""

import asyncio
import sys
from typing import Any

import pytest

from distilpose.model import container
from distilpose.service.errors import Overloaded, TooLarge
from distilpose.service.pipeline.memory import Memory
from distilpose.service.settings import MEBIBYTE
from distilpose.service.words import MemoryPart, RefusalReason
from virtual_time import run_virtually


def held(memory: Memory) -> dict[str, int]:
    return {part: memory.held_bytes(part) for part in MemoryPart if memory.held_bytes(part)}


async def test_what_is_held_is_known_by_purpose_until_it_is_returned() -> None:
    memory = Memory(100 * MEBIBYTE)
    with memory.hold(MemoryPart.BODIES) as body, memory.hold(MemoryPart.ANSWERS) as answer:
        await body.grow(10, accepted_at=0.0)
        await body.grow(20, accepted_at=0.0)
        answer.take(5)
        images = memory.room.take(7)
        assert held(memory) == {"bodies": 30, "answers": 5, "images": 7}
    memory.room.release(images.use(7))
    assert held(memory) == {}
    assert memory.room.used == memory.bodies.used == 0


def test_a_body_without_room_is_refused_after_a_second() -> None:
    async def scenario() -> None:
        memory = Memory(100)
        memory.room.take(90)
        with memory.hold(MemoryPart.BODIES) as body:
            await body.grow(10, accepted_at=0.0)
            with pytest.raises(Overloaded, match="requests hold 0 of 0 MiB"):
                await body.grow(1, accepted_at=0.0)
            assert asyncio.get_running_loop().time() == pytest.approx(1.0)
        assert memory.room.used == 90

    run_virtually(scenario())


def test_bodies_fill_half_of_the_memory_and_small_ones_always_get_in() -> None:
    async def scenario() -> None:
        refused: list[RefusalReason] = []
        memory = Memory(100 * MEBIBYTE, on_refusal=refused.append)
        with (
            memory.hold(MemoryPart.BODIES) as large,
            memory.hold(MemoryPart.BODIES) as small,
            memory.hold(MemoryPart.ANSWERS) as answer,
        ):
            await large.grow(51 * MEBIBYTE, accepted_at=0.0)
            with pytest.raises(Overloaded):
                await large.grow(1, accepted_at=0.0)
            await small.grow(MEBIBYTE, accepted_at=1.0)
            with pytest.raises(Overloaded):
                await small.grow(1, accepted_at=1.0)
            await answer.grow(40 * MEBIBYTE, accepted_at=1.0)
        assert memory.room.used == memory.bodies.used == 0
        assert refused == [RefusalReason.MEMORY] * 2

    run_virtually(scenario())


async def test_a_body_goes_on_when_another_has_ended() -> None:
    memory = Memory(100 * MEBIBYTE)
    first, second = memory.hold(MemoryPart.BODIES), memory.hold(MemoryPart.BODIES)
    await first.grow(40 * MEBIBYTE, accepted_at=0.0)
    waiting = asyncio.create_task(second.grow(40 * MEBIBYTE, accepted_at=1.0))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    first.close()
    await waiting
    assert held(memory) == {"bodies": 40 * MEBIBYTE}
    second.close()


def test_the_rest_of_a_large_body_is_held_at_once() -> None:
    """Else all bodies could hold a part, and none get the rest."""

    async def scenario() -> None:
        memory = Memory(100 * MEBIBYTE)
        first, second = (memory.hold(MemoryPart.BODIES, caller=name) for name in "ab")
        terms: dict[str, Any] = {"at_most_bytes": 30 * MEBIBYTE, "accepted_at": 0.0}
        await first.receive(MEBIBYTE, **terms)
        await second.receive(MEBIBYTE, **terms)
        assert held(memory) == {"bodies": 2 * MEBIBYTE}
        await first.receive(1, **terms)
        assert held(memory) == {"bodies": 31 * MEBIBYTE}
        with pytest.raises(Overloaded):
            await second.receive(1, **terms)
        for _ in range(29):
            await first.receive(MEBIBYTE - 1, **terms)
        assert held(memory) == {"bodies": 31 * MEBIBYTE}
        first.close()
        second.close()
        assert memory.room.used == memory.bodies.used == 0

    run_virtually(scenario())


async def test_what_was_held_too_much_is_returned() -> None:
    memory = Memory(100 * MEBIBYTE)
    with memory.hold(MemoryPart.BODIES) as body:
        await body.grow(30 * MEBIBYTE, accepted_at=0.0)
        body.shrink_to(3 * MEBIBYTE)
        assert held(memory) == {"bodies": 3 * MEBIBYTE}
        assert memory.bodies.used == 2 * MEBIBYTE
        await body.grow(MEBIBYTE, accepted_at=0.0)
        body.shrink_to(10)
        assert (memory.room.used, memory.bodies.used) == (10, 0)
    assert memory.room.used == memory.bodies.used == 0


def test_open_connections_hold_memory() -> None:
    memory = Memory(100 * MEBIBYTE)
    for _ in range(3):
        memory.count_connections(1)
    memory.count_connections(-1)
    assert held(memory) == {"connections": 2 * 64 * 1024}
    memory.count_connections(-1)
    memory.count_connections(-1)
    assert memory.room.used == 0


def test_an_image_that_needs_more_than_the_limit_is_too_large() -> None:
    memory = Memory(100 * MEBIBYTE)
    memory.check(100 * MEBIBYTE)
    with pytest.raises(
        TooLarge, match="needs 101 MiB of memory, the limit for all requests is 100"
    ):
        memory.check(101 * MEBIBYTE)


def test_a_frame_may_need_what_streams_leave() -> None:
    memory = Memory(90 * MEBIBYTE)
    memory.check(60 * MEBIBYTE, of_stream=True)
    with pytest.raises(TooLarge, match="needs 61 MiB of memory, the limit for all frames is 60"):
        memory.check(61 * MEBIBYTE, of_stream=True)


def test_images_that_do_not_fit_into_a_share_together_take_turns() -> None:
    memory = Memory(100)
    assert memory.share_of([3, 4]) == 7
    assert memory.share_of([10, 20, 10]) == 25
    assert memory.share_of([60, 60]) == 60


def test_the_limit_may_be_set_once_it_is_known() -> None:
    memory = Memory(100)
    memory.set_limit(50)
    assert (memory.limit_bytes, memory.bodies.capacity) == (50, 25)


def test_the_process_may_hold_what_was_loaded_what_requests_hold_and_some_for_holes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(container, "resident_bytes", lambda: 700)
    memory = Memory(10)
    assert memory.most_resident_bytes() == sys.maxsize
    memory.set_limit(800)
    with memory.room.take(50):
        assert memory.most_resident_bytes() == 700 + 50 + 50


def test_holes_in_the_heap_count_as_held_while_they_last(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(100 * MEBIBYTE)
    monkeypatch.setattr(container, "resident_bytes", lambda: 50 * MEBIBYTE)
    memory.set_limit(80 * MEBIBYTE)
    memory.room.take(20 * MEBIBYTE)
    most_bytes = memory.most_resident_bytes()
    for size_mib, counted_mib in ((10, 10), (30, 30), (70, 40), (5, 5), (0, 0)):
        memory.count_holes(size_mib * MEBIBYTE)
        assert memory.room.used == (20 + counted_mib) * MEBIBYTE
        assert held(memory)["images"] == 20 * MEBIBYTE
        assert memory.held_bytes(MemoryPart.HOLES) == counted_mib * MEBIBYTE
        assert memory.most_resident_bytes() == most_bytes
