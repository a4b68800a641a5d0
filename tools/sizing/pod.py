"""One replica: a queue in front of a device, and what the metrics' queries say of it.

What does not fit the queue is refused. Both stages' waits are one wait here, and batches are what
they cost on average.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from distilpose.service.batching.room import items_that_leave_in_time
from distilpose.service.settings import Settings
from sizing.autoscaler import SYNC_SECONDS
from sizing.day import Numbers

WINDOW_STEPS: Final = round(120 / SYNC_SECONDS)
"""Of the queries' `rate(...[2m])`; the service is scraped as often as the autoscaler looks."""


def queue_seconds_at_most(seconds_a_photo: float) -> float:
    """Longest wait of a photo: the time that a full queue of the service stands for."""
    settings = Settings()
    items = items_that_leave_in_time(
        seconds_a_photo,
        max_queue_seconds=settings.batching.max_queue_seconds,
        request_timeout_seconds=settings.limits.request_timeout_seconds,
        largest_request=settings.http.max_images,
        largest_batch=1,
    )
    return items * seconds_a_photo


@dataclass
class Pod:
    """One replica; sums of what it did are kept by step."""

    running_at: float
    ready_at: float
    free_at: float = 0.0
    """Time at which its device has done everything accepted."""
    waited: list[float] = field(default_factory=list)
    served: list[int] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    def serve(
        self, arrived_at: Numbers, work: Numbers, *, now: float, most_seconds: float
    ) -> Numbers:
        """The waits of the photos of the step that ends now; infinite for refused ones."""
        left_before = max(0.0, self.free_at - (now - SYNC_SECONDS))
        waits = waits_of(arrived_at, work, free_at=self.free_at, most_seconds=most_seconds)
        taken = np.isfinite(waits)
        if taken.any():
            last = np.flatnonzero(taken)[-1]
            self.free_at = float(arrived_at[last] + waits[last] + work[last])
        left = max(0.0, self.free_at - now)
        self.waited.append(float(waits[taken].sum()))
        self.served.append(int(taken.sum()))
        self.busy.append(left_before + float(work[taken].sum()) - left)
        return waits

    def queue_seconds(self) -> float:
        """The mean wait, as the query has it: 0 where nothing was asked."""
        served = sum(self.served[-WINDOW_STEPS:])
        return sum(self.waited[-WINDOW_STEPS:]) / served if served else 0.0

    def busy_share(self) -> float:
        """The device's share of the whole window, also where the pod is younger."""
        return sum(self.busy[-WINDOW_STEPS:]) / (WINDOW_STEPS * SYNC_SECONDS)


def waits_of(arrived_at: Numbers, work: Numbers, *, free_at: float, most_seconds: float) -> Numbers:
    """Seconds that each of these photos waits for a device that is free at `free_at`.

    Infinite for those that would wait longer than `most_seconds`.
    """
    before = np.cumsum(work) - work
    begun_at = before + np.maximum(free_at, np.maximum.accumulate(arrived_at - before))
    waits: Numbers = begun_at - arrived_at
    if not len(waits) or waits.max() <= most_seconds:
        return waits
    for number, (at, seconds) in enumerate(zip(arrived_at, work, strict=True)):
        wait = max(0.0, free_at - at)
        fits = wait <= most_seconds
        waits[number] = wait if fits else np.inf
        free_at = max(free_at, at) + seconds if fits else free_at
    return waits
