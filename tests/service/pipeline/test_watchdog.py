"""Work that waits while nothing works on it."""

from dataclasses import dataclass

import pytest

from distilpose.service.pipeline.watchdog import Watchdog

NOW = 100.0


@dataclass
class Part:
    """A queue or a worker."""

    queued: int = 0
    oldest_queued_seconds: float = 0.0
    is_busy: bool = False
    last_ended_at: float = 0.0


def stalled_seconds(queues: list[Part], workers: list[Part]) -> float:
    return Watchdog(queues, workers, clock=lambda: NOW).stalled_seconds


@pytest.mark.parametrize(
    ("queue", "workers", "seconds"),
    [
        (Part(1, 7.0), [Part(), Part()], 7.0),
        (Part(1, 50.0), [Part(last_ended_at=NOW - 6), Part()], 6.0),
        (Part(1, 50.0), [Part(last_ended_at=NOW - 4), Part()], 0.0),
        (Part(1, 4.9), [Part(), Part()], 0.0),
        (Part(1, 50.0), [Part(is_busy=True), Part()], 0.0),
        (Part(0, 0.0), [Part(), Part()], 0.0),
    ],
)
def test_waiting_work_is_stalled_once_nothing_has_moved_for_five_seconds(
    queue: Part, workers: list[Part], seconds: float
) -> None:
    assert stalled_seconds([Part(), queue], workers) == seconds
