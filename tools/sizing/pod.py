"""One replica: a queue in front of a device, and the results of the metrics' queries for it.

Photos that do not fit the queue are refused. The waits of both stages are combined, and batches
have their average cost.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from distilpose.service.batching.room import items_that_leave_in_time
from distilpose.service.settings import Settings
from sizing.autoscaler import SYNC_SECONDS
from sizing.day import Numbers

WINDOW_STEPS: Final = round(120 / SYNC_SECONDS)
"""Steps in the window of the queries' `rate(...[2m])`, scraped once per autoscaler step."""


def queue_seconds_at_most(seconds_a_photo: float) -> float:
    """The maximum wait of a photo, which corresponds to a full queue of the service."""
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
    """One replica, with sums of its work for each step."""

    running_at: float
    ready_at: float
    free_at: float = 0.0
    """The time at which its device will have finished all accepted photos."""
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
        """The mean wait, as in the query: 0 if there were no requests."""
        served = sum(self.served[-WINDOW_STEPS:])
        return sum(self.waited[-WINDOW_STEPS:]) / served if served else 0.0

    def busy_share(self, *, decode_seconds: float = 0.0) -> float:
        """The share of the whole window, even if the pod is younger, of the busiest workers.

        `decode_seconds` are a photo's seconds of decoding, divided by the threads for it.
        """
        device = sum(self.busy[-WINDOW_STEPS:])
        decoding = sum(self.served[-WINDOW_STEPS:]) * decode_seconds
        return max(device, decoding) / (WINDOW_STEPS * SYNC_SECONDS)


def waits_of(arrived_at: Numbers, work: Numbers, *, free_at: float, most_seconds: float) -> Numbers:
    """The wait of each of these photos for a device that is free at `free_at`.

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
