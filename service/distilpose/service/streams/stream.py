"""Video streams over the pipeline: frames to answers, a bounded number in flight.

Knows no transport: a `Caller` brings frames and takes answers.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias, TypeVar

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
from distilpose.service.settings import GrpcSettings
from distilpose.service.streams.following import Follower
from distilpose.service.streams.lines import FrameOrder, LatestLine, Line, OrderedLine, Waiting
from distilpose.service.telemetry.metrics import Metrics

T = TypeVar("T")
logger = logging.getLogger(__name__)


Estimate: TypeAlias = Callable[[PoseRequest], Awaitable[PoseAnswer]]
"""The pipeline's. Raises ServiceError."""


class Caller(Protocol):
    """The other end of a stream."""

    async def open(self) -> StreamOptions:
        """How the stream is to be answered. Raises ServiceError."""
        ...

    async def read(self) -> Frame | None:
        """The next frame; None when there are no more. Raises ServiceError."""
        ...

    async def send(self, answer: FrameAnswer) -> None:
        """Hand out an answer; waits while the other end does not take it."""


class Stream:
    """Answers come in the order of the frames, one for each that is not dropped.

    A broken frame gets its error in its place. In mode `ordered` at most `window` frames are read
    and not yet answered: past that nothing is read, which the caller feels as flow control.
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
        """Of the last frame in order that was answered, by this stream or the one before it."""
        self._caller = caller
        self._estimate = estimate
        self._window = window
        self._metrics = metrics
        self._clock = clock
        self._reading: asyncio.Task[Any] | None = None
        self._answering: set[asyncio.Task[PoseAnswer]] = set()
        self._ended: ServiceError | None = None

    async def run(self) -> None:
        """Answer until the caller has sent all, and all of it is answered.

        Raises:
            ServiceError: what `end` was given, or what the caller's `open` and `read` raise; after
                the frames before it were answered.
        """
        try:
            options = await self._outcome(self._read(self._caller.open()))
            self.last_frame_id = options.last_frame_id
            line = self._line(options)
            follower = Follower(self._ask, options)
            reading = self._read(self._fill(line, follower, options))
            while waiting := await line.take():
                await self._hand_out(waiting, follower, options)
                line.answered(waiting.frame, at=self._clock())
            await self._outcome(reading)
        finally:
            tasks = [each for each in (self._reading, *self._answering) if each]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def end(self, error: ServiceError) -> None:
        """Read no further frame; `run` raises the error when all that was read is answered."""
        if not self._ended:
            self._ended = error
            if self._reading:
                self._reading.cancel()

    def _read(self, reading: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Begin to read, as something that `end` ends."""
        task = asyncio.create_task(reading, name="stream reader")
        self._reading = task
        if self._ended:
            task.cancel()
        return task

    async def _outcome(self, reading: "asyncio.Task[T]") -> T:
        await asyncio.wait([reading])
        if reading.cancelled() and self._ended:
            raise self._ended
        return reading.result()

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
        finally:
            line.close()

    def _begin(self, frame: Frame, follower: Follower) -> "asyncio.Task[PoseAnswer]":
        task = asyncio.create_task(_answer(frame, follower), name="stream frame")
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        return task

    async def _ask(self, frame: Frame, options: Options) -> PoseAnswer:
        # A frame that was read waits: the window is what holds a stream back, not a refusal.
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
    try:
        if frame.error:
            raise frame.error
        return await follower.estimate(frame)
    except ServiceError as err:
        error = err
    except Exception:
        logger.exception("a frame failed unexpectedly")
        error = Internal("the frame could not be processed")
    return PoseAnswer([ImageAnswer(None, error=error)])


class Streams:
    """All streams of the process: how many there may be, and when they end."""

    def __init__(self, settings: GrpcSettings, life: Life, metrics: Metrics) -> None:
        self._settings = settings
        self._life = life
        self._metrics = metrics
        self._open = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Within it, one more stream is open.

        Raises:
            Overloaded: as many are open as there may be.
        """
        limit = self._settings.max_streams
        if self._open >= limit:
            raise Overloaded(f"{limit} streams are open, the limit", retry_after_seconds=1)
        self._open += 1
        self._metrics.streams_active.set(self._open)
        try:
            yield
        finally:
            self._open -= 1
            self._metrics.streams_active.set(self._open)

    async def run(self, stream: Stream) -> None:
        """Run a stream; when the service drains, or the stream is too old, it ends.

        Raises:
            Draining: it was ended so, after all that was read was answered.
            ServiceError: what the caller's `open` and `read` raise.
        """
        ending = asyncio.create_task(self._end_in_time(stream), name="stream end")
        try:
            await stream.run()
        finally:
            ending.cancel()

    async def _end_in_time(self, stream: Stream) -> None:
        age_seconds = self._settings.max_connection_age_seconds
        try:
            async with asyncio.timeout(age_seconds):
                await self._life.reached(State.REFUSING)
            reason = "the service is shutting down"
        except TimeoutError:
            reason = f"the stream is {age_seconds:g} s old, the limit; go on with another one"
        # Another process answers at once, so there is nothing to wait for.
        stream.end(Draining(reason, retry_after_seconds=0))
