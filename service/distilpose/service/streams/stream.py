"""Answer video streams through the pipeline, with a bounded number of frames in flight.

Knows no transport: a `Caller` brings frames and takes answers.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any, NoReturn, Protocol, TypeAlias

from distilpose.service.domain import (
    Frame,
    FrameAnswer,
    ImageAnswer,
    Options,
    PoseAnswer,
    PoseRequest,
    StreamOptions,
)
from distilpose.service.errors import Draining, Internal, Overloaded, ServiceError
from distilpose.service.life import Life, State
from distilpose.service.settings import StreamsSettings
from distilpose.service.streams.following import Follower
from distilpose.service.streams.lines import FrameOrder, LatestLine, Line, OrderedLine, Waiting
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.words import RefusalReason

logger = logging.getLogger(__name__)


Estimate: TypeAlias = Callable[[PoseRequest], Awaitable[PoseAnswer]]
"""The pipeline's `estimate`. Raises ServiceError."""


class Caller(Protocol):
    """The other end of a stream."""

    async def open(self) -> StreamOptions:
        """Return the options of the stream. Raises ServiceError."""
        ...

    async def read(self) -> Frame | None:
        """The next frame; None when there are no more. Raises ServiceError."""
        ...

    async def send(self, answer: FrameAnswer) -> None:
        """Send an answer; waits while the other end does not take it."""


class Stream:
    """Answers a stream in the order of its frames, with one answer for each that is not dropped.

    A broken frame is answered with its error, in its place. In mode `ordered` at most `window`
    frames are in flight; beyond that nothing is read, and the caller experiences flow control.
    """

    def __init__(
        self,
        caller: Caller,
        *,
        estimate: Estimate,
        window: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.last_frame_id: int | None = None
        """Id of the last frame in order that was answered, by this stream or the resumed one."""
        self._caller = caller
        self._estimate = estimate
        self._window = window
        self._metrics = metrics
        self._clock = clock
        self._reading: asyncio.Task[Any] | None = None
        self._answering: set[asyncio.Task[PoseAnswer]] = set()
        self._ended: ServiceError | None = None

    async def run(self) -> None:
        """Run until the caller has sent its last frame and every frame is answered.

        Raises:
            ServiceError: the error passed to `end`, or one raised by the caller's `open` or `read`,
                after the frames before it were answered.
        """
        try:
            self._read(self._caller.open())
            options: StreamOptions = await self._outcome()
            self.last_frame_id = options.last_frame_id
            line = self._line(options)
            follower = Follower(self._ask, options)
            self._read(self._fill(line, follower, options))
            while waiting := await line.take():
                await self._hand_out(waiting, follower, options)
                line.answered(waiting.frame, at=self._clock())
                del waiting  # the picture, while the next one is awaited
            await self._outcome()
        finally:
            await self._withdraw()

    def end(self, error: ServiceError) -> None:
        """Read no further frames; `run` raises the error once every frame read is answered."""
        if not self._ended:
            self._ended = error
            if self._reading:
                self._reading.cancel()

    async def _withdraw(self) -> None:
        """Cancel what is still running, and let go of all tasks.

        A task keeps the error that it ended with, and the error the frames in which it was raised.
        If they led back to the task, this ring would stay, with the last pictures, until a full
        collection. For the same reason `run` has no task in a variable.
        """
        tasks = [each for each in (self._reading, *self._answering) if each]
        self._reading = None
        self._answering.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _read(self, reading: Coroutine[Any, Any, Any]) -> None:
        """Start reading, as a task that `end` cancels."""
        self._reading = asyncio.create_task(reading, name="stream reader")
        if self._ended:
            self._reading.cancel()

    async def _outcome(self) -> Any:
        """The result of the task that reads."""
        assert self._reading is not None  # noqa: S101 - `_read` came first
        await asyncio.wait([self._reading])
        if self._reading.cancelled() and self._ended:
            raise copy(self._ended)
        return self._reading.result()

    def _line(self, options: StreamOptions) -> Line:
        if options.mode == "latest":
            return LatestLine(lambda: self._metrics.frame_replaced("latest"))
        return OrderedLine(self._window)

    async def _fill(self, line: Line, follower: Follower, options: StreamOptions) -> None:
        order = FrameOrder(options.last_frame_id)
        begins_at_once = options.mode == "ordered" and not options.follows
        try:
            while True:
                await line.room()
                frame = await self._caller.read()
                if frame is None:
                    return
                waiting = Waiting(order.checked(frame))
                if begins_at_once:
                    waiting.answer = self._begin(waiting.frame, follower)
                line.put(waiting)
                del frame, waiting  # the same
        finally:
            line.close()

    def _begin(self, frame: Frame, follower: Follower) -> "asyncio.Task[PoseAnswer]":
        task = asyncio.create_task(_answer(frame, follower), name="stream frame")
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        return task

    async def _ask(self, frame: Frame, options: Options) -> PoseAnswer:
        # A frame that was read waits: the window holds a stream back, not a refusal.
        deadline = self._clock() + frame.timeout_seconds
        request = PoseRequest([frame.source], options, deadline, waits_for_room=True)
        return await self._estimate(request)

    async def _hand_out(self, waiting: Waiting, follower: Follower, options: StreamOptions) -> None:
        frame = waiting.frame
        answer = await (waiting.answer or _answer(frame, follower))
        image, track_ids = follower.recognise(frame, answer.images[0])
        await self._caller.send(
            FrameAnswer(frame, image, answer.timing, track_ids, waiting.dropped_frame_ids)
        )
        if frame.in_order:
            self.last_frame_id = frame.frame_id
        self._metrics.frame_done(
            options.mode,
            answered=not image.error,
            age_seconds=self._clock() - frame.arrived_at,
        )


async def _answer(frame: Frame, follower: Follower) -> PoseAnswer:
    if frame.error:
        return PoseAnswer([ImageAnswer(None, error=frame.error)])
    try:
        return await follower.estimate(frame)
    except ServiceError as err:
        return PoseAnswer([ImageAnswer(None, error=err)])
    except Exception:
        logger.exception("a frame failed unexpectedly")
        error = Internal("the frame could not be processed")
        return PoseAnswer([ImageAnswer(None, error=error)])


class Streams:
    """All streams of the process: limits their number, and ends them."""

    def __init__(
        self, settings: StreamsSettings, life: Life, metrics: Metrics, *, max_age_seconds: float
    ) -> None:
        self._settings = settings
        self._life = life
        self._metrics = metrics
        self._max_age_seconds = max_age_seconds
        self._open_by_caller: Counter[str] = Counter()

    @contextmanager
    def place(self, caller: str, *, at_most: int) -> Iterator[None]:
        """Count one more open stream of that caller while the context is open.

        There is memory for `at_most` streams of all callers; one caller gets half of them.

        Raises:
            Overloaded: the maximum number of streams is open, of all callers or of this one.
        """
        limit = max(1, min(self._settings.max_streams, at_most))
        own_limit = self._settings.max_streams_per_caller
        if at_most < self._settings.max_streams:
            own_limit = max(1, min(own_limit, at_most // 2))
        if self._open_by_caller.total() >= limit:
            self._refuse(RefusalReason.STREAMS, f"{limit} streams are open, which is the limit")
        if self._open_by_caller[caller] >= own_limit:
            self._refuse(
                RefusalReason.STREAMS_PER_CALLER,
                f"{own_limit} streams of this caller are open, which is the limit",
            )
        self._count(caller, 1)
        try:
            yield
        finally:
            self._count(caller, -1)
            if not self._open_by_caller[caller]:
                del self._open_by_caller[caller]

    def _count(self, caller: str, streams: int) -> None:
        self._open_by_caller[caller] += streams
        self._metrics.streams_active.set(self._open_by_caller.total())

    def _refuse(self, reason: RefusalReason, detail: str) -> NoReturn:
        self._metrics.refused(reason)
        raise Overloaded(detail, retry_after_seconds=1)

    async def run(self, stream: Stream) -> None:
        """Run a stream until it ends, reaches its maximum age, or the service drains.

        Raises:
            Draining: the service ended the stream, after answering every frame it had read.
            ServiceError: raised by the caller's `open` or `read`.
        """
        ending = asyncio.create_task(self._end_in_time(stream), name="stream end")
        try:
            await stream.run()
        finally:
            ending.cancel()

    async def _end_in_time(self, stream: Stream) -> None:
        age_seconds = self._max_age_seconds
        try:
            async with asyncio.timeout(age_seconds):
                await self._life.reached(State.REFUSING)
            reason = "the service is shutting down"
        except TimeoutError:
            reason = (
                f"the stream reached its maximum age of {age_seconds:g} s; open another to continue"
            )
        # Another process can answer at once, so there is nothing to wait for.
        stream.end(Draining(reason, retry_after_seconds=0))
