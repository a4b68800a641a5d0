"""Streams of callers who are far away."""

import asyncio
import time
from collections.abc import AsyncIterator

from distilpose.v1 import pose_pb2
from grpc_callers import frame, opening, stream_stub
from long_links import long_link
from rpc_bench import running_rpc

FRAMES = 60
ROUND_TRIP_SECONDS = 0.1


async def frames() -> AsyncIterator[pose_pb2.StreamPoseRequest]:
    """Frames of 100 kB, as fast as the server takes them."""
    yield opening()
    for number in range(FRAMES):
        yield frame(number, bytes(100_000))


async def test_a_camera_of_30_frames_a_second_is_answered_over_a_tenth_of_a_second() -> None:
    async with (
        running_rpc() as bench,
        long_link(bench.target, round_trip_seconds=ROUND_TRIP_SECONDS) as target,
        stream_stub(target) as stub,
        asyncio.timeout(30),
    ):
        answered_at: list[float] = []
        async for answer in stub.StreamPose(frames()):
            assert answer.frame_id == len(answered_at)
            answered_at.append(time.perf_counter())
    assert len(answered_at) == FRAMES
    half = FRAMES // 2
    assert (FRAMES - 1 - half) / (answered_at[-1] - answered_at[half]) > 30
