"""The bound on decoded bytes."""

import asyncio

from distilpose.service.pipeline.budget import ByteBudget


async def test_those_who_do_not_fit_wait_their_turn() -> None:
    budget = ByteBudget(10)
    order: list[str] = []

    async def use(name: str, size: int, hold: asyncio.Event) -> None:
        async with budget.hold(size):
            order.append(name)
            await hold.wait()

    first, rest = asyncio.Event(), asyncio.Event()
    tasks = [
        asyncio.create_task(use("a", 8, first)),
        asyncio.create_task(use("b", 8, rest)),
        asyncio.create_task(use("c", 1, rest)),
    ]
    await asyncio.sleep(0.01)
    assert order == ["a"]  # c would fit, but b is first
    rest.set()
    first.set()
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c"]
    assert budget.held_bytes == 0


async def test_more_than_the_whole_budget_goes_alone() -> None:
    budget = ByteBudget(10)
    async with budget.hold(100):
        assert budget.held_bytes == 100


async def test_a_cancelled_waiter_leaves_the_way_free() -> None:
    budget = ByteBudget(10)
    entered = asyncio.Event()

    async def use() -> None:
        async with budget.hold(5):
            entered.set()

    async with budget.hold(10):
        waiter = asyncio.create_task(use())
        await asyncio.sleep(0)
        waiter.cancel()
        follower = asyncio.create_task(use())
        await asyncio.sleep(0)
    await asyncio.wait_for(follower, 1)
    assert entered.is_set()
    assert budget.held_bytes == 0
