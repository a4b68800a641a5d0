"""The one thread that owns the device and both models, and what feeds it.

Knows nothing about what the stages compute. Nothing here waits: every change (an item queued or
withdrawn, a batch finished, a timer fired) calls `wake`, which starts the next batch if the device
is free. So there is no loop that could die, and nothing that a cancellation could reach.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from distilpose.service.batching.careful import steady
from distilpose.service.errors import Internal, ServiceError
from distilpose.service.words import DropReason

T = TypeVar("T")
logger = logging.getLogger(__name__)

Verdict: TypeAlias = Literal["well", "retrying", "doubtful", "lost"]
"""A batch's verdict on the device: `well` works, `retrying` is being tried again in halves,
`doubtful` failed on a lone item and needs a check, `lost` no longer computes."""

STALLED_AFTER_SECONDS = 60.0
"""A batch that runs longer counts as hung."""
CANARY_SECONDS = 30.0
"""The interval at which an idle device is checked."""
_AGAIN_SECONDS = 1.0
_MOST_PASSED_OVER = 2
"""The number of batches in a row from other stages that may overtake a batch that is not full:
enough for their output to be cut into crops and join it, too few for any stage to starve."""
_CLOSE_SECONDS = 5.0


class DeviceLost(Exception):
    """The device no longer computes; only a new process can help."""


class Stage(Protocol):
    """A queue in front of the device."""

    @property
    def oldest_accepted_at(self) -> float:
        """The acceptance time of the request that the next batch starts with."""
        ...

    @property
    def is_full(self) -> bool:
        """Return True if the next batch could not grow with more items."""
        ...

    def release_at(self) -> float | None:
        """The instant from which the next batch may be released; None if nothing is queued."""
        ...

    def form_batch(self) -> Sequence[Any]:
        """Take the next live items; none if all were dead."""
        ...

    def compute(self, batch: Sequence[Any]) -> Any:
        """Run a batch, on the device's thread; raises nothing."""
        ...

    def finish(self, batch: Sequence[Any], computed: Any) -> Verdict:
        """Answer a batch's items; return the verdict on the device."""
        ...

    def drop_all(self, error: ServiceError, *, reason: DropReason) -> None:
        """Answer every queued item with `error`."""


class Device:
    """The thread for everything that touches the device, shared by the stages attached to it."""

    def __init__(
        self,
        *,
        executor: Executor | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failure: DeviceLost | None = None
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="device")
        self._clock = steady(clock)
        self._stages: list[Stage] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._canary: Callable[[], object] | None = None
        self._on_lost: Callable[[DeviceLost], None] = lambda _: None
        self._idle = asyncio.Event()
        self._idle.set()
        self._refusal: tuple[ServiceError, DropReason] | None = None
        self._canary_due = False
        self._passed_over = 0
        self._began_at = 0.0
        self.last_ended_at = self._clock()
        """The instant at which a batch or a check last ended, successful or not."""
        self._well = True
        self._well_at = 0.0

    def attach(self, stage: Stage) -> None:
        """Share the device with one more stage."""
        self._stages.append(stage)

    def start(
        self,
        *,
        canary: Callable[[], object] | None = None,
        on_lost: Callable[[DeviceLost], None] = lambda _: None,
    ) -> None:
        """Start feeding the device from the running loop.

        `canary` is a small computation that fails when the device is gone; it runs after failures
        and periodically on an idle device. `on_lost` is called once, when the device is given up.
        """
        self._loop = asyncio.get_running_loop()
        self._canary, self._on_lost = canary, on_lost
        self._well_at = self._clock()
        self.wake()

    @property
    def alive(self) -> bool:
        """Return True while the device takes work and no batch hangs."""
        return self._refusal is None and not self._is_stalled

    @property
    def healthy(self) -> bool:
        """Return True if the device is alive and its last batch or check succeeded."""
        return self.alive and self._well

    @property
    def is_busy(self) -> bool:
        """Return True while a batch or a check runs."""
        return not self._idle.is_set()

    @property
    def _is_stalled(self) -> bool:
        return self.is_busy and self._clock() - self._began_at > STALLED_AFTER_SECONDS

    async def call(self, function: Callable[[], T]) -> T:
        """Run another function on the device's thread, such as loading or warming up."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)

    def wake(self) -> None:
        """Start the next batch if there is one and the device is free."""
        if self._refusal:
            self._drop_all(*self._refusal)
        if self._loop is None or self.is_busy or self._refusal:
            return
        if self._timer:
            self._timer.cancel()
            self._timer = None
        try:
            self._feed()
        except Exception:
            logger.exception("feeding the device failed; retrying")
            self._wake_in(_AGAIN_SECONDS)

    async def close(self, error: ServiceError) -> None:
        """Let the running batch finish, answer the queued items with `error`, stop the thread."""
        self._refuse(error, reason=DropReason.DRAINING)
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            logger.error("a batch is still running on the device; not waiting for it")
        # Again, because a batch that has just failed may have queued halves.
        self._drop_all(error, DropReason.DRAINING)
        self._executor.shutdown(wait=False)

    def _feed(self) -> None:
        if self._canary_due:
            self._try_canary()
            return
        while (waiting := self._waiting()) and min(waiting)[0] <= self._clock():
            now = self._clock()
            ready = [stage for at, _, stage in waiting if at <= now]
            stage = self._next_of(ready)
            if batch := stage.form_batch():
                self._run(partial(stage.compute, batch), partial(stage.finish, batch))
                return
        if waiting:
            self._wake_in(min(waiting)[0] - self._clock())
        elif self._canary:
            self._canary_due = self._clock() - self._well_at >= CANARY_SECONDS
            self._wake_in(0 if self._canary_due else CANARY_SECONDS)

    def _next_of(self, ready: Sequence[Stage]) -> Stage:
        """The stage with the earliest request; occasionally another, while its batch is not full.

        Under load, crops of several images then fill one batch instead of going image by image.
        """
        first, *others = sorted(ready, key=lambda stage: stage.oldest_accepted_at)
        if others and not first.is_full and self._passed_over < _MOST_PASSED_OVER:
            self._passed_over += 1
            return others[0]
        self._passed_over = 0
        return first

    def _waiting(self) -> list[tuple[float, int, Stage]]:
        """The release time of each stage that has work, with an index that breaks ties."""
        times = ((stage.release_at(), n, stage) for n, stage in enumerate(self._stages))
        return [(at, n, stage) for at, n, stage in times if at is not None]

    def _run(self, work: Callable[[], T], finish: Callable[[T], Verdict]) -> None:
        assert self._loop  # noqa: S101 - `start` came first
        loop = self._loop
        self._idle.clear()
        self._began_at = self._clock()
        running = self._executor.submit(work)
        running.add_done_callback(lambda done: loop.call_soon_threadsafe(self._ended, finish, done))

    def _ended(self, finish: Callable[[T], Verdict], done: "Future[T]") -> None:
        verdict: Verdict = "doubtful"
        self.last_ended_at = self._clock()
        try:
            verdict = finish(done.result())
        except Exception:
            logger.exception("finishing a batch failed")
        self._judge(verdict)
        if self._loop:
            # Not free at once: callers that were just answered queue their next items first.
            self._loop.call_soon(self._free)

    def _free(self) -> None:
        self._idle.set()
        self.wake()

    def _judge(self, verdict: Verdict) -> None:
        if verdict == "well":
            self._well, self._well_at = True, self._clock()
        elif verdict == "doubtful":
            self._well = False
            self._canary_due = self._canary is not None
        elif verdict == "lost":
            self._give_up()

    def _try_canary(self) -> None:
        self._canary_due = False
        canary = self._canary

        def fly() -> BaseException | None:
            try:
                if canary:
                    canary()
            except BaseException as err:  # noqa: BLE001 - whatever it is, the device failed
                return err
            return None

        def judge(error: BaseException | None) -> Verdict:
            if error is None:
                return "well"
            logger.error("the device failed its check", exc_info=error)
            return "lost"

        self._run(fly, judge)

    def _give_up(self) -> None:
        self.failure = DeviceLost("the device no longer computes")
        self._refuse(Internal("the device failed"), reason=DropReason.FAILED)
        try:
            self._on_lost(self.failure)
        except Exception:
            logger.exception("reporting the lost device failed")

    def _refuse(self, error: ServiceError, *, reason: DropReason) -> None:
        """Answer what is queued, and whatever arrives later, with `error`."""
        self._refusal = self._refusal or (error, reason)
        if self._timer:
            self._timer.cancel()
        self._drop_all(*self._refusal)

    def _drop_all(self, error: ServiceError, reason: DropReason) -> None:
        for stage in self._stages:
            stage.drop_all(error, reason=reason)

    def _wake_in(self, seconds: float) -> None:
        if self._loop:
            self._timer = self._loop.call_later(max(0.0, seconds), self.wake)
