"""The methods of PoseService: parse, call, map, nothing else."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

import grpc

from distilpose.model.pictures.source import Source
from distilpose.service.app import Service
from distilpose.service.callers import FORWARDED_HEADER, caller_of, peer_of_grpc
from distilpose.service.domain import (
    Frame,
    FrameAnswer,
    Options,
    PoseAnswer,
    PoseRequest,
    StreamOptions,
)
from distilpose.service.errors import Draining, InvalidRequest, NotSent, TooLarge
from distilpose.service.intake import (
    OptionsBody,
    OptionsLimits,
    check_images,
    read_in_thread_if_large,
)
from distilpose.service.pipeline.frames import FrameMemory, frame_memory
from distilpose.service.rpc import errors as grpc_errors
from distilpose.service.rpc import wire
from distilpose.service.rpc.counting import check_counts
from distilpose.service.rpc.messages import (
    Context,
    Messages,
    most_read_bytes,
    texts_of,
)
from distilpose.service.rpc.small import SmallMessages
from distilpose.service.settings import Settings
from distilpose.service.streams.stream import Stream, Streams
from distilpose.service.telemetry import logs
from distilpose.service.words import MemoryPart
from distilpose.v1 import pose_pb2

SERVICE: Final[str] = pose_pb2.DESCRIPTOR.services_by_name["PoseService"].full_name
LAST_FRAME_ID: Final = "distilpose-last-frame-id"
_TAKES_TURNS_BYTES: Final = 1024 * 1024
_CODES: Final = {kind: code.value[0] for kind, code in grpc_errors.CODES.items()}

T = TypeVar("T")


class PoseApi:
    """The methods of PoseService, over a `Service` that may still be loading.

    They receive raw bytes, so that a message that is too large or malformed gets our error and not
    the library's RESOURCE_EXHAUSTED, which callers take for overload.
    """

    def __init__(self, service: Service, small: SmallMessages) -> None:
        self._service = service
        self._small = small
        self._most_bytes = most_read_bytes(service.settings.grpc.max_message_bytes)
        self._parsing = asyncio.Lock()
        self._streams = Streams(
            service.settings.streams,
            service.life,
            service.metrics,
            max_age_seconds=service.settings.grpc.max_connection_age_seconds,
        )

    def handlers(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """The methods in the form in which a server registers them."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                # Its one message is read as of a stream: when the call has a key and memory.
                "EstimatePose": grpc.stream_unary_rpc_method_handler(
                    self.estimate_pose,
                    response_serializer=pose_pb2.EstimatePoseResponse.SerializeToString,
                ),
                "StreamPose": grpc.stream_stream_rpc_method_handler(
                    self.stream_pose,
                    response_serializer=pose_pb2.StreamPoseResponse.SerializeToString,
                ),
                "GetModel": grpc.stream_unary_rpc_method_handler(
                    self.get_model,
                    response_serializer=pose_pb2.GetModelResponse.SerializeToString,
                ),
            },
        )

    async def estimate_pose(
        self, messages: Messages, context: Context
    ) -> pose_pb2.EstimatePoseResponse:
        """Find the people in one or several images.

        Raises:
            ServiceError: the call fails as a whole.
        """
        settings = self._service.settings
        limit_seconds = settings.limits.request_timeout_seconds
        deadline = time.monotonic() + min(
            limit_seconds, _seconds_left(context, default=limit_seconds)
        )
        caller = self.caller(context)
        bodies = self._service.memory.hold(MemoryPart.BODIES, caller=caller)
        with self._service.life.admitted(), bodies as holding:
            self._service.expect_body(caller)
            # The library tells nobody how much has arrived of a message, so all of it is held.
            await holding.grow(self._most_bytes, accepted_at=time.monotonic())
            data = await _only_message(messages, deadline=deadline)
            _check_size(data, settings.grpc.max_message_bytes)
            holding.shrink_to(len(data))
            images, given = await self._parsed(
                len(data), partial(_read_request, data, OptionsLimits.of(settings))
            )
            del data  # the images are copies
            check_images(images, max_images=settings.http.max_images)
            options = given.resolve(settings, images=len(images))
            answer = await self._service.pipeline.estimate(
                PoseRequest(images, options, deadline, caller)
            )
            if answer.failure:
                raise answer.failure
            return wire.from_answer(
                answer,
                options,
                request_id=logs.request_id.get() or "",
                model=self._service.model,
                codes=_CODES,
            )

    async def stream_pose(self, messages: Messages, context: Context) -> None:
        """Find the people in each frame of a stream.

        Raises:
            ServiceError: the stream fails as a whole, or the service ends it.
        """
        caller = self.caller(context)

        memory = self._service.memory
        most_streams = memory.streams.capacity // self._most_bytes
        with self._service.life.admitted(), self._streams.place(caller, at_most=most_streams):
            async with frame_memory(
                memory, most_bytes=self._most_bytes, caller=caller, accepted_at=time.monotonic()
            ) as frames:
                await self._run_stream(caller, messages, context, frames)

    async def _run_stream(
        self, caller: str, messages: Messages, context: Context, frames: FrameMemory
    ) -> None:
        async def estimate(request: PoseRequest) -> PoseAnswer:
            return await self._service.pipeline.estimate(replace(request, caller=caller))

        stream = Stream(
            _StreamCaller(self._service.settings, messages, context, frames, self._parsed),
            estimate=estimate,
            window=self._service.settings.streams.stream_window,
            metrics=self._service.metrics,
        )
        try:
            await self._streams.run(stream)
        except Draining:
            if stream.last_frame_id is not None:
                context.set_trailing_metadata(((LAST_FRAME_ID, str(stream.last_frame_id)),))
            raise

    async def _parsed(self, size_bytes: int, parse: Callable[[], T]) -> T:
        """Parse a message. Meanwhile there are three of it, so large ones take turns."""
        async with self._parsing if size_bytes > _TAKES_TURNS_BYTES else nullcontext():
            return await read_in_thread_if_large(size_bytes, parse)

    def caller(self, context: Context) -> str:
        """Return the name of the caller of a call whose key has been checked."""
        metadata = context.invocation_metadata() or ()
        given = texts_of(metadata)
        digest = self._service.keys.caller_digest(
            api_key=given.get("x-api-key"), authorization=given.get("authorization")
        )
        forwarded = [
            value for name, value in metadata if name == FORWARDED_HEADER and isinstance(value, str)
        ]
        return caller_of(
            digest,
            peer_of_grpc(context.peer()),
            forwarded,
            trusted=self._service.settings.http.trusted_proxies,
        )

    async def get_model(self, messages: Messages, context: Context) -> pose_pb2.GetModelResponse:
        """Return the model that answers.

        Raises:
            NotReady: it is not loaded.
            NotSent: the request did not arrive.
            TooLarge: the request, which has no fields, is large.
        """
        data = await self._small.read(messages, f"GetModel {self.caller(context)}")
        wire.parse(pose_pb2.GetModelRequest, data or b"")
        return wire.from_model(self._service.model)


class _StreamCaller:
    """A gRPC call as the other end of a stream; converts between messages and frames."""

    def __init__(
        self,
        settings: Settings,
        messages: Messages,
        context: Context,
        frames: FrameMemory,
        parsed: "Callable[[int, Callable[[], Frame]], Awaitable[Frame]]",
    ) -> None:
        self._settings = settings
        self._frames = frames
        self._parsed = parsed
        self._messages = messages
        self._context = context
        self._limits = replace(OptionsLimits.of(settings), max_images=1)
        self._pose_options: Options | None = None

    async def open(self) -> StreamOptions:
        data = await self._first_message()
        check_counts(data, pose_pb2.StreamPoseRequest, self._limits)
        message = wire.parse(pose_pb2.StreamPoseRequest, data)
        if not message.HasField("options"):
            raise InvalidRequest("the first message carries the options")
        opening = message.options
        pose = wire.to_options(opening.pose).resolve(self._settings, images=1)
        self._pose_options = pose
        return wire.to_stream_options(opening, pose)

    async def _first_message(self) -> bytes:
        seconds = self._settings.streams.first_message_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._messages.read() or b""
        except TimeoutError as err:
            raise NotSent(f"the stream sent no message within {seconds:g} s") from err

    async def read(self) -> Frame | None:
        await self._frames.room()
        data = await self._messages.read()
        if data is None:
            return None
        arrived_at = time.monotonic()
        self._frames.arrived(len(data), at=arrived_at)
        return await self._parsed(len(data), partial(self._read_frame, data, arrived_at=arrived_at))

    def _read_frame(self, data: bytes, *, arrived_at: float) -> Frame:
        check_counts(data, pose_pb2.StreamPoseRequest, self._limits)
        request = wire.parse(pose_pb2.StreamPoseRequest, data)
        if not request.HasField("frame"):
            raise InvalidRequest("every message but the first carries a frame")
        message = request.frame
        error = None
        try:
            _check_size(data, self._settings.grpc.max_message_bytes)
        except TooLarge as err:
            error = err
        seconds = self._settings.limits.request_timeout_seconds
        return Frame(
            frame_id=message.frame_id,
            timestamp_ms=message.timestamp_ms,
            source=wire.to_source(message),
            arrived_at=arrived_at,
            timeout_seconds=min(seconds, _seconds_left(self._context, default=seconds)),
            error=error,
        )

    async def send(self, answer: FrameAnswer) -> None:
        assert self._pose_options is not None  # noqa: S101 - a stream opens before it answers
        await self._messages.write_in_time(
            wire.from_frame(answer, self._pose_options, codes=_CODES),
            seconds=self._settings.grpc.send_timeout_seconds,
        )
        self._frames.answered(arrived_at=answer.frame.arrived_at)


async def _only_message(messages: Messages, *, deadline: float) -> bytes:
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await messages.read() or b""
    except TimeoutError as err:
        raise NotSent("the deadline passed before the whole message arrived") from err


def _read_request(data: bytes, limits: OptionsLimits) -> tuple[list[Source], OptionsBody]:
    check_counts(data, pose_pb2.EstimatePoseRequest, limits)
    request = wire.parse(pose_pb2.EstimatePoseRequest, data)
    return wire.to_images(request), wire.to_options(request.options)


def _seconds_left(context: Context, *, default: float) -> float:
    left: float | None = context.time_remaining()
    return default if left is None else left


def _check_size(data: bytes, limit_bytes: int) -> None:
    if len(data) > limit_bytes:
        raise TooLarge(f"the message has {len(data)} bytes, the limit is {limit_bytes}")
