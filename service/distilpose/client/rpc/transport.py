"""Requests over gRPC, balanced over all addresses of a name."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import Any, Final, TypeVar

import grpc

from distilpose.client.frames import NumberedFrame
from distilpose.client.options import Connection, Tls
from distilpose.client.outbox import LatestOutbox, OrderedOutbox
from distilpose.client.pictures import Source
from distilpose.client.results import FrameAnswer, ImageAnswer, Model
from distilpose.client.retrying import Backoff
from distilpose.client.rpc import wire
from distilpose.client.rpc.stream import StreamCall
from distilpose.v1 import pose_pb2
from distilpose.v1.pose_pb2_grpc import PoseServiceStub

T = TypeVar("T")

_SERVICE_CONFIG: Final = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
CHANNEL_OPTIONS: Final = (
    ("grpc.service_config", _SERVICE_CONFIG),
    # The server's message limit is the one that applies, in both directions.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class GrpcTransport:
    """A channel to the service. Needs a running event loop."""

    def __init__(self, connection: Connection, *, backoff: Backoff) -> None:
        self._timeout_seconds = connection.timeout_seconds
        self._backoff = backoff
        self._metadata = (("x-api-key", connection.api_key),) if connection.api_key else ()
        scheme, _, rest = connection.address.partition("://")
        target = rest if scheme in ("grpc", "grpcs") else connection.address
        if scheme == "grpcs" or connection.tls != Tls():
            credentials = _credentials(connection.tls)
            self._channel = grpc.aio.secure_channel(target, credentials, CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.insecure_channel(target, CHANNEL_OPTIONS)
        self._stub: Any = PoseServiceStub(self._channel)

    async def estimate(
        self, source: Source, options: dict[str, Any], timeout_seconds: float
    ) -> ImageAnswer:
        """Find the people in a picture, without retrying.

        Raises:
            PoseError: the call failed.
        """
        request = pose_pb2.EstimatePoseRequest(
            images=[wire.to_image(source)], options=wire.to_options(options)
        )
        call = self._stub.EstimatePose(request, timeout=timeout_seconds, metadata=self._metadata)
        answer = await _with_own_errors(call)
        return wire.from_image(answer.images[0], answer.timing)

    async def model(self, timeout_seconds: float) -> Model:
        """Return the student that answers, without retrying.

        Raises:
            PoseError: the call failed.
        """
        request = pose_pb2.GetModelRequest()
        call = self._stub.GetModel(request, timeout=timeout_seconds, metadata=self._metadata)
        return wire.from_model((await _with_own_errors(call)).model)

    def stream(
        self, frames: AsyncIterator[NumberedFrame], options: dict[str, Any], *, window: int
    ) -> AsyncGenerator[FrameAnswer, None]:
        """Find the people in each frame, over as many connections as needed.

        Raises:
            PoseError: an option has the wrong type.
        """
        opening = wire.to_stream_options(options)
        latest = opening.mode == pose_pb2.STREAM_MODE_LATEST
        return StreamCall(
            lambda: self._stub.StreamPose(metadata=self._metadata),
            opening,
            LatestOutbox() if latest else OrderedOutbox(window),
            backoff=self._backoff,
            patience_seconds=self._timeout_seconds,
        ).answers(frames)

    async def close(self) -> None:
        """Close the connections."""
        await self._channel.close(None)


async def _with_own_errors(call: Awaitable[T]) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as err:
        raise wire.from_error(err) from err


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    ca, key, cert = (p.read_bytes() if p else None for p in (tls.ca, tls.key, tls.cert))
    return grpc.ssl_channel_credentials(ca, key, cert)
