"""Requests enter all the rooms that they need at once, or none."""

import asyncio
import time
from dataclasses import dataclass, field

import pytest

from distilpose.service.batching.admission import Admission, Admitted
from distilpose.service.batching.fairness import Shares
from distilpose.service.batching.room import Room
from distilpose.service.errors import Overloaded
from distilpose.service.words import RefusalReason
from virtual_time import run_virtually


@dataclass
class Gate:
    room: Room
    patience_seconds: float = 0.0
    reason: RefusalReason = RefusalReason.QUEUE
    clearing_seconds: float = 1.0
    refused: list[int] = field(default_factory=list)

    def refusal(self, items: int) -> Overloaded:
        self.refused.append(items)
        return Overloaded(f"no room for {items}")


class Gates:
    """A queue that refuses at once, and memory that is waited for."""

    def __init__(self, queue: int = 4, memory: int = 100) -> None:
        self.queue = Gate(Room(queue))
        self.memory = Gate(Room(memory), patience_seconds=1.0)
        self.admission = Admission([self.queue, self.memory], shares=Shares(time.monotonic))
        self._numbers = iter(range(1000))

    def enter(
        self, items: int = 1, size: int = 0, *, is_patient: bool = False
    ) -> "asyncio.Task[Admitted]":
        wants = [(self.queue, items), (self.memory, size)]
        return asyncio.create_task(
            self.admission.enter(wants, accepted_at=next(self._numbers), is_patient=is_patient)
        )

    @property
    def used(self) -> tuple[int, int]:
        return self.queue.room.used, self.memory.room.used


async def moment() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def done(tasks: list["asyncio.Task[Admitted]"]) -> list[bool]:
    return [task.done() for task in tasks]


async def test_places_are_taken_together_and_returned_together() -> None:
    gates = Gates()
    with await gates.enter(3, 40) as admitted:
        assert gates.used == (3, 40)
        assert admitted.places(gates.memory.room).count == 40
        assert admitted.places(gates.queue.room).use(2) == 2
    assert gates.used == (2, 0)


async def test_a_full_queue_refuses_at_once_and_nothing_is_held() -> None:
    gates = Gates(queue=4)
    gates.queue.room.take(4)
    refused = gates.enter(2, 40)
    await moment()
    with pytest.raises(Overloaded, match="no room for 2"):
        refused.result()
    assert gates.used == (4, 0)
    assert gates.queue.refused == [2]


def test_who_does_not_get_memory_is_refused_after_a_second_and_holds_nothing_meanwhile() -> None:
    async def scenario() -> None:
        gates = Gates(memory=100)
        gates.memory.room.take(70)
        refused = gates.enter(2, 40)
        await asyncio.sleep(0.99)
        assert not refused.done()
        assert gates.used == (0, 70)
        await asyncio.sleep(0.02)
        with pytest.raises(Overloaded, match="no room for 40"):
            refused.result()
        assert (gates.used, gates.admission.waiting) == ((0, 70), 0)

    run_virtually(scenario())


async def test_memory_that_comes_back_in_time_lets_the_next_in() -> None:
    gates = Gates(memory=100)
    gates.memory.room.take(70)
    first, second = gates.enter(1, 40), gates.enter(1, 20)
    await moment()
    assert done([first, second]) == [False, False]  # the second would fit, but is second
    gates.memory.room.release(20)
    await moment()
    assert done([first, second]) == [True, False]
    first.result().close()
    await moment()
    assert second.done()


async def test_who_waits_for_one_room_does_not_hold_up_those_who_need_others() -> None:
    gates = Gates(queue=4, memory=100)
    gates.memory.room.take(100)
    waits, passes = gates.enter(1, 40), gates.enter(1, 0)
    await moment()
    assert done([waits, passes]) == [False, False]  # without bytes it still stands in that line
    gates.memory.room.release(100)
    await moment()
    assert done([waits, passes]) == [True, True]


async def test_who_is_patient_leaves_a_quarter_of_the_queue_to_others() -> None:
    gates = Gates(queue=4)
    patient = [gates.enter(is_patient=True) for _ in range(4)]
    await moment()
    assert done(patient) == [True, True, True, False]
    once = gates.enter()
    await moment()
    assert once.done()


async def test_who_is_patient_goes_after_who_is_not() -> None:
    gates = Gates(memory=100)
    gates.memory.room.take(100)
    patient = gates.enter(1, 60, is_patient=True)
    await moment()
    urgent = gates.enter(1, 60)
    await moment()
    gates.memory.room.release(60)
    await moment()
    assert done([patient, urgent]) == [False, True]


async def test_who_is_patient_enters_an_empty_queue_of_one() -> None:
    gates = Gates(queue=1)
    patient = gates.enter(is_patient=True)
    await moment()
    assert patient.done()


async def test_who_is_patient_is_not_starved_by_those_who_take_each_place_at_once() -> None:
    gates = Gates(queue=8)
    gates.queue.room.take(8)
    patient = [gates.enter(is_patient=True) for _ in range(5)]
    await moment()
    for _ in range(10):
        gates.queue.room.release(1)
        if gates.queue.room.fits(1):
            gates.queue.room.take(1)
    await moment()
    assert done(patient) == [True] * 5


async def test_a_room_that_somebody_inside_waits_for_lets_nobody_in() -> None:
    gates = Gates(queue=4)
    gates.queue.room.take(3)
    inside = asyncio.create_task(gates.queue.room.wait_for(2, accepted_at=0.0))
    await moment()
    outside = gates.enter()
    await moment()
    with pytest.raises(Overloaded):
        outside.result()
    gates.queue.room.release(3)
    await moment()
    assert inside.done()


async def test_who_gives_up_lets_the_next_in() -> None:
    gates = Gates(memory=100)
    gates.memory.room.take(50)
    large, small = gates.enter(1, 60), gates.enter(1, 50)
    await moment()
    large.cancel()
    await moment()
    assert small.done()
    assert gates.used == (1, 100)


async def test_who_leaves_in_the_moment_of_being_let_in_takes_nothing() -> None:
    gates = Gates(memory=100)
    gates.memory.room.take(100)
    waiting = gates.enter(1, 60)
    await moment()
    gates.memory.room.release(100)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert gates.used == (0, 0)


async def test_what_a_caller_has_had_elsewhere_counts_at_the_gates() -> None:
    shares = Shares(time.monotonic)
    queue = Gate(Room(100))
    admission = Admission([queue], shares=shares)
    shares.standing("hungry")
    shares.charge("hungry", 0.8)
    shares.refused("somebody")
    queue.room.take(60)
    with await admission.enter([(queue, 1)], accepted_at=0.0, caller="polite"):
        assert queue.room.used == 61
    with pytest.raises(Overloaded, match="more than its share"):
        await admission.enter([(queue, 1)], accepted_at=0.0, caller="hungry")
