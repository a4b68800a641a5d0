"""Places: taken, waited for, returned."""

import asyncio

import pytest

from distilpose.service.batching.room import Lease, Places, Room


async def queue(room: Room, *items: int) -> list["asyncio.Task[Places]"]:
    """Requests that wait for places, accepted one after another."""
    tasks = [
        asyncio.create_task(room.wait_for(count, accepted_at=number))
        for number, count in enumerate(items)
    ]
    await asyncio.sleep(0)
    return tasks


def done(tasks: list["asyncio.Task[Places]"]) -> list[bool]:
    return [task.done() for task in tasks]


async def test_places_that_are_free_are_had_at_once() -> None:
    room = Room(4)
    assert (await room.wait_for(3, accepted_at=0.0)).count == 3
    assert room.used == 3


async def test_who_does_not_fit_waits_until_places_are_given_back() -> None:
    room = Room(4)
    room.take(3)
    [waiting] = await queue(room, 2)
    assert room.is_crowded
    room.release(1)
    await asyncio.sleep(0)
    assert waiting.done()
    assert room.used == 4
    assert not room.is_crowded


async def test_the_earlier_accepted_goes_first_even_if_the_later_would_fit() -> None:
    room = Room(4)
    room.take(4)
    tasks = await queue(room, 3, 1)
    room.release(1)
    await asyncio.sleep(0)
    assert done(tasks) == [False, False]
    room.release(2)
    await asyncio.sleep(0)
    assert done(tasks) == [True, False]


async def test_those_accepted_together_go_in_the_order_of_asking() -> None:
    room = Room(10)
    room.take(8)
    waiting = [asyncio.create_task(room.wait_for(size, accepted_at=0.0)) for size in (8, 1)]
    await asyncio.sleep(0)
    assert done(waiting) == [False, False]  # the second would fit, but is second
    room.release(8)
    await asyncio.sleep(0)
    assert done(waiting) == [True, True]
    assert room.used == 9


async def test_nothing_fits_while_somebody_waits() -> None:
    room = Room(4)
    room.take(3)
    await queue(room, 2)
    assert not room.fits(1)


async def test_something_larger_than_the_room_is_let_into_an_empty_one() -> None:
    room = Room(4)
    room.take(1)
    [large] = await queue(room, 9)
    room.release(1)
    await asyncio.sleep(0)
    assert large.done()
    assert room.used == 9


async def test_who_gives_up_waiting_lets_the_next_in() -> None:
    room = Room(4)
    room.take(2)
    large, small = await queue(room, 4, 1)
    large.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert small.done()
    assert room.used == 3


async def test_who_leaves_in_the_moment_of_being_let_in_takes_no_places() -> None:
    room = Room(4)
    room.take(4)
    [waiting] = await queue(room, 2)
    room.release(4)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert room.used == 0


async def test_places_given_back_while_a_waiter_leaves_go_to_the_next() -> None:
    room = Room(4)
    room.take(4)
    leaving, staying = await queue(room, 2, 2)
    leaving.cancel()
    room.release(2)  # before the cancelled waiter has noticed it
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert staying.done()
    assert not staying.cancelled()
    assert room.used == 4
    assert not room.is_crowded


async def test_a_lease_is_over_when_its_last_holder_has_let_go() -> None:
    room = Room(4)
    lease = Lease(room.take(3))
    lease.hold()
    lease.let_go()
    assert room.used == 3
    lease.let_go()
    assert room.used == 0
