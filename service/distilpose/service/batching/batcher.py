"""Turn items into batches and batches into results, for one device. Knows no images and no models.

Room is checked once, at admission; after that nothing is refused. A batch goes when the device is
free and it is full, its oldest item has waited long enough, or nothing else is on its way: an idle
device never waits for items that cannot come.
"""

import time
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Protocol

from distilpose.service.batching.careful import careful, steady
from distilpose.service.batching.device import Device, Verdict
from distilpose.service.batching.outcomes import Call, Computed, Entry, Item, Outcome, Result
from distilpose.service.batching.room import Places, Room
from distilpose.service.errors import DeadlineExceeded, Internal, Overloaded, ServiceError
from distilpose.service.words import DropReason, Fault, RefusalReason, Stage

AT_ONCE = float("-inf")


class BatchObserver(Protocol):
    """Receives the batchers' events, for metrics and logs."""

    def batch_done(self, stage: Stage, *, items: int, padding: int, seconds: float) -> None:
        """Record a batch that has left the device, successful or not, padded by `padding` items."""

    def items_dropped(self, stage: Stage, *, reason: DropReason, items: int) -> None:
        """Record items that will not be computed."""

    def failed(self, stage: Stage, *, kind: Fault) -> None:
        """Record that a batch, or one item of it, failed on the device."""


class Batcher(Generic[Item, Result]):
    """One stage's queue. `run` gets at most the largest bucket of items, on the device's thread.

    `run` returns a result or an exception for each item. When it raises, its batch is retried in
    halves, so that one poisonous item fails alone; `kind_of` classifies an exception.
    `more_coming` returns True while an accepted item is on its way here without waiting in a queue;
    while `held`, no batch is released. `buckets` are the ascending sizes that `run` pads batches
    to. `queue_capacity` items may wait until a busy queue has measured its seconds per item; from
    then on the capacity is `capacity_at` of that measurement.
    """

    reason = RefusalReason.QUEUE

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        stage: Stage,
        device: Device,
        buckets: Sequence[int],
        queue_capacity: int,
        observer: BatchObserver,
        capacity_at: Callable[[float], int] | None = None,
        max_delay_seconds: float = 0.0,
        more_coming: Callable[[], bool] = lambda: False,
        held: Callable[[], bool] = lambda: False,
        kind_of: Callable[[BaseException], Fault] = lambda _: Fault.FAULT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stage = stage
        self.buckets = tuple(buckets)
        self.room = Room(queue_capacity)
        self._run = run
        self._device = device
        self._max_delay_seconds = max_delay_seconds
        self._more_coming = careful(more_coming, otherwise=lambda: False)
        self._held = careful(held, otherwise=lambda: False)
        self._kind_of = careful(kind_of, otherwise=lambda: Fault.FAULT)
        self._clock = steady(clock)
        self._tell_batch_done = careful(observer.batch_done, otherwise=lambda: None)
        self._tell_dropped = careful(observer.items_dropped, otherwise=lambda: None)
        self._tell_failed = careful(observer.failed, otherwise=lambda: None)
        self._queue: list[Entry[Item, Result]] = []
        self._retries: deque[list[Entry[Item, Result]]] = deque()
        self._capacity_at = careful(
            capacity_at or (lambda _: queue_capacity), otherwise=lambda: self.room.capacity
        )
        self._seconds_per_item = 0.0
        self._busy_since: float | None = None
        device.attach(self)

    @property
    def max_batch(self) -> int:
        """The largest bucket."""
        return self.buckets[-1]

    @property
    def capacity(self) -> int:
        """Items that may wait, at the present pace."""
        return self.room.capacity

    @property
    def queued(self) -> int:
        """Items in the queue."""
        return len(self._queue)

    @property
    def oldest_queued_seconds(self) -> float:
        """The age of the first item in this queue, in seconds; safe to call from any thread."""
        queued_at = [entry.queued_at for entry in self._queue]
        return self._clock() - min(queued_at) if queued_at else 0.0

    @property
    def patience_seconds(self) -> float:
        """A full queue refuses at once."""
        return 0.0

    @property
    def clearing_seconds(self) -> float:
        """The time in which everything that holds places will be done."""
        return self.room.used * self._seconds_per_item

    def refusal(self, items: int) -> Overloaded:
        """Count a refused request, and return its error with the time after which to retry."""
        self._tell_dropped(self.stage, reason=DropReason.OVERLOADED, items=items)
        return Overloaded(
            f"the {self.stage} queue holds {self.room.used} of {self.room.capacity} items, "
            f"no room for {items} more",
            retry_after_seconds=self.clearing_seconds,
        )

    async def submit(
        self,
        items: Sequence[Item],
        *,
        deadline: float,
        accepted_at: float,
        places: Places | None = None,
    ) -> list[Outcome[Result]]:
        """Queue items and wait for the outcome of each; cancelling withdraws those still queued."""
        call = Call[Result](len(items))
        self.room.take(len(items) - (places.use(len(items)) if places else 0))
        now = self._clock()
        for index, item in enumerate(items):
            entry = Entry(item, call, index, accepted_at, deadline, now)
            insort(self._queue, entry, key=lambda each: each.accepted_at)
        self._device.wake()
        try:
            return await call.future
        finally:
            if call.future.cancelled():
                self._withdraw(call)

    def release_at(self) -> float | None:
        """The instant from which the next batch may be released; None if nothing is queued."""
        if self._retries:
            return AT_ONCE
        if not self._queue or self._held():
            return None
        if self.is_full or not self._more_coming():
            return AT_ONCE
        return self._first_queued_at() + self._max_delay_seconds

    @property
    def oldest_accepted_at(self) -> float:
        """The acceptance time of the request that the next batch starts with."""
        return (self._retries[0] if self._retries else self._queue)[0].accepted_at

    @property
    def is_full(self) -> bool:
        """Return True if the next batch could not grow with more items."""
        return bool(self._retries) or len(self._queue) >= self.max_batch

    def form_batch(self) -> list[Entry[Item, Result]]:
        """Take the next live items off the queue, dropping dead ones on the way."""
        if self._retries:
            return self._living(self._retries.popleft())
        batch: list[Entry[Item, Result]] = []
        while self._queue and len(batch) < self.max_batch:
            wanted = self._queue[: self.max_batch - len(batch)]
            del self._queue[: len(wanted)]
            self.room.release(len(wanted))
            batch += self._living(wanted)
        return batch

    def compute(self, batch: Sequence[Entry[Item, Result]]) -> Computed[Result]:
        """Run a batch on the device's thread. Raises nothing: a thread has nobody to raise to."""
        began_at = self._clock()
        try:
            results = self._run([entry.item for entry in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} items; this is a bug")
        except BaseException as err:  # noqa: BLE001 - it concerns these items only
            return Computed((), err, began_at, self._clock())
        return Computed(results, None, began_at, self._clock())

    def finish(self, batch: Sequence[Entry[Item, Result]], computed: Computed[Result]) -> Verdict:
        """Answer a batch's items or requeue them in halves; return the verdict on the device."""
        seconds = computed.ended_at - computed.began_at
        padding = self._bucket(len(batch)) - len(batch)
        for entry in batch:
            if entry.started_at is None:
                entry.started_at = computed.began_at
        try:
            if computed.error is not None:
                return self._failed(batch, computed.error)
            for entry, result in zip(batch, computed.results, strict=True):
                self._settle(entry, result)
            return "well" if any(_is_answer(each) for each in computed.results) else "doubtful"
        finally:
            self._learn_pace(len(batch), computed)
            self._tell_batch_done(self.stage, items=len(batch), padding=padding, seconds=seconds)
            self._fail_unanswered(batch)

    def drop_all(self, error: ServiceError, *, reason: DropReason) -> None:
        """Answer every queued item with `error`."""
        entries = [*self._queue, *(entry for half in self._retries for entry in half)]
        self.room.release(len(self._queue))
        self._queue.clear()
        self._retries.clear()
        self._drop(entries, error, reason=reason)

    def _first_queued_at(self) -> float:
        return min(entry.queued_at for entry in self._queue)

    def _withdraw(self, call: Call[Result]) -> None:
        left = [entry for entry in self._queue if entry.call is not call]
        gone = len(self._queue) - len(left)
        self._queue = left
        self.room.release(gone)
        if gone:
            self._tell_dropped(self.stage, reason=DropReason.CANCELLED, items=gone)
        self._device.wake()

    def _living(self, entries: Iterable[Entry[Item, Result]]) -> list[Entry[Item, Result]]:
        now = self._clock()
        living = []
        for entry in entries:
            if entry.call.is_over:
                self._tell_dropped(self.stage, reason=DropReason.CANCELLED, items=1)
            elif entry.deadline <= now:
                late = DeadlineExceeded(f"the deadline passed in the {self.stage} queue")
                self._drop([entry], late, reason=DropReason.DEADLINE)
            else:
                living.append(entry)
        return living

    def _drop(
        self, entries: Sequence[Entry[Item, Result]], error: ServiceError, *, reason: DropReason
    ) -> None:
        for entry in entries:
            entry.settle(now=self._clock(), error=error)
        if entries:
            self._tell_dropped(self.stage, reason=reason, items=len(entries))

    def _settle(self, entry: Entry[Item, Result], result: Result | Exception) -> None:
        if not isinstance(result, Exception):
            entry.settle(now=self._clock(), result=result)
            return
        self._tell_failed(self.stage, kind=self._kind_of(result))
        self._drop([entry], _error_for_caller(self.stage, result), reason=DropReason.FAILED)

    def _failed(self, batch: Sequence[Entry[Item, Result]], error: BaseException) -> Verdict:
        kind = self._kind_of(error)
        self._tell_failed(self.stage, kind=kind)
        if kind == Fault.OOM:
            self._lower_largest_bucket(len(batch))
        if kind != Fault.LOST and len(batch) > 1:
            middle = len(batch) // 2
            self._retries.extendleft((list(batch[middle:]), list(batch[:middle])))
            return "retrying"
        self._drop(batch, _error_for_caller(self.stage, error), reason=DropReason.FAILED)
        return "lost" if kind == Fault.LOST else "doubtful"

    def _lower_largest_bucket(self, items: int) -> None:
        smaller = [bucket for bucket in self.buckets if bucket < self._bucket(items)]
        if smaller:
            self.buckets = tuple(smaller)

    def _bucket(self, items: int) -> int:
        return next((bucket for bucket in self.buckets if bucket >= items), items)

    def _fail_unanswered(self, batch: Sequence[Entry[Item, Result]]) -> None:
        again = {id(entry) for half in self._retries for entry in half}
        lost = [e for e in batch if not e.settled and id(e) not in again]
        self._drop(lost, Internal("the item was lost; this is a bug"), reason=DropReason.FAILED)

    def _learn_pace(self, items: int, computed: Computed[Result]) -> None:
        """Measure from the end of the previous batch, if items have been waiting since then.

        So the measurement includes whatever else the device did in between.
        """
        if self._busy_since is not None:
            pace = (computed.ended_at - self._busy_since) / items
            self._seconds_per_item += 0.1 * (pace - self._seconds_per_item)
            self.room.capacity = self._capacity_at(self._seconds_per_item)
        elif not self._seconds_per_item:
            self._seconds_per_item = (computed.ended_at - computed.began_at) / items
        self._busy_since = computed.ended_at if self._queue else None


def _is_answer(result: object) -> bool:
    return not isinstance(result, Exception)


def _error_for_caller(stage: Stage, error: BaseException) -> ServiceError:
    """The error that callers get, never with the exception's own text, which may contain a path."""
    if isinstance(error, ServiceError):
        return error
    failure = Internal(f"the {stage} stage failed on this image")
    failure.__cause__ = error
    return failure
