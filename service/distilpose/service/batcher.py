"""Items to batches to results, in front of one device thread. Knows nothing of images or models.

Capacity is checked once, when places are reserved; after that nothing is refused for lack of room.
Items whose caller has left or whose deadline has passed are dropped while a batch is formed.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from distilpose.service.device import Device
from distilpose.service.errors import DeadlineExceeded, Internal, Overloaded, ServiceError

Item = TypeVar("Item")
Result = TypeVar("Result")


class BatchObserver(Protocol):
    """Is told what happens, for metrics and logs."""

    def batch_done(self, stage: str, *, items: int, seconds: float) -> None:
        """A batch has left the device, well or not."""

    def item_dropped(self, stage: str, *, reason: str, items: int = 1) -> None:
        """Items will not be computed."""

    def batch_failed(self) -> None:
        """The device raised."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    """What became of one item: a result or an error, and when."""

    result: Result | None
    error: Exception | None
    queued_at: float
    started_at: float
    finished_at: float

    def unwrap(self) -> Result:
        """The result.

        Raises:
            Exception: the item's error.
        """
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]  # without an error there is a result


@dataclass(slots=True)
class _Entry(Generic[Item, Result]):
    item: Item
    accepted_at: float
    deadline: float
    queued_at: float
    future: asyncio.Future[Outcome[Result]]
    started_at: float = 0.0

    def resolve(
        self, *, now: float, result: Result | None = None, error: Exception | None = None
    ) -> None:
        if not self.future.done():  # the caller may have left meanwhile
            started_at = self.started_at or now
            self.future.set_result(Outcome(result, error, self.queued_at, started_at, now))


@dataclass(slots=True)
class Places:
    """Room that a request holds until its items are queued. Leaving the `with` frees the rest."""

    batcher: "Batcher[Any, Any]"
    count: int

    def take(self, items: int) -> None:
        """Use up places for items that are now queued themselves."""
        used = min(items, self.count)
        self.count -= used
        self.batcher.reserved -= used

    def __enter__(self) -> "Places":
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.take(self.count)


class Batcher(Generic[Item, Result]):
    """One stage's queue. `run` gets 1..`max_batch` items on the device's thread and answers each.

    When `run` raises, its batch is tried again in halves, so that one poisonous item fails alone.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        stage: str,
        device: Device,
        max_batch: int,
        queue_capacity: int,
        observer: BatchObserver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run = run
        self.stage = stage
        self.max_batch = max_batch
        self.queue_capacity = queue_capacity
        self.reserved = 0
        self._device = device
        self._observer = observer
        self._clock = clock
        self._queue: deque[_Entry[Item, Result]] = deque()
        self._seconds_per_item = 0.0
        device.attach(self)

    @property
    def waiting(self) -> int:
        """Items queued, and places reserved for items on their way."""
        return len(self._queue) + self.reserved

    @property
    def queued(self) -> int:
        """Items in the queue."""
        return len(self._queue)

    @property
    def oldest_accepted_at(self) -> float | None:
        """When the request of the first queued item was accepted."""
        return self._queue[0].accepted_at if self._queue else None

    @property
    def oldest_queued_seconds(self) -> float:
        """How long the first item has been in this queue."""
        return self._clock() - self._queue[0].queued_at if self._queue else 0.0

    def reserve(self, items: int) -> Places:
        """Room for a whole request, or none; one larger than the queue is let into an empty one.

        Raises:
            Overloaded: with the time after which there should be room.
        """
        if self.waiting and self.waiting + items > self.queue_capacity:
            self._observer.item_dropped(self.stage, reason="overloaded", items=items)
            raise Overloaded(
                f"the {self.stage} queue holds {self.waiting} of {self.queue_capacity} items, "
                f"no room for {items} more",
                retry_after_seconds=self.waiting * self._seconds_per_item,
            )
        self.reserved += items
        return Places(self, items)

    async def submit(
        self,
        items: Sequence[Item],
        *,
        deadline: float,
        accepted_at: float,
        places: Places | None = None,
    ) -> list[Outcome[Result]]:
        """Queue items and wait for what becomes of each; cancelling withdraws the queued ones."""
        loop = asyncio.get_running_loop()
        now = self._clock()
        entries = [
            _Entry[Item, Result](item, accepted_at, deadline, now, loop.create_future())
            for item in items
        ]
        if places:
            places.take(len(items))
        self._insert(entries)
        self._device.wake()
        try:
            return await asyncio.gather(*(entry.future for entry in entries))
        finally:
            for entry in entries:
                entry.future.cancel()

    def _insert(self, entries: Iterable[_Entry[Item, Result]]) -> None:
        """In order of acceptance: a request's later items go before younger requests."""
        for entry in entries:
            place = len(self._queue)
            while place and self._queue[place - 1].accepted_at > entry.accepted_at:
                place -= 1
            self._queue.insert(place, entry)

    def form_batch(self) -> list[_Entry[Item, Result]]:
        """Take the next live items off the queue, dropping dead ones on the way."""
        batch: list[_Entry[Item, Result]] = []
        while self._queue and len(batch) < self.max_batch:
            entry = self._queue.popleft()
            if entry.future.done():
                self._observer.item_dropped(self.stage, reason="cancelled")
            elif entry.deadline <= self._clock():
                self._observer.item_dropped(self.stage, reason="deadline")
                late = DeadlineExceeded(f"the deadline passed in the {self.stage} queue")
                entry.resolve(now=self._clock(), error=late)
            else:
                batch.append(entry)
        return batch

    async def process(
        self, batch: Sequence[_Entry[Item, Result]], executor: ThreadPoolExecutor
    ) -> None:
        """Run a batch on the device and resolve each of its items, whatever happens."""
        began = self._clock()
        for entry in batch:
            entry.started_at = entry.started_at or began
        try:
            results = await asyncio.get_running_loop().run_in_executor(
                executor, self.run, [entry.item for entry in batch]
            )
        except Exception as err:  # noqa: BLE001 - it concerns these items only
            self._observer.batch_failed()
            await self._retry_in_halves(batch, err, executor)
        else:
            for entry, result in zip(batch, results, strict=True):
                entry.resolve(now=self._clock(), result=result)
        finally:
            seconds = self._clock() - began
            self._learn_speed(len(batch), seconds)
            self._observer.batch_done(self.stage, items=len(batch), seconds=seconds)
            self._fail_unresolved(batch)

    async def _retry_in_halves(
        self, batch: Sequence[_Entry[Item, Result]], error: Exception, executor: ThreadPoolExecutor
    ) -> None:
        if len(batch) == 1:
            known = error if isinstance(error, ServiceError) else _internal(self.stage, error)
            batch[0].resolve(now=self._clock(), error=known)
            self._observer.item_dropped(self.stage, reason="failed")
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            await self.process(half, executor)

    def _fail_unresolved(self, batch: Sequence[_Entry[Item, Result]]) -> None:
        for entry in batch:
            if not entry.future.done():
                entry.resolve(now=self._clock(), error=Internal("the item was lost; this is a bug"))

    def _learn_speed(self, items: int, seconds: float) -> None:
        measured = seconds / items
        self._seconds_per_item += (measured - self._seconds_per_item) * (
            0.1 if self._seconds_per_item else 1.0
        )

    def drop_all(self, error: ServiceError) -> None:
        """Answer everything still queued with `error`."""
        while self._queue:
            self._queue.popleft().resolve(now=self._clock(), error=error)
            self._observer.item_dropped(self.stage, reason="draining")


def _internal(stage: str, error: Exception) -> Internal:
    failure = Internal(f"the {stage} stage failed on this image")
    failure.__cause__ = error
    return failure
