"""The life cycle from loading to stopped."""

import asyncio

import pytest

from distilpose.service.errors import Draining, NotReady
from distilpose.service.life import Life, State


@pytest.mark.parametrize("state", [State.LOADING, State.WARMING])
async def test_nothing_is_admitted_before_ready(state: State) -> None:
    life = Life()
    life.advance(state)
    with pytest.raises(NotReady, match=state), life.admitted():
        pass


async def test_states_only_go_forward() -> None:
    life = Life()
    life.advance(State.DRAINING)
    life.advance(State.READY)
    assert life.state is State.DRAINING


async def test_draining_is_not_ready_at_once_and_refuses_after_the_delay() -> None:
    life = Life()
    life.advance(State.READY)
    draining = asyncio.create_task(life.drain(delay_seconds=0.05, limit_seconds=1))
    await asyncio.sleep(0)
    assert not life.ready
    with life.admitted():
        pass
    assert await draining
    with pytest.raises(Draining), life.admitted():
        pass


async def test_draining_waits_for_accepted_work() -> None:
    life = Life()
    life.advance(State.READY)
    with life.admitted():
        draining = asyncio.create_task(life.drain(delay_seconds=0, limit_seconds=60))
        await asyncio.sleep(0.01)
        assert not draining.done()
    assert await draining


async def test_draining_gives_up_at_its_limit() -> None:
    life = Life()
    life.advance(State.READY)
    with life.admitted():
        assert not await life.drain(delay_seconds=0, limit_seconds=0.01)


async def test_a_state_can_be_waited_for() -> None:
    life = Life()
    waiting = asyncio.create_task(life.reached(State.DRAINING))
    for state in (State.WARMING, State.READY):
        life.advance(state)
        await asyncio.sleep(0)
        assert not waiting.done()
    life.advance(State.REFUSING)
    await asyncio.wait_for(waiting, 1)
    await asyncio.wait_for(life.reached(State.LOADING), 1)


async def test_a_change_can_be_waited_for() -> None:
    life = Life()
    waiting = asyncio.create_task(life.changed())
    await asyncio.sleep(0)
    assert not waiting.done()
    life.advance(State.WARMING)
    await asyncio.wait_for(waiting, 1)
