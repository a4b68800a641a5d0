"""A stream of frames over gRPC that survives the loss of its server."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import grpc

from distilpose.client.errors import Internal, PoseError
from distilpose.client.frames import NumberedFrame
from distilpose.client.outbox import Outbox
from distilpose.client.results import FrameAnswer
from distilpose.client.retrying import Backoff
from distilpose.client.rpc import wire
from distilpose.client.rpc.ending import Ending
from distilpose.v1 import pose_pb2


class StreamCall:
    """Sends frames and receives answers; when a connection ends, a new one resumes there.

    `open_call` starts a call on any server; it is retried until no server has answered for
    `patience_seconds`.
    """

    def __init__(
        self,
        open_call: Callable[[], Any],
        opening: pose_pb2.StreamOptions,
        outbox: Outbox,
        *,
        backoff: Backoff,
        patience_seconds: float,
    ) -> None:
        self._open_call = open_call
        self._opening = opening
        self._outbox = outbox
        self._backoff = backoff
        self._patience_seconds = patience_seconds
        self._last_frame_id: int | None = None
        self._last_track_id = 0
        self._failures = 0
        self._failing_since = 0.0

    async def answers(
        self, frames: AsyncIterator[NumberedFrame]
    ) -> AsyncGenerator[FrameAnswer, None]:
        """The answers as they arrive, in the order of the frames.

        Raises:
            PoseError: the stream cannot continue.
            Exception: raised by `frames`, after the frames before it were answered.
        """
        reading = asyncio.create_task(self._read(frames), name="frames")
        try:
            while True:
                began = self._backoff.clock()
                try:
                    async with aclosing(self._one_call()) as answered:
                        async for answer in answered:
                            yield answer
                    break
                except PoseError as err:
                    if self._outbox.done:
                        break
                    pause_seconds = self._pause_seconds(err, began)
                await self._backoff.sleep(pause_seconds)
            await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, frames: AsyncIterator[NumberedFrame]) -> None:
        try:
            async for frame in frames:
                await self._outbox.put(wire.to_frame(frame))
        finally:
            await self._outbox.close()

    async def _one_call(self) -> AsyncGenerator[FrameAnswer, None]:
        """The answers of one connection, until all frames are answered.

        Raises:
            PoseError: the connection ended earlier.
        """
        self._outbox.reconnected()
        call = self._open_call()
        ending = Ending(call)
        sending = asyncio.create_task(self._send(call), name="stream sender")
        try:
            async for message in call:
                dropped = await self._outbox.answered(message.frame_id, message.dropped_frame_ids)
                self._note(message)
                yield wire.from_frame(message, dropped)
        except grpc.aio.AioRpcError as err:
            raise wire.from_error(await ending.of(err)) from err
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            call.cancel()
        if not self._outbox.done:
            raise Internal("the server ended the stream before all frames were answered")

    async def _send(self, call: Any) -> None:
        """Write until there are no more frames; errors here reach the reader of the answers."""
        await call.write(pose_pb2.StreamPoseRequest(options=self._resuming()))
        while (frame := await self._outbox.next_to_send()) is not None:
            await call.write(pose_pb2.StreamPoseRequest(frame=frame))
        await call.done_writing()

    def _resuming(self) -> pose_pb2.StreamOptions:
        opening = pose_pb2.StreamOptions()
        opening.CopyFrom(self._opening)
        if self._last_frame_id is not None:
            opening.resume.last_frame_id = self._last_frame_id
            opening.resume.next_track_id = self._last_track_id + 1
        return opening

    def _note(self, message: pose_pb2.StreamPoseResponse) -> None:
        self._last_frame_id = message.frame_id
        ids = [pose.track_id for pose in message.poses]
        self._last_track_id = max([self._last_track_id, *ids])
        self._failures = 0

    def _pause_seconds(self, error: PoseError, began: float) -> float:
        """The pause before the next connection; raises the error if there should be none."""
        now = self._backoff.clock()
        # A connection that lasted long does not count as one in a row of failures.
        if self._failures == 0 or now - began > self._patience_seconds:
            self._failures, self._failing_since = 0, now
        pause_seconds = self._backoff.pause_seconds(self._failures, error)
        self._failures += 1
        patience_ends = self._failing_since + self._patience_seconds
        if error.retry_after_seconds is None or now + pause_seconds > patience_ends:
            raise error
        return pause_seconds
