"""A device that runs out of memory."""

import asyncio
from collections.abc import Sequence

from distilpose.service.batching.batcher import Batcher
from distilpose.service.batching.device import Device, DeviceLost
from distilpose.service.batching.outcomes import Outcome
from distilpose.service.words import Fault, Stage
from fakes import CountingObserver
from virtual_time import VirtualThread, run_virtually


class Bench:
    """A fake device that has memory for at most `fits` items, its check for one."""

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.lost: list[DeviceLost] = []
        self.observer = CountingObserver()
        clock = asyncio.get_running_loop().time
        self.device = Device(executor=VirtualThread(), clock=clock)
        self.stage = Batcher(
            self.compute,
            stage=Stage.POSE,
            device=self.device,
            buckets=(1, 2, 4, 8),
            queue_capacity=100,
            observer=self.observer,
            kind_of=lambda error: Fault.OOM if isinstance(error, MemoryError) else Fault.FAULT,
            clock=clock,
        )
        self.device.start(canary=lambda: self.compute([0]), on_lost=self.lost.append)

    def compute(self, items: Sequence[int]) -> Sequence[int]:
        if len(items) > self.fits:
            raise MemoryError
        return items

    async def ask(self, items: int) -> list[Outcome[int]]:
        return await self.stage.submit(list(range(items)), deadline=float("inf"), accepted_at=0.0)


def test_a_device_short_of_memory_answers_in_smaller_batches_and_stays_ready() -> None:
    async def scenario() -> None:
        bench = Bench(fits=2)
        outcomes = await bench.ask(8)
        assert [outcome.result for outcome in outcomes] == list(range(8))
        assert bench.stage.max_batch == 2
        assert bench.observer.failures["pose", "oom"] == 3
        assert bench.device.healthy

    run_virtually(scenario())


def test_a_device_without_memory_for_one_item_is_not_ready() -> None:
    async def scenario() -> None:
        bench = Bench(fits=0)
        outcomes = await bench.ask(4)
        assert [outcome.error is None for outcome in outcomes] == [False] * 4
        assert not bench.device.healthy
        await asyncio.sleep(1)
        assert bench.lost

    run_virtually(scenario())
