"""The outcomes of items, and the calls that wait for them."""

import asyncio
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    """The outcome of one item: a result or an error, and when (seconds, monotonic)."""

    result: Result | None
    error: Exception | None
    queued_at: float
    started_at: float
    finished_at: float

    def unwrap(self) -> Result:
        """Return the result.

        Raises:
            Exception: the item's error.
        """
        if self.error is not None:
            # A copy: the frames that it passes hold this outcome and pictures, and it must not hold
            # them, or all of them would stay until a full collection.
            raise copy(self.error) from self.error.__cause__
        return self.result  # type: ignore[return-value]  # without an error there is a result


@dataclass(frozen=True, slots=True)
class Computed(Generic[Result]):
    """The device's results for a batch, or the error that prevented them."""

    results: Sequence[Result | Exception]
    error: BaseException | None
    began_at: float
    ended_at: float


class Call(Generic[Result]):
    """One submission: its items' outcomes, and the future that has all of them."""

    def __init__(self, items: int) -> None:
        self.future: asyncio.Future[list[Outcome[Result]]] = (
            asyncio.get_running_loop().create_future()
        )
        self._outcomes: list[Outcome[Result] | None] = [None] * items
        self._left = items
        if not items:
            self.future.set_result([])

    @property
    def is_over(self) -> bool:
        """Return True if nobody is waiting: every item is settled, or the caller has left."""
        return self.future.done()

    def settle(self, index: int, outcome: Outcome[Result]) -> None:
        """Record an item's outcome; only the first one counts."""
        if self._outcomes[index] is not None:
            return
        self._outcomes[index] = outcome
        self._left -= 1
        if not self._left and not self.future.done():
            self.future.set_result([each for each in self._outcomes if each is not None])


@dataclass(slots=True, eq=False)
class Entry(Generic[Item, Result]):
    """One item on its way through a stage."""

    item: Item
    call: Call[Result]
    index: int
    accepted_at: float
    deadline: float
    queued_at: float
    started_at: float | None = None
    settled: bool = False

    def settle(
        self, *, now: float, result: Result | None = None, error: Exception | None = None
    ) -> None:
        """Answer the item; a second answer is ignored."""
        started_at = now if self.started_at is None else self.started_at
        self.settled = True
        self.call.settle(self.index, Outcome(result, error, self.queued_at, started_at, now))
