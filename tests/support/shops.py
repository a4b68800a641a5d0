"""A queue in virtual time with callers of all manners, who count their answers."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from distilpose.service.batching.admission import Admission
from distilpose.service.batching.fairness import Shares
from distilpose.service.batching.room import Room
from distilpose.service.errors import Overloaded
from distilpose.service.words import RefusalReason
from virtual_time import run_virtually

TRAVEL_SECONDS = 0.005
"""From an answer to the same caller's next request."""


@dataclass
class Queue:
    """A gate whose items leave one after the other."""

    room: Room
    seconds_per_item: float
    patience_seconds: float = 0.0
    reason: RefusalReason = RefusalReason.QUEUE

    @property
    def clearing_seconds(self) -> float:
        """The time in which all items will be done."""
        return self.room.used * self.seconds_per_item

    def refusal(self, items: int) -> Overloaded:
        """Return the error of a request for so many items."""
        return Overloaded(f"no room for {items}", retry_after_seconds=self.clearing_seconds)


@dataclass(frozen=True)
class Manner:
    """The manner of a caller: the size of its requests, and its wait after a refusal.

    Without a wait of its own it honours the delay that it is given, in whole seconds as over REST.
    """

    items: int = 1
    again_after_seconds: float | None = None

    def pause_seconds(self, refused: Overloaded) -> float:
        """The time to wait after a refusal."""
        if self.again_after_seconds is not None:
            return self.again_after_seconds
        return max(1, math.ceil(refused.retry_after_seconds or 0))


class Shop:
    """A service of one queue that answers `items_per_second`."""

    def __init__(self, *, items_per_second: float, capacity: int, is_fair: bool = True) -> None:
        self.queue = Queue(Room(capacity), 1 / items_per_second)
        self.admission = Admission(
            [self.queue],
            shares=Shares(asyncio.get_running_loop().time),
            on_refusal=lambda reason: self.refusals.update([reason]),
        )
        self.answers: Counter[str] = Counter()
        self.answered_items = 0
        self.refusals: Counter[str] = Counter()
        self._is_fair = is_fair
        self._line: asyncio.Queue[tuple[int, asyncio.Future[None]]] = asyncio.Queue()

    async def serve(self) -> None:
        """Answer what is queued, in its order."""
        while True:
            items, answered = await self._line.get()
            for _ in range(items):
                self.queue.room.release(1)
                await asyncio.sleep(self.queue.seconds_per_item)
            if not answered.done():
                answered.set_result(None)

    async def ask(self, caller: str, items: int) -> None:
        """Wait for the answer to a request. Raises Overloaded."""
        loop = asyncio.get_running_loop()
        name = caller if self._is_fair else ""
        self.admission.refuse_at_once([(self.queue, 1)], caller=name)
        wants = [(self.queue, items)]
        with await self.admission.enter(wants, accepted_at=loop.time(), caller=name) as admitted:
            admitted.places(self.queue.room).use(items)
        answered = loop.create_future()
        self._line.put_nowait((items, answered))
        await answered
        self.answers[caller] += 1
        self.answered_items += items

    async def call(self, caller: str, manner: Manner) -> None:
        """Ask again and again."""
        while True:
            try:
                await self.ask(caller, manner.items)
            except Overloaded as err:
                await asyncio.sleep(manner.pause_seconds(err))
            await asyncio.sleep(TRAVEL_SECONDS)


def run_shop(
    open_shop: Callable[[], Shop], callers: list[tuple[str, Manner]], *, seconds: float = 120
) -> Shop:
    """Let all callers ask at once for that long; several may be the same caller."""

    async def scenario() -> Shop:
        shop = open_shop()
        tasks = [asyncio.create_task(shop.serve())]
        tasks += [asyncio.create_task(shop.call(*each)) for each in callers]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return shop

    return run_virtually(scenario())
