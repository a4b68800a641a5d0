"""The queue in front of the device: order, batches, refusal, failures."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilpose.service.batcher import Batcher
from distilpose.service.device import Device
from distilpose.service.errors import DeadlineExceeded, Draining, Internal, Overloaded
from fakes import CountingObserver

FOREVER = float("inf")


def double(items: Sequence[int]) -> list[int]:
    return [2 * item for item in items]


class Bench:
    """One stage on a started device."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.observer = CountingObserver()
        self.batches: list[list[int]] = []

    def stage(
        self,
        run: Callable[[Sequence[int]], Sequence[int]] = double,
        *,
        name: str = "pose",
        max_batch: int = 4,
        queue_capacity: int = 100,
    ) -> Batcher[int, int]:
        def recorded(items: Sequence[int]) -> Sequence[int]:
            self.batches.append(list(items))
            return run(items)

        return Batcher(
            recorded,
            stage=name,
            device=self.device,
            max_batch=max_batch,
            queue_capacity=queue_capacity,
            observer=self.observer,
        )


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    device = Device()
    yield Bench(device)
    await device.close(Draining("the test is over"))


async def results(batcher: Batcher[int, int], items: Sequence[int], at: float = 0.0) -> list[int]:
    outcomes = await batcher.submit(items, deadline=FOREVER, accepted_at=at)
    return [outcome.unwrap() for outcome in outcomes]


async def test_results_come_in_the_order_of_the_items(bench: Bench) -> None:
    batcher = bench.stage(max_batch=3)
    bench.device.start()
    assert await results(batcher, [1, 2, 3, 4, 5, 6, 7]) == [2, 4, 6, 8, 10, 12, 14]
    assert bench.batches == [[1, 2, 3], [4, 5, 6], [7]]


async def test_items_of_several_requests_share_a_batch(bench: Bench) -> None:
    batcher = bench.stage(max_batch=8)
    both = asyncio.gather(results(batcher, [1, 2]), results(batcher, [3]))
    await asyncio.sleep(0)
    bench.device.start()
    assert list(await both) == [[2, 4], [6]]
    assert bench.batches == [[1, 2, 3]]


async def test_the_request_accepted_first_goes_first(bench: Bench) -> None:
    batcher = bench.stage(max_batch=1)
    both = asyncio.gather(results(batcher, [10], at=2.0), results(batcher, [20], at=1.0))
    await asyncio.sleep(0)
    bench.device.start()
    await both
    assert bench.batches == [[20], [10]]


async def test_the_stage_with_the_earliest_request_gets_the_device(bench: Bench) -> None:
    detect, pose = bench.stage(name="detect"), bench.stage(name="pose")
    both = asyncio.gather(results(detect, [1], at=2.0), results(pose, [2], at=1.0))
    await asyncio.sleep(0)
    bench.device.start()
    await both
    assert bench.batches == [[2], [1]]


async def test_a_poisonous_item_fails_alone(bench: Bench) -> None:
    def run(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise ValueError("13")
        return double(items)

    batcher = bench.stage(run, max_batch=8)
    bench.device.start()
    outcomes = await batcher.submit([1, 13, 3, 4, 5], deadline=FOREVER, accepted_at=0)
    with pytest.raises(Internal):
        outcomes[1].unwrap()
    assert [o.result for o in outcomes] == [2, None, 6, 8, 10]
    assert bench.observer.dropped == {("pose", "failed"): 1}


async def test_the_device_works_on_after_a_failure(bench: Bench) -> None:
    failing = [True]

    def run(items: Sequence[int]) -> list[int]:
        if failing.pop() if failing else False:
            raise RuntimeError("device")
        return double(items)

    batcher = bench.stage(run)
    bench.device.start()
    [outcome] = await batcher.submit([1], deadline=FOREVER, accepted_at=0)
    assert isinstance(outcome.error, Internal)
    assert await results(batcher, [2]) == [4]


async def test_a_request_that_does_not_fit_is_refused_whole(bench: Bench) -> None:
    batcher = bench.stage(queue_capacity=4)
    with batcher.reserve(3), pytest.raises(Overloaded) as refusal:
        batcher.reserve(2)
    assert "holds 3 of 4 items, no room for 2 more" in refusal.value.detail
    assert bench.observer.dropped == {("pose", "overloaded"): 2}


async def test_a_request_larger_than_the_queue_is_let_into_an_empty_one(bench: Bench) -> None:
    batcher = bench.stage(queue_capacity=4)
    with batcher.reserve(9):
        assert batcher.waiting == 9
    assert batcher.waiting == 0


async def test_places_become_free_when_their_items_are_on_the_device(bench: Bench) -> None:
    batcher = bench.stage(queue_capacity=4)
    bench.device.start()
    with batcher.reserve(4) as places:
        await batcher.submit([1, 2, 3], deadline=FOREVER, accepted_at=0, places=places)
        assert batcher.waiting == 1


async def test_an_item_past_its_deadline_never_reaches_the_device(bench: Bench) -> None:
    batcher = bench.stage()
    bench.device.start()
    [outcome] = await batcher.submit([1], deadline=0.0, accepted_at=0)
    assert isinstance(outcome.error, DeadlineExceeded)
    assert bench.batches == []
    assert bench.observer.dropped == {("pose", "deadline"): 1}


async def test_items_of_a_caller_who_left_never_reach_the_device(bench: Bench) -> None:
    batcher = bench.stage()
    leaver = asyncio.create_task(results(batcher, [1, 2]))
    stayer = asyncio.create_task(results(batcher, [3]))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.sleep(0)
    bench.device.start()
    assert await stayer == [6]
    assert bench.batches == [[3]]
    assert bench.observer.dropped == {("pose", "cancelled"): 2}


async def test_closing_answers_what_is_still_queued(bench: Bench) -> None:
    batcher = bench.stage()
    waiting = asyncio.create_task(batcher.submit([1], deadline=FOREVER, accepted_at=0))
    await asyncio.sleep(0)
    await bench.device.close(Draining("bye"))
    [outcome] = await waiting
    assert isinstance(outcome.error, Draining)


async def test_outcomes_tell_when_the_item_waited_and_ran(bench: Bench) -> None:
    batcher = bench.stage()
    bench.device.start()
    [outcome] = await batcher.submit([1], deadline=FOREVER, accepted_at=0)
    assert outcome.queued_at <= outcome.started_at <= outcome.finished_at


@given(
    requests=st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9), max_size=8),
    max_batch=st.integers(1, 5),
    poison=st.sets(st.integers(0, 99), max_size=20),
)
def test_each_caller_gets_its_own_results(
    requests: list[list[int]], max_batch: int, poison: set[int]
) -> None:
    def run(items: Sequence[int]) -> list[int]:
        assert len(items) <= max_batch
        if poison.intersection(items):
            raise ValueError
        return double(items)

    async def scenario() -> None:
        device = Device()
        bench = Bench(device)
        batcher = bench.stage(run, max_batch=max_batch)
        device.start()
        answers = await asyncio.gather(
            *(
                batcher.submit(items, deadline=FOREVER, accepted_at=index)
                for index, items in enumerate(requests)
            )
        )
        for items, outcomes in zip(requests, answers, strict=True):
            expected = [None if item in poison else 2 * item for item in items]
            assert [outcome.result for outcome in outcomes] == expected
        await device.close(Draining("done"))

    asyncio.run(scenario())
