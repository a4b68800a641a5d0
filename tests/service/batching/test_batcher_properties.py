"""The invariants of every batcher under random arrivals, departures, deadlines and failures."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from distilpose.service.batching.admission import Admission
from distilpose.service.batching.batcher import Batcher
from distilpose.service.batching.device import Device
from distilpose.service.batching.fairness import Shares
from distilpose.service.batching.outcomes import Outcome
from distilpose.service.errors import DeadlineExceeded, Draining, Internal, Overloaded
from distilpose.service.words import Stage
from fakes import CountingObserver
from virtual_time import VirtualThread, run_virtually

EPSILON = 1e-9


@dataclass(frozen=True)
class Caller:
    """One request of a scenario; all times are seconds."""

    arrives: float
    items: int
    patience: float
    """Time until the deadline."""
    leaves: float | None
    """Time after which it disconnects; None for never."""


@dataclass(frozen=True)
class Scenario:
    callers: list[Caller]
    batch_seconds: list[float]
    poison: set[int]
    """Items that make their batch raise, counted over all callers."""
    buckets: tuple[int, ...]
    max_delay: float
    capacity: int


callers = st.builds(
    Caller,
    arrives=st.floats(0, 1),
    items=st.integers(1, 9),
    patience=st.floats(0.001, 2),
    leaves=st.none() | st.floats(0, 0.5),
)
scenarios = st.builds(
    Scenario,
    callers=st.lists(callers, min_size=1, max_size=12),
    batch_seconds=st.lists(st.floats(0.001, 0.2), min_size=1, max_size=5),
    poison=st.sets(st.integers(0, 60), max_size=8),
    buckets=st.sets(st.integers(1, 8), min_size=1).map(lambda sizes: tuple(sorted(sizes))),
    max_delay=st.sampled_from([0.0, 0.005, 0.1]),
    capacity=st.integers(1, 30),
)


class World:
    """A scenario in virtual time, and the record of its events."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.clock = asyncio.get_running_loop().time
        pace = iter(scenario.batch_seconds * 10_000)
        self.thread = VirtualThread(lambda: next(pace))
        self.device = Device(executor=self.thread, clock=self.clock)
        self.observer = CountingObserver()
        self.computed: Counter[int] = Counter()
        self.seen: list[int] = []
        """Items in the order in which the device computed them."""
        self.coming = 0
        self.batcher = Batcher(
            self.run,
            stage=Stage.POSE,
            device=self.device,
            buckets=scenario.buckets,
            queue_capacity=scenario.capacity,
            observer=self.observer,
            max_delay_seconds=scenario.max_delay,
            more_coming=lambda: self.coming > 0,
            clock=self.clock,
        )
        self.admission = Admission([self.batcher], shares=Shares(time.monotonic))

    def run(self, items: Sequence[int]) -> list[int]:
        assert 1 <= len(items) <= self.scenario.buckets[-1], "a batch over the budget"
        self.seen += items
        if self.scenario.poison.intersection(items):
            raise ValueError("poison")
        self.computed.update(items)
        return [2 * item for item in items]

    async def call(self, caller: Caller, items: list[int]) -> "list[Outcome[int]] | str":
        """Make a request that is on its way until it arrives."""
        self.coming += 1
        try:
            await asyncio.sleep(caller.arrives)
        finally:
            self.coming -= 1
            self.device.wake()
        accepted_at = self.clock()
        try:
            wants = [(self.batcher, len(items))]
            with await self.admission.enter(wants, accepted_at=accepted_at) as admitted:
                async with asyncio.timeout(caller.leaves):
                    return await self.batcher.submit(
                        items,
                        deadline=accepted_at + caller.patience,
                        accepted_at=accepted_at,
                        places=admitted.places(self.batcher.room),
                    )
        except Overloaded:
            return "refused"
        except TimeoutError:
            return "left"

    async def play(self) -> "list[tuple[list[int], Any]]":
        self.device.start()
        numbers = iter(range(1000))
        asked = [[next(numbers) for _ in range(c.items)] for c in self.scenario.callers]
        answers = await asyncio.gather(*map(self.call, self.scenario.callers, asked))
        await self.device.close(Draining("over"))
        return list(zip(asked, answers, strict=True))

    def idle_seconds(self, start: float, end: float) -> float:
        """The time that the device was idle between two instants."""
        busy = (max(0.0, min(end, b) - max(start, a)) for a, b in self.thread.busy)
        return end - start - sum(busy)


@settings(max_examples=300, deadline=None)
@given(scenarios)
def test_whatever_happens_each_caller_is_answered_once_and_with_its_own(
    scenario: Scenario,
) -> None:
    async def check() -> None:
        world = World(scenario)
        dropped: Counter[str] = Counter()
        for asked, answer in await world.play():
            if answer == "refused":
                dropped["overloaded"] += len(asked)
            if isinstance(answer, str):
                continue
            assert len(answer) == len(asked)
            for item, outcome in zip(asked, answer, strict=True):
                check_outcome(world, item, outcome)
                dropped["deadline"] += isinstance(outcome.error, DeadlineExceeded)
        assert world.batcher.room.used == 0
        assert world.batcher.queued == 0
        assert max(world.computed.values(), default=0) <= 1, "computed twice"
        for reason in ("overloaded", "deadline"):
            assert world.observer.dropped["pose", reason] >= dropped[reason]

    run_virtually(check())


def check_outcome(world: World, item: int, outcome: Outcome[int]) -> None:
    if item in world.scenario.poison:
        assert isinstance(outcome.error, Internal | DeadlineExceeded)
    elif outcome.error is None:
        assert outcome.result == 2 * item
        waited = world.idle_seconds(outcome.queued_at, outcome.started_at)
        assert waited <= world.scenario.max_delay + EPSILON, "waited beside a free device"
    else:
        assert isinstance(outcome.error, DeadlineExceeded), "a good item failed"


@settings(max_examples=100, deadline=None)
@given(scenarios)
def test_what_goes_in_comes_out_or_is_counted_with_its_reason(scenario: Scenario) -> None:
    async def check() -> None:
        world = World(scenario)
        answers = await world.play()
        total = sum(len(asked) for asked, _ in answers)
        late_leavers = sum(
            1 for asked, answer in answers if answer == "left" for i in asked if world.computed[i]
        )
        answered = sum(
            outcome.error is None
            for _, answer in answers
            if not isinstance(answer, str)
            for outcome in answer
        )
        counted = sum(world.observer.dropped.values())
        assert answered + late_leavers + counted == total

    run_virtually(check())


@settings(max_examples=100, deadline=None)
@given(scenarios)
def test_a_stage_takes_the_earlier_request_first(scenario: Scenario) -> None:
    async def check() -> None:
        world = World(scenario)
        await world.play()
        arrival = [caller.arrives for caller in scenario.callers for _ in range(caller.items)]
        first_runs = [arrival[item] for item in dict.fromkeys(world.seen)]
        assert first_runs == sorted(first_runs)

    run_virtually(check())
