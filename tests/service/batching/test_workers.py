"""Threads that do what was accepted first, and only what somebody still waits for."""

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine

import pytest

from distilpose.service.batching.workers import Workers
from distilpose.service.errors import DeadlineExceeded, Draining
from distilpose.service.words import DropReason, Pool
from fakes import CountingObserver
from virtual_time import VirtualThread, run_virtually

FOREVER = float("inf")


class Bench:
    """Workers whose every piece of work takes a second."""

    def __init__(self, threads: int = 1) -> None:
        clock = asyncio.get_running_loop().time
        self.observer = CountingObserver()
        self.workers = Workers(
            Pool.DECODE,
            threads,
            observer=self.observer,
            executor=VirtualThread(lambda: 1.0, threads=threads),
            clock=clock,
        )
        self.done: list[str] = []
        self.ended: list[str] = []

    def run(
        self, name: str, *, accepted_at: float = 0.0, deadline: float = FOREVER
    ) -> "asyncio.Task[object]":
        return asyncio.create_task(
            self.workers.run(
                lambda: self.done.append(name),
                accepted_at=accepted_at,
                deadline=deadline,
                on_end=lambda: self.ended.append(name),
            )
        )


def virtually(scenario: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    @functools.wraps(scenario)
    def test() -> None:
        run_virtually(scenario())

    return test


@virtually
async def test_what_was_accepted_first_goes_first() -> None:
    bench = Bench()
    tasks = [bench.run("running", accepted_at=9)]
    await asyncio.sleep(0)
    tasks += [bench.run(str(at), accepted_at=at) for at in (3.0, 1.0, 2.0)]
    await asyncio.gather(*tasks)
    assert bench.done == ["running", "1.0", "2.0", "3.0"]


@virtually
async def test_as_much_runs_at_once_as_there_are_threads() -> None:
    bench = Bench(threads=2)
    tasks = [bench.run(str(number)) for number in range(5)]
    await asyncio.sleep(0.5)
    assert (bench.workers.running, bench.workers.queued) == (2, 3)
    assert bench.workers.oldest_queued_seconds == pytest.approx(0.5)
    await asyncio.gather(*tasks)
    assert asyncio.get_running_loop().time() == pytest.approx(3.0)


@virtually
async def test_who_leaves_withdraws_what_has_not_begun() -> None:
    bench = Bench()
    running, waiting = bench.run("running"), bench.run("waiting")
    await asyncio.sleep(0.5)
    waiting.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bench.ended == ["waiting"]
    await running
    await asyncio.sleep(5)
    assert bench.done == ["running"]
    assert bench.observer.dropped == {("decode", DropReason.CANCELLED): 1}


@virtually
async def test_what_runs_has_ended_only_when_its_thread_has_though_its_caller_left() -> None:
    bench = Bench()
    running = bench.run("running")
    await asyncio.sleep(0.5)
    running.cancel()
    await asyncio.sleep(0.1)
    assert bench.ended == []
    await asyncio.sleep(0.5)
    assert bench.ended == ["running"]


@virtually
async def test_what_is_late_is_not_begun() -> None:
    bench = Bench()
    running, late = bench.run("running"), bench.run("late", deadline=0.9)
    await running
    with pytest.raises(DeadlineExceeded, match="the deadline passed in the decode queue"):
        await late
    assert bench.done == ["running"]
    assert bench.ended == ["running", "late"]
    assert bench.observer.dropped == {("decode", DropReason.DEADLINE): 1}


@virtually
async def test_closing_answers_what_waits_and_what_comes_later() -> None:
    bench = Bench()
    running, waiting = bench.run("running"), bench.run("waiting")
    await asyncio.sleep(0.5)
    bench.workers.close(Draining("the end"))
    for each in (waiting, bench.run("later")):
        with pytest.raises(Draining):
            await each
    await running
    assert bench.done == ["running"]


async def test_an_error_is_the_callers_and_the_thread_goes_on() -> None:
    workers = Workers(Pool.CUT, 1, observer=CountingObserver())

    def fail() -> None:
        raise KeyError("mine")

    outcome = await workers.run(fail, accepted_at=0.0, deadline=FOREVER)
    with pytest.raises(KeyError, match="mine"):
        outcome.unwrap()
    name = await workers.run(
        lambda: threading.current_thread().name, accepted_at=0.0, deadline=FOREVER
    )
    assert name.unwrap().startswith("cut")
    workers.close(Draining("the end"))
