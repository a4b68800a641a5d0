"""The decode queue's room follows the pace of its threads."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from distilpose.service.batching.admission import Admission
from distilpose.service.batching.fairness import Shares
from distilpose.service.batching.workers import Workers
from distilpose.service.errors import Overloaded
from distilpose.service.pipeline.decoding import Decoding
from distilpose.service.words import Pool
from fakes import CountingObserver
from virtual_time import VirtualThread, run_virtually

FOREVER = float("inf")


class Bench:
    """Two threads that need `seconds` for every image, with a clock that says so."""

    def __init__(self, seconds: float) -> None:
        self.observer = CountingObserver()
        clock = asyncio.get_running_loop().time
        self.decoding = Decoding(
            Workers(
                Pool.DECODE,
                2,
                observer=self.observer,
                executor=VirtualThread(lambda: 0.0, threads=2),
                clock=self._readings(seconds).__next__,
            ),
            max_queue_seconds=2.0,
            observer=self.observer,
            clock=clock,
        )
        assert clock() == 0.0

    def _readings(self, seconds: float) -> Iterator[float]:
        """The clock: between two readings, an image may have been decoded."""
        now = 0.0
        while True:
            yield now
            now += seconds / 4

    async def decode(self, images: int, decode_seconds: float) -> None:
        places = self.decoding.places(decode_seconds)
        for _ in range(images):
            self.decoding.room.take(places)
            await self.decoding.run(
                lambda: None, places=places, accepted_at=0, deadline=FOREVER, on_end=lambda: None
            )


def test_before_anything_is_measured_the_room_is_the_seconds_of_all_threads() -> None:
    async def scenario() -> None:
        decoding = Bench(0.1).decoding
        assert decoding.room.capacity == 2 * 2.0 * 1_000_000

    run_virtually(scenario())


def test_slow_threads_have_less_room_and_fast_ones_more() -> None:
    async def scenario(seconds: float) -> int:
        bench = Bench(seconds)
        await bench.decode(200, 0.046)
        assert bench.decoding.room.used == 0
        return bench.decoding.room.capacity

    slow, fast = (run_virtually(scenario(seconds)) for seconds in (0.4, 0.05))
    assert fast / slow == pytest.approx(8, rel=0.1)


def test_a_full_queue_refuses_with_the_time_that_it_takes_to_clear() -> None:
    async def scenario() -> None:
        bench = Bench(0.1)
        decoding = bench.decoding
        admission = Admission([decoding], shares=Shares(time.monotonic))
        wants = [(decoding, decoding.places(2.996))]
        with await admission.enter(wants, accepted_at=0.0):
            with pytest.raises(
                Overloaded, match=r"holds 1\.50 s of work, no room for 1\.50"
            ) as full:
                await admission.enter(wants, accepted_at=1.0)
            assert full.value.retry_after_seconds == pytest.approx(1.5)
        assert bench.observer.dropped == {("decode", "overloaded"): 1}

    run_virtually(scenario())


def test_who_is_refused_later_comes_back_later() -> None:
    async def scenario() -> None:
        decoding = Bench(0.1).decoding
        second = decoding.places(0.996)
        with decoding.room.take(2 * second):
            retries = [decoding.refusal(second).retry_after_seconds for _ in range(4)]
        assert retries == pytest.approx([1.0, 1.5, 2.0, 2.5])

    run_virtually(scenario())


def test_callers_who_do_not_come_back_when_asked_to_do_not_keep_others_waiting_for_ever() -> None:
    async def scenario() -> None:
        decoding = Bench(0.1).decoding
        with decoding.room.take(decoding.places(2)):
            retries = [decoding.refusal(decoding.places(1)).retry_after_seconds for _ in range(100)]
        assert retries[-1] == 6 * 2.0

    run_virtually(scenario())


def test_who_was_to_come_back_by_now_is_no_longer_expected() -> None:
    async def scenario() -> None:
        decoding = Bench(0.1).decoding
        second = decoding.places(0.996)
        with decoding.room.take(2 * second):
            decoding.refusal(second)
            await asyncio.sleep(1.1)
            assert decoding.refusal(second).retry_after_seconds == pytest.approx(1.0)

    run_virtually(scenario())


def test_the_capacity_in_images_is_of_such_as_came_lately() -> None:
    async def scenario() -> None:
        bench = Bench(0.1)
        await bench.decode(200, 0.096)
        seconds_per_image = bench.decoding.room.capacity / bench.decoding.places(0.096)
        assert bench.decoding.capacity == pytest.approx(seconds_per_image, rel=0.1)

    run_virtually(scenario())


def test_the_usual_places_are_of_images_that_came_lately() -> None:
    async def scenario() -> None:
        bench = Bench(0.1)
        await bench.decode(200, 0.096)
        usual = bench.decoding.places(0.096)
        assert bench.decoding.usual_places == pytest.approx(usual, rel=0.01)

    run_virtually(scenario())
