"""Video streams over the pipeline: frames to answers in order, a bounded number in flight.

Knows no transport: a `Caller` brings frames and takes answers.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from distilpose.service.domain import Frame, ImageAnswer, PoseAnswer
from distilpose.service.errors import (
    Draining,
    Internal,
    InvalidRequest,
    Overloaded,
    ServiceError,
)
from distilpose.service.life import Life, State
from distilpose.service.metrics import Metrics
from distilpose.service.settings import GrpcSettings

logger = logging.getLogger(__name__)


class Caller(Protocol):
    """The other end of a stream, and what is asked of the pipeline for it."""

    async def read(self) -> Frame | None:
        """The next frame; None when there are no more."""
        ...

    async def estimate(self, frame: Frame) -> PoseAnswer:
        """Ask the pipeline. Raises ServiceError."""
        ...

    async def send(self, frame: Frame, answer: PoseAnswer) -> None:
        """Hand out an answer; waits while the other end does not take it."""


class OrderedStream:
    """Every frame is answered, in the order of the frames; a broken one with its error.

    At most `window` frames are read and not yet answered: past that nothing is read, which the
    caller feels as flow control.
    """

    def __init__(
        self,
        caller: Caller,
        *,
        window: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.last_frame_id: int | None = None
        """Of the last frame in order that was answered."""
        self._caller = caller
        self._metrics = metrics
        self._clock = clock
        self._room = asyncio.Semaphore(window)
        self._begun: asyncio.Queue[tuple[Frame, asyncio.Task[PoseAnswer]] | None] = asyncio.Queue()
        self._working: set[asyncio.Task[PoseAnswer]] = set()
        self._reader: asyncio.Task[None] | None = None
        self._ended: ServiceError | None = None
        self._newest: Frame | None = None

    async def run(self) -> None:
        """Answer until the caller has sent all, and all of it is answered.

        Raises:
            ServiceError: what `end` was given, or what the caller's `read` raises; after the
                frames before it were answered.
        """
        reader = self._reader = asyncio.create_task(self._read_frames(), name="stream reader")
        try:
            while begun := await self._begun.get():
                await self._hand_out(*begun)
            await asyncio.wait([reader])
            if not reader.cancelled():
                reader.result()
            elif self._ended:
                raise self._ended
        finally:
            for task in (reader, *self._working):
                task.cancel()
            await asyncio.gather(reader, *self._working, return_exceptions=True)

    def end(self, error: ServiceError) -> None:
        """Read no further frame; `run` raises the error when all that was read is answered."""
        if self._reader and not self._ended:
            self._ended = error
            self._reader.cancel()

    async def _read_frames(self) -> None:
        try:
            while True:
                await self._room.acquire()
                frame = await self._caller.read()
                if frame is None:
                    return
                self._begin(self._in_order(frame))
        finally:
            self._begun.put_nowait(None)

    def _in_order(self, frame: Frame) -> Frame:
        """The frame, with an error where it does not come after the newest one before it."""
        before = self._newest
        if not math.isfinite(frame.timestamp_ms):
            error = InvalidRequest(f"timestamp_ms: expected a number, got {frame.timestamp_ms}")
        elif before and frame.frame_id <= before.frame_id:
            error = InvalidRequest(
                f"frame_id: expected more than {before.frame_id}, got {frame.frame_id}"
            )
        elif before and frame.timestamp_ms <= before.timestamp_ms:
            error = InvalidRequest(
                f"timestamp_ms: expected more than {before.timestamp_ms}, got {frame.timestamp_ms}"
            )
        else:
            self._newest = frame
            return frame
        return replace(frame, error=error, in_order=False)

    def _begin(self, frame: Frame) -> None:
        task = asyncio.create_task(self._answer(frame), name="stream frame")
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        self._begun.put_nowait((frame, task))

    async def _answer(self, frame: Frame) -> PoseAnswer:
        try:
            if frame.error:
                raise frame.error
            return await self._caller.estimate(frame)
        except ServiceError as err:
            error = err
        except Exception:
            logger.exception("a frame failed unexpectedly")
            error = Internal("the frame could not be processed")
        return PoseAnswer([ImageAnswer(None, error=error)])

    async def _hand_out(self, frame: Frame, task: "asyncio.Task[PoseAnswer]") -> None:
        answer = await task
        await self._caller.send(frame, answer)
        if frame.in_order:
            self.last_frame_id = frame.frame_id
        self._metrics.frame_done(
            "ordered",
            answered=not answer.failure,
            age_seconds=self._clock() - frame.arrived_at,
        )
        self._room.release()


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

    async def run(self, stream: OrderedStream) -> None:
        """Run a stream; when the service drains, or the stream is too old, it ends.

        Raises:
            Draining: it was ended so, after all that was read was answered.
            ServiceError: what the caller's `read` raises.
        """
        ending = asyncio.create_task(self._end_in_time(stream), name="stream end")
        try:
            await stream.run()
        finally:
            ending.cancel()

    async def _end_in_time(self, stream: OrderedStream) -> None:
        age_seconds = self._settings.max_connection_age_seconds
        try:
            async with asyncio.timeout(age_seconds):
                await self._life.reached(State.REFUSING)
            reason = "the service is shutting down"
        except TimeoutError:
            reason = f"the stream is {age_seconds:g} s old, the limit; go on with another one"
        # Another process answers at once, so there is nothing to wait for.
        stream.end(Draining(reason, retry_after_seconds=0))
