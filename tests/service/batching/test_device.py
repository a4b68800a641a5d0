"""The device behind the stages: its health, and the consequences of failures."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from distilpose.service.batching.batcher import Batcher
from distilpose.service.batching.device import (
    CANARY_SECONDS,
    STALLED_AFTER_SECONDS,
    Device,
    DeviceLost,
)
from distilpose.service.batching.outcomes import Outcome
from distilpose.service.errors import Draining, Internal
from distilpose.service.words import Fault, Stage
from fakes import CountingObserver
from virtual_time import VirtualThread, run_virtually

FOREVER = float("inf")


class Bench:
    """A device with one stage, whose computations fail as `broken` specifies."""

    def __init__(self, *, seconds: Callable[[], float] = lambda: 0.01) -> None:
        self.broken: str | None = None
        self.canaries = 0
        self.lost: list[DeviceLost] = []
        clock = asyncio.get_running_loop().time
        self.device = Device(executor=VirtualThread(seconds), clock=clock)
        self.stage = Batcher(
            self.compute,
            stage=Stage.POSE,
            device=self.device,
            buckets=(1, 2, 4),
            queue_capacity=10,
            observer=CountingObserver(),
            kind_of=lambda error: Fault.LOST if str(error) == Fault.LOST else Fault.FAULT,
            clock=clock,
        )

    def compute(self, items: Sequence[int]) -> Sequence[int | Exception]:
        if self.broken == "not finite":
            return [ValueError(self.broken) for _ in items]
        if self.broken:
            raise RuntimeError(self.broken)
        return items

    def canary(self) -> None:
        self.canaries += 1
        [answer] = self.compute([0])
        if isinstance(answer, Exception):
            raise answer

    def start(self) -> None:
        self.device.start(canary=self.canary, on_lost=self.lost.append)

    async def ask(self) -> Outcome[int]:
        [outcome] = await self.stage.submit([7], deadline=FOREVER, accepted_at=0.0)
        return outcome


def test_a_device_that_says_it_is_gone_is_given_up_at_once() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.start()
        bench.broken = "lost"
        outcomes = await bench.stage.submit([1, 2, 3], deadline=FOREVER, accepted_at=0.0)
        assert [type(outcome.error) for outcome in outcomes] == [Internal] * 3
        assert not bench.device.alive
        assert not bench.device.healthy
        assert bench.lost == [bench.device.failure]
        assert bench.canaries == 0

    run_virtually(scenario())


def test_after_a_lone_failure_a_trial_computation_decides() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.start()
        bench.broken = "device-side assert"
        assert isinstance((await bench.ask()).error, Internal)
        assert not bench.device.healthy
        await asyncio.sleep(0.1)
        assert bench.canaries == 1
        assert bench.lost
        assert not bench.device.alive

    run_virtually(scenario())


def test_after_a_batch_without_one_sound_answer_a_trial_computation_decides() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.start()
        bench.broken = "not finite"
        outcomes = await bench.stage.submit([1, 2, 3], deadline=FOREVER, accepted_at=0.0)
        assert [type(outcome.error) for outcome in outcomes] == [Internal] * 3
        assert not bench.device.healthy
        await asyncio.sleep(0.1)
        assert bench.canaries == 1
        assert bench.lost

    run_virtually(scenario())


def test_a_poisonous_item_leaves_a_sound_device_healthy() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.start()
        bench.broken = "odd item"
        await bench.ask()
        bench.broken = None
        await asyncio.sleep(0.1)
        assert bench.canaries == 1
        assert bench.device.healthy
        assert (await bench.ask()).result == 7

    run_virtually(scenario())


def test_an_idle_device_is_tried_now_and_then() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.start()
        await asyncio.sleep(CANARY_SECONDS * 3.5)
        assert bench.canaries == 3
        bench.broken = "died in its sleep"
        await asyncio.sleep(CANARY_SECONDS)
        assert bench.lost

    run_virtually(scenario())


def test_a_device_whose_batch_does_not_end_is_not_alive() -> None:
    async def scenario() -> None:
        bench = Bench(seconds=lambda: 10 * STALLED_AFTER_SECONDS)
        bench.start()
        waiting = asyncio.create_task(bench.ask())
        await asyncio.sleep(STALLED_AFTER_SECONDS)
        assert bench.device.alive
        await asyncio.sleep(1)
        assert not bench.device.alive
        await waiting
        assert bench.device.alive

    run_virtually(scenario())


def test_work_that_comes_after_the_device_is_lost_is_answered() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.start()
        bench.broken = "lost"
        await bench.ask()
        assert isinstance((await bench.ask()).error, Internal)

    run_virtually(scenario())


def test_closing_waits_for_the_batch_that_runs() -> None:
    async def scenario() -> None:
        bench = Bench(seconds=lambda: 1.0)
        bench.start()
        running = asyncio.create_task(bench.ask())
        await asyncio.sleep(0.5)
        queued = asyncio.create_task(bench.ask())
        await asyncio.sleep(0)
        await bench.device.close(Draining("bye"))
        assert (await running).result == 7
        assert isinstance((await queued).error, Draining)

    run_virtually(scenario())


def test_closing_does_not_wait_for_ever() -> None:
    async def scenario() -> None:
        bench = Bench(seconds=lambda: 1000.0)
        bench.start()
        running = asyncio.create_task(bench.ask())
        await asyncio.sleep(0.5)
        began = asyncio.get_running_loop().time()
        await bench.device.close(Draining("bye"))
        assert asyncio.get_running_loop().time() - began < 10
        running.cancel()

    run_virtually(scenario())


def test_a_broken_stage_does_not_stop_the_others() -> None:
    class BrokenStage:
        oldest_accepted_at = 0.0
        is_full = False

        def __init__(self) -> None:
            self.asked = 0

        def release_at(self) -> float | None:
            self.asked += 1
            if self.asked < 3:
                raise TypeError("release_at")
            return None

        def form_batch(self) -> Sequence[int]:
            return []

        def compute(self, batch: Sequence[int]) -> None: ...

        def finish(self, batch: Sequence[int], computed: None) -> str:
            return "well"

        def drop_all(self, error: Exception, *, reason: str) -> None: ...

    async def scenario() -> None:
        bench = Bench()
        bench.device.attach(BrokenStage())  # type: ignore[arg-type]  # broken on purpose
        bench.start()
        assert (await bench.ask()).result == 7

    run_virtually(scenario())


@pytest.mark.parametrize("steps", range(6))
def test_a_cancellation_at_any_moment_of_a_call_leaves_the_device_working(steps: int) -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.start()
        call = asyncio.create_task(bench.ask())
        for _ in range(steps):
            await asyncio.sleep(0)
        call.cancel()
        assert (await bench.ask()).result == 7
        assert bench.stage.room.used == 0

    run_virtually(scenario())
