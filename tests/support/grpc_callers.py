"""Calls to a server by gRPC, for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]  # no py.typed there
    ErrorInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # no py.typed there

from distilpose.model.arrays import ImageHWC
from distilpose.v1 import pose_pb2
from distilpose.v1.pose_pb2_grpc import PoseServiceStub

LAST_FRAME_ID = "distilpose-last-frame-id"
SOON = [(f"grpc.{name}_reconnect_backoff_ms", 100) for name in ("initial", "min", "max")]
"""Options of a channel that connects as soon as a server listens."""


class Refusal(NamedTuple):
    """The error of a failed call, as a caller sees it."""

    code: str
    reason: str
    """Reason in google.rpc.ErrorInfo; empty if the library refused the call, not the service."""
    retry_seconds: float | None
    detail: str
    trailing: dict[str, str | bytes]


def refusal(error: grpc.RpcError) -> Refusal:
    """Return the error's code, reason and details."""
    failed: Any = error
    trailing = dict(failed.trailing_metadata() or ())
    status = Status.FromString(trailing.get("grpc-status-details-bin", b""))
    info, retry = ErrorInfo(), RetryInfo()
    for detail in status.details:
        detail.Unpack(info)
    retries = any(detail.Unpack(retry) for detail in status.details)
    seconds = retry.retry_delay.ToMilliseconds() / 1000 if retries else None
    return Refusal(failed.code().name, info.reason, seconds, failed.details(), trailing)


def raw(image: ImageHWC, pixel_format: "pose_pb2.PixelFormat.ValueType") -> pose_pb2.RawPixels:
    """RGB8 or BGR8 pixels without padding."""
    ordered = image if pixel_format == pose_pb2.PIXEL_FORMAT_RGB8 else image[..., ::-1]
    height, width, _ = image.shape
    return pose_pb2.RawPixels(
        format=pixel_format, width=width, height=height, data=ordered.tobytes()
    )


def opening(**options: Any) -> pose_pb2.StreamPoseRequest:
    """The first message of a stream."""
    pose = pose_pb2.PoseOptions(**options)
    stream = pose_pb2.StreamOptions(mode=pose_pb2.STREAM_MODE_ORDERED, pose=pose)
    return pose_pb2.StreamPoseRequest(options=stream)


def frame(number: int, encoded: bytes) -> pose_pb2.StreamPoseRequest:
    """Frame `number` of 25 a second."""
    picture = pose_pb2.Frame(frame_id=number, timestamp_ms=number * 40, encoded=encoded)
    return pose_pb2.StreamPoseRequest(frame=picture)


@asynccontextmanager
async def stream_stub(target: str) -> AsyncIterator[Any]:
    """A stub whose calls are awaited; its connection is closed at the end."""
    async with grpc.aio.insecure_channel(target, SOON) as channel:
        yield PoseServiceStub(channel)
