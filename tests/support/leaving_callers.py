"""Callers who end a stream in every way but the orderly one."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import grpc

from distilpose.v1 import pose_pb2
from distilpose.v1.pose_pb2_grpc import PoseServiceStub
from grpc_callers import frame, opening, refusal
from odd_images import encode, noise

PICTURE = encode(noise(128, 128), "png")
NOBODY = [pose_pb2.Boxes()]
"""As `boxes`: nothing is looked for, so that an answer costs no more than decoding."""


async def outcome(stub: Any, *messages: pose_pb2.StreamPoseRequest, pause_seconds: float) -> str:
    """The code and details of a stream whose caller pauses before each message but the first."""
    call = stub.StreamPose()
    try:
        await call.write(messages[0])
        for message in messages[1:]:
            await asyncio.sleep(pause_seconds)
            await call.write(message)
        await call.done_writing()
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as err:
        refused = refusal(err)
        return f"{refused.code} {refused.reason} {refused.detail}"
    except asyncio.InvalidStateError as err:
        return str(err)
    return "OK"


async def quietly(waiting: Awaitable[Any]) -> None:
    """Wait, and accept that the call has ended."""
    with suppress(grpc.aio.AioRpcError, asyncio.CancelledError, asyncio.InvalidStateError):
        await waiting


async def cancelled(stub: Any) -> None:
    """Leave at once."""
    call = stub.StreamPose()
    await quietly(call.write(opening(boxes=NOBODY)))
    call.cancel()


async def cancelled_in_work(stub: Any) -> None:
    """Leave while frames are on their way."""
    call = stub.StreamPose()
    for message in (opening(boxes=NOBODY), frame(1, PICTURE), frame(2, PICTURE)):
        await quietly(call.write(message))
    call.cancel()


async def cancelled_between_frames(stub: Any) -> None:
    """Leave after an answer."""
    call = stub.StreamPose()
    for message in (opening(boxes=NOBODY), frame(1, PICTURE)):
        await quietly(call.write(message))
    await quietly(call.read())
    call.cancel()


async def late(stub: Any) -> None:
    """Stay until the deadline has passed."""
    call = stub.StreamPose(timeout=0.02)
    for message in (opening(boxes=NOBODY), frame(1, PICTURE)):
        await quietly(call.write(message))
    await quietly(call.read())
    await quietly(call.read())


async def refused(stub: Any) -> None:
    """Send options where a frame belongs."""
    await outcome(stub, opening(boxes=NOBODY), frame(1, PICTURE), opening(), pause_seconds=0)


async def failed_frame(stub: Any) -> None:
    """Send frames that are refused one by one."""
    await outcome(
        stub, opening(boxes=NOBODY), frame(2, PICTURE), frame(1, PICTURE), pause_seconds=0
    )


async def half_read(stub: Any) -> None:
    """Take none of fifty answers."""
    call = stub.StreamPose()
    for message in (opening(boxes=NOBODY), *(frame(number, b"x") for number in range(50))):
        await quietly(call.write(message))
    call.cancel()


async def abandoned(target: str) -> None:
    """Lose the connection after an answer."""
    async with grpc.aio.insecure_channel(
        target, [("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        stub: Any = PoseServiceStub(channel)
        call = stub.StreamPose()
        for message in (opening(boxes=NOBODY), frame(1, PICTURE)):
            await quietly(call.write(message))
        await quietly(call.read())


WAYS = (
    cancelled,
    cancelled_in_work,
    cancelled_between_frames,
    late,
    refused,
    failed_frame,
    half_read,
)
