"""Notice that accepted work waits while nothing works on it, whatever the reason."""

import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

STALLED_AFTER_SECONDS: Final = 5.0


class Queue(Protocol):
    """Work that waits."""

    @property
    def queued(self) -> int:
        """The number of items that wait."""
        ...

    @property
    def oldest_queued_seconds(self) -> float:
        """The age of the item that has waited longest, in seconds."""
        ...


class Worker(Protocol):
    """One or several threads that do such work."""

    @property
    def is_busy(self) -> bool:
        """Return True while a thread works."""
        ...

    @property
    def last_ended_at(self) -> float:
        """The instant at which a thread last ended something, successful or not."""
        ...


class Watchdog:
    """Sees that items are queued, and that no worker runs or has ended anything for a while.

    No design of ours leads there. It is for what nobody thought of, so it looks only at queues and
    threads and knows nothing of the rules between them.
    """

    def __init__(
        self,
        queues: Sequence[Queue],
        workers: Sequence[Worker],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queues = queues
        self._workers = workers
        self._clock = clock

    @property
    def stalled_seconds(self) -> float:
        """The time for which nothing has moved; 0 below `STALLED_AFTER_SECONDS`."""
        waiting = [queue.oldest_queued_seconds for queue in self._queues if queue.queued]
        if not waiting or any(worker.is_busy for worker in self._workers):
            return 0.0
        idle = self._clock() - max(worker.last_ended_at for worker in self._workers)
        still = min(idle, max(waiting))
        return still if still >= STALLED_AFTER_SECONDS else 0.0
