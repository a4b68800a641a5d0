"""Threads for one kind of work. What was accepted first goes first. Knows no images."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

from distilpose.service.batching.careful import careful
from distilpose.service.batching.outcomes import Outcome
from distilpose.service.errors import DeadlineExceeded, ServiceError
from distilpose.service.words import DropReason, Pool

T = TypeVar("T")


class PoolObserver(Protocol):
    """Receives the pools' events, for metrics."""

    def work_done(self, pool: Pool, *, seconds: float) -> None:
        """Record work that has ended on a thread, successful or not."""

    def work_dropped(self, pool: Pool, *, reason: DropReason) -> None:
        """Record work that no thread will do."""


@dataclass(order=True, slots=True)
class _Job(Generic[T]):
    accepted_at: float
    number: int
    work: Callable[[], T] = field(compare=False)
    deadline: float = field(compare=False)
    queued_at: float = field(compare=False)
    on_end: Callable[[], None] = field(compare=False)
    outcome: "asyncio.Future[Outcome[T]]" = field(compare=False)


class Workers:
    """A fixed number of threads, and the work that waits for them."""

    def __init__(
        self,
        pool: Pool,
        threads: int,
        *,
        observer: PoolObserver,
        executor: Executor | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pool = pool
        self.threads = threads
        self.running = 0
        self.last_ended_at = clock()
        self._executor = executor or ThreadPoolExecutor(threads, thread_name_prefix=pool)
        self._clock = clock
        self._queue: list[_Job[Any]] = []
        self._numbers = count()
        self._refusal: ServiceError | None = None
        self._tell_done = careful(observer.work_done, otherwise=lambda: None)
        self._tell_dropped = careful(observer.work_dropped, otherwise=lambda: None)

    @property
    def is_busy(self) -> bool:
        """Return True while a thread works."""
        return self.running > 0

    @property
    def queued(self) -> int:
        """Work that waits for a thread."""
        return len(self._queue)

    @property
    def oldest_queued_seconds(self) -> float:
        """The age of the work that has waited longest, in seconds; callable from any thread."""
        queued_at = [job.queued_at for job in list(self._queue)]
        return self._clock() - min(queued_at) if queued_at else 0.0

    async def run(
        self,
        work: Callable[[], T],
        *,
        accepted_at: float,
        deadline: float,
        on_end: Callable[[], None] = lambda: None,
    ) -> Outcome[T]:
        """Do `work` on a thread, after whatever was accepted earlier.

        Who is cancelled withdraws work that has not begun. `on_end` is called once, on the loop,
        when no thread will touch the work any more: also after its caller has left.

        Raises:
            DeadlineExceeded: the deadline passed before a thread was free.
            Exception: raised by the work.
        """
        loop = asyncio.get_running_loop()
        job = _Job(
            accepted_at,
            next(self._numbers),
            work,
            deadline,
            self._clock(),
            on_end,
            loop.create_future(),
        )
        heappush(self._queue, job)
        self._feed()
        try:
            return await job.outcome
        finally:
            if job.outcome.cancelled():
                self._feed()

    def close(self, error: ServiceError) -> None:
        """Answer the work that waits with `error`, and whatever comes later."""
        self._refusal = error
        self._feed()
        self._executor.shutdown(wait=False)

    def _feed(self) -> None:
        self._queue = [job for job in self._queue if not self._is_over(job)]
        while self._queue and self.running < self.threads:
            self._start(heappop(self._queue))

    def _is_over(self, job: _Job[Any]) -> bool:
        """Settle a job that no thread shall do; a heap without such jobs is still a heap."""
        if job.outcome.cancelled():
            reason, error = DropReason.CANCELLED, None
        elif self._refusal:
            reason, error = DropReason.DRAINING, self._refusal
        elif job.deadline <= self._clock():
            late = DeadlineExceeded(f"the deadline passed in the {self.pool} queue")
            reason, error = DropReason.DEADLINE, late
        else:
            return False
        if error:
            job.outcome.set_exception(error)
        self._tell_dropped(self.pool, reason=reason)
        job.on_end()
        return True

    def _start(self, job: _Job[T]) -> None:
        loop = asyncio.get_running_loop()
        clock = self._clock

        def timed() -> Outcome[T]:
            started_at = clock()
            try:
                result = job.work()
            except Exception as err:  # noqa: BLE001 - it is the caller's, with the times
                return Outcome(None, err, job.queued_at, started_at, clock())
            return Outcome(result, None, job.queued_at, started_at, clock())

        self.running += 1
        thread: Future[Outcome[T]] = self._executor.submit(timed)

        def ended(done: "Future[Outcome[T]]") -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._ended, job, done)

        thread.add_done_callback(ended)

    def _ended(self, job: _Job[T], done: "Future[Outcome[T]]") -> None:
        self.running -= 1
        self.last_ended_at = self._clock()
        outcome = done.result()
        self._tell_done(self.pool, seconds=outcome.finished_at - outcome.started_at)
        if not job.outcome.done():
            job.outcome.set_result(outcome)
        job.on_end()
        self._feed()
