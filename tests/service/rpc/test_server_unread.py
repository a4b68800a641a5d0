"""Streams whose callers do not take their answers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from distilpose.v1 import pose_pb2
from distilpose.v1.pose_pb2_grpc import PoseServiceStub
from grpc_callers import frame, opening, refusal
from leaving_callers import PICTURE
from rpc_bench import running_rpc

SMALL_WINDOW = [("grpc.http2.bdp_probe", 0)]
"""A client that lets the server send 64 KiB and not more until it reads."""


async def frames(number: int) -> AsyncIterator[pose_pb2.StreamPoseRequest]:
    """A stream of so many pictures."""
    yield opening()
    for each in range(number):
        yield frame(each, PICTURE)


async def test_a_stream_whose_answers_are_not_taken_is_cancelled() -> None:
    async with (
        running_rpc(grpc={"send_timeout_seconds": 0.3}) as bench,
        grpc.aio.insecure_channel(bench.target, SMALL_WINDOW) as channel,
    ):
        stub: Any = PoseServiceStub(channel)
        unread = stub.StreamPose(frames(1000))
        async with asyncio.timeout(10):
            while not bench.sample("answers_dropped_total", transport="grpc"):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.05)
        assert bench.sample("streams_active") == 0
        labels = {
            "transport": "grpc",
            "method": "stream_pose",
            "code": "CANCELLED",
            "blame": "caller",
        }
        assert bench.sample("requests_total", **labels) == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in unread:
                pass
        assert refusal(caught.value).code == "CANCELLED"
        assert "not taken within 0.3 s" in refusal(caught.value).detail


async def test_a_stream_that_is_read_slowly_is_answered_to_its_end() -> None:
    async with (
        running_rpc(
            grpc={"send_timeout_seconds": 2}, limits={"request_timeout_seconds": 60}
        ) as bench,
        grpc.aio.insecure_channel(bench.target, SMALL_WINDOW) as channel,
    ):
        stub: Any = PoseServiceStub(channel)
        answers = 0
        async for _ in stub.StreamPose(frames(300)):
            answers += 1
            await asyncio.sleep(0.01)
        assert answers == 300
        assert bench.sample("answers_dropped_total", transport="grpc") == 0


async def test_connections_beyond_the_limit_are_closed() -> None:
    async with running_rpc(grpc={"max_connections": 2}) as bench:
        port = int(bench.target.rpartition(":")[2])
        pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        async with asyncio.timeout(5):
            first = [await reader.read(1) for reader, _ in pairs]
        assert sorted(map(len, first)) == [0, 1, 1]
        for _, writer in pairs:
            writer.close()


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with running_rpc(http={"head_timeout_seconds": 0.3}) as bench:
        port = int(bench.target.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(5):
            await reader.read()
        writer.close()
