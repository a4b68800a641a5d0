"""The decode stage: its threads, and how much accepted work may wait for them."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

from distilpose.service.batching.batcher import BatchObserver
from distilpose.service.batching.outcomes import Outcome
from distilpose.service.batching.room import Room
from distilpose.service.batching.workers import Workers
from distilpose.service.errors import Overloaded
from distilpose.service.words import DropReason, RefusalReason, Stage

T = TypeVar("T")

_PER_SECOND: Final = 1_000_000
"""Places of the room for one second of decoding: it is counted in microseconds."""
_OVERHEAD_SECONDS: Final = 0.004
"""The cost of an image of any size; includes scaling it to the detector's canvas."""
_MEMORY: Final = 0.95
"""The weight of the past in the measured pace, for each decoded image."""


_ARRIVING_SECONDS: Final = 0.1
"""The time for which a body that arrives counts as an image. It is short, so that who sends heads
alone keeps few others out."""
_LONGEST_RETRY: Final = 6.0
"""The longest time after which a refused caller is asked to come back, in full queues. Callers who
come back earlier than asked cannot make others wait for longer than that."""


class Expected:
    """Work that is expected, each part of it until a moment at which it has come or will not."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: deque[tuple[float, int]] = deque()
        """The moment of each part, and its places."""
        self._places = 0

    @property
    def places(self) -> int:
        """The places of what is still expected."""
        while self._due and self._due[0][0] <= self._clock():
            self._places -= self._due.popleft()[1]
        return self._places

    def add(self, places: int, *, seconds: float) -> None:
        """Expect work for so long; not for less than what was expected before it."""
        last = self._due[-1][0] if self._due else 0.0
        self._due.append((max(last, self._clock() + seconds), places))
        self._places += places


class Decoding:
    """A gate for seconds of decoding, and the threads that spend them.

    Costs are in seconds of the reference CPU. The threads' own pace is measured while they work,
    so that accepted images are decoded within `max_queue_seconds` on any machine and under any
    load.
    """

    reason = RefusalReason.QUEUE

    def __init__(
        self,
        workers: Workers,
        *,
        max_queue_seconds: float,
        observer: BatchObserver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stage = Stage.DECODE
        self.workers = workers
        self.room = Room(0)
        self._longest_retry_seconds = _LONGEST_RETRY * max_queue_seconds
        self._returning, self._arriving = Expected(clock), Expected(clock)
        self._budget_seconds = workers.threads * max_queue_seconds
        self._observer = observer
        # Before anything is measured, a second at the reference pace.
        self._spent_seconds = self._expected_seconds = 1.0
        self._images = 1.0 / 0.05
        self._follow_pace()

    @property
    def queued(self) -> int:
        """Images that wait for a thread."""
        return self.workers.queued

    @property
    def oldest_queued_seconds(self) -> float:
        """The age of the image that has waited longest, in seconds."""
        return self.workers.oldest_queued_seconds

    @property
    def capacity(self) -> int:
        """The number of images, as recent ones were, that may wait."""
        return max(1, round(self._budget_seconds / (self._spent_seconds / self._images)))

    @property
    def usual_places(self) -> int:
        """The places that an image takes, as recent ones were."""
        return round(self._expected_seconds / self._images * _PER_SECOND)

    @property
    def arriving_places(self) -> int:
        """The places for images whose bodies began to arrive a moment ago."""
        return self._arriving.places

    def expect_image(self) -> None:
        """Expect an image whose body begins to arrive."""
        self._arriving.add(self.usual_places, seconds=_ARRIVING_SECONDS)

    @property
    def patience_seconds(self) -> float:
        """A full queue refuses at once."""
        return 0.0

    @staticmethod
    def places(decode_seconds: float) -> int:
        """The places that an image takes whose decoding costs that many reference seconds."""
        return round((decode_seconds + _OVERHEAD_SECONDS) * _PER_SECOND)

    @property
    def clearing_seconds(self) -> float:
        """The time in which everything that holds places will be done."""
        return self._seconds(self.room.used)

    def refusal(self, items: int) -> Overloaded:
        """Count a refused request, and return its error with the time after which to retry.

        That is when the queue will have emptied and those refused earlier will have had their turn:
        if all came back as soon as there is room for some, most would be refused again.
        """
        self._observer.items_dropped(self.stage, reason=DropReason.OVERLOADED, items=1)
        waiting_seconds = self.clearing_seconds
        retry_seconds = min(
            waiting_seconds + self._seconds(self._returning.places), self._longest_retry_seconds
        )
        self._returning.add(items, seconds=retry_seconds)
        return Overloaded(
            f"the decode queue holds {waiting_seconds:.2f} s of work, "
            f"no room for {self._seconds(items):.2f} s more",
            retry_after_seconds=retry_seconds,
        )

    async def run(
        self,
        work: Callable[[], T],
        *,
        places: int,
        accepted_at: float,
        deadline: float,
        on_end: Callable[[], None],
    ) -> Outcome[T]:
        """Decode on a thread; the places are returned when it has ended.

        Raises:
            DeadlineExceeded: the deadline passed before a thread was free.
        """

        def ended() -> None:
            self.room.release(places)
            on_end()

        outcome = await self.workers.run(
            work, accepted_at=accepted_at, deadline=deadline, on_end=ended
        )
        self._learn_pace(outcome.finished_at - outcome.started_at, places)
        return outcome

    def _seconds(self, places: float) -> float:
        """The time for which that much work keeps all threads busy, at their present pace."""
        return places / _PER_SECOND * self._pace / self.workers.threads

    @property
    def _pace(self) -> float:
        """Seconds on a thread for each reference second."""
        return self._spent_seconds / self._expected_seconds

    def _learn_pace(self, seconds: float, places: int) -> None:
        self._spent_seconds = _MEMORY * self._spent_seconds + seconds
        self._expected_seconds = _MEMORY * self._expected_seconds + places / _PER_SECOND
        self._images = _MEMORY * self._images + 1
        self._follow_pace()

    def _follow_pace(self) -> None:
        self.room.capacity = round(self._budget_seconds / self._pace * _PER_SECOND)
