"""Where a request's time went: intervals of work and of waiting, overlap counted once."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from distilpose.service.batcher import Outcome
from distilpose.service.domain import Timing

Interval = tuple[float, float]


def covered_seconds(intervals: Iterable[Interval]) -> float:
    """The length of the union of intervals (start, end)."""
    total = 0.0
    reached = float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


class Spans:
    """The intervals of one request by stage."""

    def __init__(self) -> None:
        self._work: defaultdict[str, list[Interval]] = defaultdict(list)
        self._wait: defaultdict[str, list[Interval]] = defaultdict(list)

    def add_outcomes(self, stage: str, outcomes: Sequence[Outcome[Any]]) -> None:
        """Count when these items of `stage` waited and when they were worked on."""
        self._wait[stage] += [(o.queued_at, o.started_at) for o in outcomes]
        self._work[stage] += [(o.started_at, o.finished_at) for o in outcomes]

    def waits(self) -> dict[str, float]:
        """Seconds in the queue of each stage that the request met."""
        return {stage: covered_seconds(intervals) for stage, intervals in self._wait.items()}

    def timing(self, *, total: float) -> Timing:
        """Seconds by stage, and in all queues together."""
        work = {stage: covered_seconds(intervals) for stage, intervals in self._work.items()}
        return Timing(**work, queue=sum(self.waits().values()), total=total)
