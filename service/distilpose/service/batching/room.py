"""A bounded resource counted in places: who takes them, waits for them and returns them."""

import asyncio
import math
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType


@dataclass(slots=True)
class Places:
    """Room that a request holds until its items are queued. Leaving the `with` frees the rest."""

    room: "Room"
    count: int

    def use(self, items: int) -> int:
        """Hand over up to `items` places to items that are queued now; return how many."""
        used = min(items, self.count)
        self.count -= used
        return used

    def add(self, others: "Places") -> None:
        """Take over all places of `others`, which are of the same room."""
        self.count += others.use(others.count)

    def shrink_to(self, count: int) -> None:
        """Return the places beyond `count`."""
        if self.count > count:
            self.room.release(self.use(self.count - count))

    def __enter__(self) -> "Places":
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.room.release(self.use(self.count))


class Lease:
    """Places with several holders; the last one to let go returns them."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._holders = 1

    def hold(self) -> None:
        """Add a holder."""
        self._holders += 1

    def let_go(self) -> None:
        """Remove a holder."""
        self._holders -= 1
        if not self._holders:
            self._places.room.release(self._places.use(self._places.count))


@dataclass(slots=True)
class _Waiter:
    items: int
    accepted_at: float
    granted: asyncio.Future[None]
    rank: float
    leaving: int

    @property
    def turn(self) -> tuple[float, float]:
        """The sort key."""
        return self.rank, self.accepted_at


class Room:
    """At most `capacity` places; a request larger than the capacity may enter an empty room."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self.on_release: Callable[[], None] = lambda: None
        """Called when places are free that nobody here waits for."""
        self._waiters: list[_Waiter] = []

    @property
    def is_crowded(self) -> bool:
        """Return True if somebody waits for places who need not leave any to others."""
        return any(not waiter.leaving for waiter in self._waiters)

    def fits(self, items: int, *, leaving: int = 0) -> bool:
        """Return True if the places are free and nobody is already waiting for them.

        With `leaving`, that many must stay free.
        """
        return not self.is_crowded and self._has(items + leaving)

    def take(self, items: int) -> Places:
        """Take places without checking that they are free."""
        self.used += items
        return Places(self, items)

    async def wait_for(
        self, items: int, *, accepted_at: float, rank: float = math.inf, leaving: int = 0
    ) -> Places:
        """Wait until places are free and take them; lower ranks first, then who came earlier.

        With `leaving`, that many must stay free, and others may pass meanwhile.
        """
        granted = asyncio.get_running_loop().create_future()
        waiter = _Waiter(items, accepted_at, granted, rank, leaving)
        insort(self._waiters, waiter, key=lambda each: each.turn)
        self._let_in()
        try:
            await granted
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise
        return Places(self, items)

    def release(self, items: int) -> None:
        """Return places, and let in whoever is waiting for them."""
        self.used -= items
        self._let_in()
        self.on_release()

    def _has(self, items: int) -> bool:
        return not self.used or self.used + items <= self.capacity

    def _let_in(self) -> None:
        # A cancelled waiter has not noticed yet, and will remove itself from the list.
        for waiter in [each for each in self._waiters if not each.granted.cancelled()]:
            if not self._has(waiter.items + waiter.leaving):
                if waiter.leaving:
                    continue
                return
            self._waiters.remove(waiter)
            self.used += waiter.items
            waiter.granted.set_result(None)

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter.granted.cancelled():
            self._waiters.remove(waiter)
            self._let_in()
            self.on_release()
        else:  # granted in the same moment
            self.release(waiter.items)


def items_that_leave_in_time(
    seconds_per_item: float,
    *,
    max_queue_seconds: float,
    request_timeout_seconds: float,
    largest_request: int,
    largest_batch: int,
) -> int:
    """The number of items that clear within `max_queue_seconds`, and at least two batches.

    A whole request fits as well if half of its timeout is enough to clear it: with more items
    waiting, accepted requests would be answered too late.
    """
    in_time = int(max_queue_seconds / seconds_per_item)
    of_one_request = int(request_timeout_seconds / 2 / seconds_per_item)
    return max(in_time, min(largest_request, of_one_request), 2 * largest_batch)
