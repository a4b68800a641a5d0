"""The time of a request as intervals of work and of waiting, with overlap counted once."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from distilpose.service.batching.outcomes import Outcome
from distilpose.service.domain import Timing
from distilpose.service.words import Stage

Interval = tuple[float, float]


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Merge intervals (start, end) into disjoint ones, in order; empty intervals are left out."""
    apart: list[Interval] = []
    for start, end in sorted(intervals):
        if apart and start <= apart[-1][1]:
            apart[-1] = (apart[-1][0], max(apart[-1][1], end))
        elif end > start:
            apart.append((start, end))
    return apart


def covered_seconds(intervals: Iterable[Interval]) -> float:
    """The length of the union of intervals (start, end)."""
    return sum(end - start for start, end in union(intervals))


class Spans:
    """The intervals of one request, by stage."""

    def __init__(self) -> None:
        self._work: defaultdict[Stage, list[Interval]] = defaultdict(list)
        self._wait: defaultdict[Stage, list[Interval]] = defaultdict(list)

    def add_outcomes(self, stage: Stage, outcomes: Sequence[Outcome[Any]]) -> None:
        """Add the times at which these items of `stage` waited and were computed."""
        self._wait[stage] += [(o.queued_at, o.started_at) for o in outcomes]
        self._work[stage] += [(o.started_at, o.finished_at) for o in outcomes]

    def add_wait(self, stage: Stage, began_at: float, ended_at: float) -> None:
        """Add a wait for `stage` that did not belong to one of its items."""
        self._wait[stage].append((began_at, ended_at))

    @contextmanager
    def interrupted_wait(self, stage: Stage, clock: Callable[[], float]) -> Iterator[None]:
        """Add a wait for `stage` if the context ends by an exception, before there are outcomes."""
        began_at = clock()
        try:
            yield
        except BaseException:
            self.add_wait(stage, began_at, clock())
            raise

    def seconds(self) -> dict[Stage, float]:
        """The seconds of work in each stage that the request used."""
        return {stage: covered_seconds(intervals) for stage, intervals in self._work.items()}

    def waits(self) -> dict[Stage, float]:
        """The seconds spent in the queue of each stage that the request used."""
        return {stage: covered_seconds(intervals) for stage, intervals in self._wait.items()}

    def work(self) -> Iterator[tuple[Stage, Interval]]:
        """Each stage with each interval of work on it; a stage's intervals are disjoint."""
        for stage, intervals in self._work.items():
            yield from ((stage, interval) for interval in union(intervals))

    def waiting(self) -> Iterator[tuple[Stage, Interval]]:
        """Each stage with each interval of waiting for it; a stage's intervals are disjoint."""
        for stage, intervals in self._wait.items():
            yield from ((stage, interval) for interval in union(intervals))

    def timing(self, *, total: float) -> Timing:
        """The seconds by stage, and in all queues together."""
        return Timing(**self.seconds(), queue=sum(self.waits().values()), total=total)
