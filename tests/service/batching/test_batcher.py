"""The queue in front of the device: order, batches, refusal, failures. Time is virtual."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from distilpose.service.batching.admission import Admission, Admitted
from distilpose.service.batching.batcher import Batcher
from distilpose.service.batching.device import Device
from distilpose.service.batching.fairness import Shares
from distilpose.service.batching.outcomes import Outcome
from distilpose.service.errors import DeadlineExceeded, Draining, Internal, Overloaded
from distilpose.service.words import Fault, Stage
from fakes import CountingObserver
from virtual_time import VirtualThread, run_virtually

FOREVER = float("inf")
BATCH_SECONDS = 0.01


def double(items: Sequence[int]) -> list[int | Exception]:
    return [2 * item for item in items]


class Bench:
    """Stages on one device, in virtual time."""

    def __init__(self) -> None:
        self.clock = asyncio.get_running_loop().time
        self.device = Device(executor=VirtualThread(lambda: BATCH_SECONDS), clock=self.clock)
        self.observer = CountingObserver()
        self.batches: list[list[int]] = []

    def stage(
        self,
        run: Callable[[Sequence[int]], Sequence[int | Exception]] = double,
        *,
        stage: Stage = Stage.POSE,
        max_batch: int = 4,
        queue_capacity: int = 100,
        **options: Any,
    ) -> Batcher[int, int]:
        def recorded(items: Sequence[int]) -> Sequence[int | Exception]:
            self.batches.append(list(items))
            return run(items)

        options.setdefault("buckets", (1, 2, max_batch) if max_batch > 2 else (max_batch,))
        options.setdefault("observer", self.observer)
        options.setdefault("clock", self.clock)
        return Batcher(
            recorded, stage=stage, device=self.device, queue_capacity=queue_capacity, **options
        )


async def results(batcher: Batcher[int, int], items: Sequence[int], at: float = 0.0) -> list[int]:
    outcomes = await batcher.submit(items, deadline=FOREVER, accepted_at=at)
    return [outcome.unwrap() for outcome in outcomes]


async def one(
    batcher: Batcher[int, int],
    item: int = 1,
    *,
    deadline: float = FOREVER,
    accepted_at: float = 0.0,
) -> Outcome[int]:
    [outcome] = await batcher.submit([item], deadline=deadline, accepted_at=accepted_at)
    return outcome


def virtually(
    scenario: Callable[[Bench], Coroutine[Any, Any, None]],
) -> Callable[[], None]:
    """Turn a scenario into a test that receives a bench in virtual time."""

    def test() -> None:
        async def with_bench() -> None:
            bench = Bench()
            await scenario(bench)
            await bench.device.close(Draining("the test is over"))

        run_virtually(with_bench())

    test.__name__, test.__doc__ = scenario.__name__, scenario.__doc__
    return test


@virtually
async def test_results_come_in_the_order_of_the_items(bench: Bench) -> None:
    batcher = bench.stage(max_batch=3)
    bench.device.start()
    assert await results(batcher, [1, 2, 3, 4, 5, 6, 7]) == [2, 4, 6, 8, 10, 12, 14]
    assert bench.batches == [[1, 2, 3], [4, 5, 6], [7]]


@virtually
async def test_no_items_are_answered_at_once(bench: Bench) -> None:
    assert await results(bench.stage(), []) == []


@virtually
async def test_items_of_several_requests_share_a_batch(bench: Bench) -> None:
    batcher = bench.stage(max_batch=8)
    both = asyncio.gather(results(batcher, [1, 2]), results(batcher, [3]))
    await asyncio.sleep(0)
    bench.device.start()
    assert list(await both) == [[2, 4], [6]]
    assert bench.batches == [[1, 2, 3]]


@virtually
async def test_the_request_accepted_first_goes_first(bench: Bench) -> None:
    batcher = bench.stage(max_batch=1)
    both = asyncio.gather(results(batcher, [10], at=2.0), results(batcher, [20], at=1.0))
    await asyncio.sleep(0)
    bench.device.start()
    await both
    assert bench.batches == [[20], [10]]


@virtually
async def test_the_stage_with_the_earliest_request_gets_the_device(bench: Bench) -> None:
    detect, pose = (bench.stage(stage=Stage(name), max_batch=1) for name in ("detect", "pose"))
    both = asyncio.gather(results(detect, [1], at=2.0), results(pose, [2], at=1.0))
    await asyncio.sleep(0)
    bench.device.start()
    await both
    assert bench.batches == [[2], [1]]


@virtually
async def test_a_batch_that_is_not_full_lets_two_others_go_first(bench: Bench) -> None:
    detect = bench.stage(stage=Stage.DETECT, max_batch=1)
    pose = bench.stage(stage=Stage.POSE, max_batch=4)
    images = asyncio.gather(*(results(detect, [n], at=n) for n in range(1, 6)))
    crops = asyncio.gather(results(pose, [100], at=0.0))
    await asyncio.sleep(0)
    bench.device.start()
    await asyncio.gather(images, crops)
    assert bench.batches == [[1], [2], [100], [3], [4], [5]]


@virtually
async def test_crops_of_several_images_fill_a_batch(bench: Bench) -> None:
    detect = bench.stage(stage=Stage.DETECT, max_batch=1)
    pose = bench.stage(stage=Stage.POSE, max_batch=4)

    async def photo(number: int) -> None:
        await results(detect, [number], at=number)
        await asyncio.sleep(BATCH_SECONDS / 2)  # cutting its two crops
        await results(pose, [10 * number, 10 * number + 1], at=number)

    photos = asyncio.gather(*(photo(number) for number in range(1, 7)))
    await asyncio.sleep(0)
    bench.device.start()
    await photos
    assert [len(batch) for batch in bench.batches if batch[0] >= 10] == [4, 4, 2, 2]


# The release rule


@virtually
async def test_a_lone_item_does_not_wait_when_nothing_is_coming(bench: Bench) -> None:
    batcher = bench.stage(max_delay_seconds=5)
    bench.device.start()
    outcome = await one(batcher)
    assert outcome.started_at - outcome.queued_at <= BATCH_SECONDS
    assert bench.clock() == pytest.approx(BATCH_SECONDS)


@virtually
async def test_the_wait_for_company_counts_from_the_oldest_item(bench: Bench) -> None:
    batcher = bench.stage(max_delay_seconds=0.5, more_coming=lambda: True)
    bench.device.start()
    first = asyncio.create_task(one(batcher, 1))
    await asyncio.sleep(0.4)
    second = asyncio.create_task(one(batcher, 2))
    await asyncio.gather(first, second)
    assert bench.batches == [[1, 2]]
    assert bench.clock() == pytest.approx(0.5 + BATCH_SECONDS)


@virtually
async def test_a_full_batch_goes_at_once_whatever_is_coming(bench: Bench) -> None:
    batcher = bench.stage(max_batch=2, max_delay_seconds=5, more_coming=lambda: True)
    bench.device.start()
    await results(batcher, [1, 2])
    assert bench.clock() == pytest.approx(BATCH_SECONDS)


@virtually
async def test_an_item_goes_as_soon_as_nothing_more_can_come(bench: Bench) -> None:
    coming = [True]
    batcher = bench.stage(max_delay_seconds=5, more_coming=lambda: bool(coming))
    bench.device.start()
    waiting = asyncio.create_task(one(batcher))
    await asyncio.sleep(1)
    coming.clear()
    bench.device.wake()
    await waiting
    assert bench.clock() == pytest.approx(1 + BATCH_SECONDS)


@virtually
async def test_a_held_stage_lets_no_batch_go(bench: Bench) -> None:
    held = [True]
    batcher = bench.stage(held=lambda: bool(held))
    bench.device.start()
    waiting = asyncio.create_task(one(batcher))
    await asyncio.sleep(1)
    assert bench.batches == []
    held.clear()
    bench.device.wake()
    await waiting


# Admission


async def admit(batcher: Batcher[int, int], items: int) -> Admitted:
    return await Admission([batcher], shares=Shares(time.monotonic)).enter(
        [(batcher, items)], accepted_at=0.0
    )


@virtually
async def test_a_request_that_does_not_fit_is_refused_whole(bench: Bench) -> None:
    batcher = bench.stage(queue_capacity=4)
    with await admit(batcher, 3), pytest.raises(Overloaded) as refusal:
        await admit(batcher, 2)
    assert "holds 3 of 4 items, no room for 2 more" in refusal.value.detail
    assert bench.observer.dropped == {("pose", "overloaded"): 2}


@virtually
async def test_a_request_larger_than_the_queue_is_let_into_an_empty_one(bench: Bench) -> None:
    batcher = bench.stage(queue_capacity=4)
    with await admit(batcher, 9):
        assert batcher.room.used == 9
    assert batcher.room.used == 0


@virtually
async def test_places_become_free_when_their_items_are_on_the_device(bench: Bench) -> None:
    batcher = bench.stage(queue_capacity=4)
    bench.device.start()
    with await admit(batcher, 4) as admitted:
        places = admitted.places(batcher.room)
        await batcher.submit([1, 2, 3], deadline=FOREVER, accepted_at=0, places=places)
        assert batcher.room.used == 1


@virtually
async def test_a_refusal_says_when_the_queue_will_have_drained(bench: Bench) -> None:
    worked = [0.0]

    def run(items: Sequence[int]) -> list[int | Exception]:
        worked[0] += BATCH_SECONDS
        return double(items)

    batcher = bench.stage(run, max_batch=2, queue_capacity=4, clock=lambda: worked[0])
    bench.device.start()
    await results(batcher, [1, 2])
    with await admit(batcher, 4), pytest.raises(Overloaded) as refusal:
        await admit(batcher, 1)
    assert refusal.value.retry_after_seconds == pytest.approx(4 * BATCH_SECONDS / 2)


@virtually
async def test_capacity_follows_the_pace_of_a_busy_queue(bench: Bench) -> None:
    asked: list[float] = []

    def capacity_at(seconds_per_item: float) -> int:
        asked.append(seconds_per_item)
        return 7

    batcher = bench.stage(max_batch=2, queue_capacity=100, capacity_at=capacity_at)
    bench.device.start()
    await results(batcher, [1, 2])
    assert asked == []  # nothing has waited so far
    assert batcher.room.capacity == 100
    await results(batcher, list(range(200)))
    assert asked[-1] == pytest.approx(BATCH_SECONDS / 2, rel=0.01)
    assert batcher.room.capacity == 7


@virtually
async def test_the_pace_counts_what_else_the_device_does(bench: Bench) -> None:
    asked: list[float] = []

    def capacity_at(seconds_per_item: float) -> int:
        asked.append(seconds_per_item)
        return 100

    detect = bench.stage(stage=Stage.DETECT, max_batch=1, capacity_at=capacity_at)
    pose = bench.stage(stage=Stage.POSE, max_batch=1)
    both = [results(stage, [item], at=item) for item in range(100) for stage in (detect, pose)]
    bench.device.start()
    await asyncio.gather(*both)
    assert asked[-1] == pytest.approx(2 * BATCH_SECONDS, rel=0.01)


# Disconnects and deadlines


@virtually
async def test_an_item_past_its_deadline_never_reaches_the_device(bench: Bench) -> None:
    batcher = bench.stage()
    bench.device.start()
    outcome = await one(batcher, deadline=0.0)
    assert isinstance(outcome.error, DeadlineExceeded)
    assert bench.batches == []
    assert bench.observer.dropped == {("pose", "deadline"): 1}


@virtually
async def test_items_of_callers_who_left_never_reach_the_device(bench: Bench) -> None:
    batcher = bench.stage(max_batch=4, queue_capacity=1000)
    callers = [asyncio.create_task(one(batcher, item, accepted_at=item)) for item in range(200)]
    await asyncio.sleep(0)
    for caller in callers[:190]:
        caller.cancel()
    await asyncio.sleep(0)
    assert batcher.room.used == 10
    bench.device.start()
    await asyncio.gather(*callers[190:])
    assert sorted(item for batch in bench.batches for item in batch) == list(range(190, 200))
    assert bench.observer.dropped == {("pose", "cancelled"): 190}


@virtually
async def test_leaving_during_a_batch_does_not_touch_its_other_items(bench: Bench) -> None:
    batcher = bench.stage(max_batch=8)
    leaver = asyncio.create_task(one(batcher, 1))
    stayer = asyncio.create_task(one(batcher, 2))
    await asyncio.sleep(0)
    bench.device.start()
    await asyncio.sleep(BATCH_SECONDS / 2)
    leaver.cancel()
    assert (await stayer).result == 4


@virtually
async def test_closing_answers_what_is_still_queued(bench: Bench) -> None:
    batcher = bench.stage()
    waiting = asyncio.create_task(one(batcher))
    await asyncio.sleep(0)
    await bench.device.close(Draining("bye"))
    assert isinstance((await waiting).error, Draining)
    assert bench.observer.dropped == {("pose", "draining"): 1}


@virtually
async def test_what_comes_after_closing_is_answered_too(bench: Bench) -> None:
    batcher = bench.stage()
    await bench.device.close(Draining("bye"))
    assert isinstance((await one(batcher)).error, Draining)


# Failing


@virtually
async def test_a_poisonous_item_fails_alone(bench: Bench) -> None:
    def run(items: Sequence[int]) -> list[int | Exception]:
        if 13 in items:
            raise ValueError("13")
        return double(items)

    batcher = bench.stage(run, max_batch=32, buckets=(32,))
    bench.device.start()
    outcomes = await batcher.submit(range(32), deadline=FOREVER, accepted_at=0)
    assert [o.result for o in outcomes] == [None if n == 13 else 2 * n for n in range(32)]
    with pytest.raises(Internal, match="the pose stage failed on this image"):
        outcomes[13].unwrap()
    assert bench.observer.dropped == {("pose", "failed"): 1}
    assert len(bench.batches) == 11  # the whole, and two halves five times


@virtually
async def test_an_item_can_fail_without_its_batch(bench: Bench) -> None:
    def run(items: Sequence[int]) -> list[int | Exception]:
        return [ValueError("odd") if item % 2 else 2 * item for item in items]

    batcher = bench.stage(run, kind_of=lambda _: Fault.NAN)
    bench.device.start()
    outcomes = await batcher.submit([1, 2], deadline=FOREVER, accepted_at=0)
    assert isinstance(outcomes[0].error, Internal)
    assert outcomes[1].result == 4
    assert len(bench.batches) == 1
    assert bench.observer.failures == {("pose", "nan"): 1}


@virtually
async def test_lack_of_memory_halves_the_batch_and_lowers_the_largest_bucket(
    bench: Bench,
) -> None:
    def run(items: Sequence[int]) -> list[int | Exception]:
        if len(items) > 4:
            raise MemoryError
        return double(items)

    batcher = bench.stage(run, buckets=(1, 2, 4, 8, 16), kind_of=lambda _: Fault.OOM)
    bench.device.start()
    assert await results(batcher, list(range(16))) == [2 * item for item in range(16)]
    assert batcher.max_batch == 4
    assert bench.observer.failures == {("pose", "oom"): 3}
    bench.batches.clear()
    await results(batcher, list(range(8)))
    assert bench.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]


@virtually
async def test_batches_are_filled_up_to_their_bucket(bench: Bench) -> None:
    batcher = bench.stage(buckets=(1, 4, 8))
    bench.device.start()
    await results(batcher, [1, 2])
    await results(batcher, [1, 2, 3, 4, 5])
    assert bench.observer.padding == (4 - 2) + (8 - 5)


def break_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the function so that it raises the first time."""
    errors = [TypeError("broken")]

    def part(*args: Any) -> Any:
        if errors:
            raise errors.pop()
        return function(*args)

    return part


class BrokenObserver(CountingObserver):
    def batch_done(self, stage: str, *, items: int, padding: int, seconds: float) -> None:
        raise TypeError("observer")

    def items_dropped(self, stage: str, *, reason: str, items: int) -> None:
        raise TypeError("observer")

    def failed(self, stage: str, *, kind: str) -> None:
        raise TypeError("observer")


@pytest.mark.parametrize("part", ["run", "clock", "observer", "more_coming", "held", "kind_of"])
def test_an_exception_from_anything_that_is_called_leaves_the_stage_working(part: str) -> None:
    async def scenario() -> None:
        bench = Bench()
        readings = iter([TypeError("clock")] * 9)

        def clock() -> float:
            if error := next(readings, None):
                raise error
            return bench.clock()

        run, nothing = break_once(double), break_once(lambda: False)
        batcher = {
            "run": lambda: bench.stage(run),
            "clock": lambda: bench.stage(clock=clock),
            "observer": lambda: bench.stage(observer=BrokenObserver()),
            "more_coming": lambda: bench.stage(more_coming=nothing),
            "held": lambda: bench.stage(held=nothing),
            "kind_of": lambda: bench.stage(run, kind_of=break_once(lambda _: "fault")),
        }[part]()
        bench.device.start()
        await one(batcher, 1)
        assert (await one(batcher, 2)).result == 4
        assert bench.device.alive
        await bench.device.close(Draining("the test is over"))

    run_virtually(scenario())


@virtually
async def test_too_few_results_fail_their_items_and_no_others(bench: Bench) -> None:
    short = [True]

    def run(items: Sequence[int]) -> list[int | Exception]:
        if short:
            short.clear()
            return []
        return double(items)

    batcher = bench.stage(run)
    bench.device.start()
    assert isinstance((await one(batcher)).error, Internal)
    assert (await one(batcher, 2)).result == 4


@virtually
async def test_an_interrupt_in_the_devices_thread_fails_one_batch_only(bench: Bench) -> None:
    fatal: list[BaseException] = [SystemExit(), asyncio.CancelledError(), KeyboardInterrupt()]

    def run(items: Sequence[int]) -> list[int | Exception]:
        if fatal:
            raise fatal.pop()
        return double(items)

    batcher = bench.stage(run)
    bench.device.start()
    for _ in range(3):
        assert isinstance((await one(batcher)).error, Internal)
    assert (await one(batcher, 2)).result == 4


@virtually
async def test_outcomes_tell_when_the_item_waited_and_ran(bench: Bench) -> None:
    batcher = bench.stage()
    waiting = asyncio.create_task(one(batcher))
    await asyncio.sleep(0.5)
    bench.device.start()
    outcome = await waiting
    assert outcome.queued_at == 0
    assert outcome.started_at == pytest.approx(0.5 + BATCH_SECONDS)


async def test_on_a_real_thread_results_come_back_too() -> None:
    device = Device()
    batcher = Batcher(
        double, stage=Stage.POSE, device=device, buckets=(4,), queue_capacity=9,
        observer=CountingObserver(),
    )  # fmt: skip
    device.start()
    assert await results(batcher, [1, 2, 3, 4, 5], at=time.monotonic()) == [2, 4, 6, 8, 10]
    await device.close(Draining("the test is over"))
