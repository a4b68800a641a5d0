"""Methods with small messages do not keep large ones, whoever sends them."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from distilpose.service.rpc.calls import AHEAD_BYTES
from distilpose.service.rpc.messages import most_read_bytes
from distilpose.service.words import MemoryPart
from grpc_callers import refusal
from half_messages import HalfCall, half_call
from rpc_bench import RpcBench, running_rpc

MEBIBYTE = 2**20
SERVICE = "/distilpose.v1.PoseService"
HEALTH = "/grpc.health.v1.Health"
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
METHODS = (f"{SERVICE}/GetModel", f"{HEALTH}/Check", f"{HEALTH}/Watch", REFLECT)
CALLS = 8


LIMIT_BYTES = 16 * MEBIBYTE


async def send_half(bench: RpcBench, method: str, calls: list[HalfCall]) -> None:
    async with half_call(bench.target) as call:
        calls.append(call)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await call.send(method, bytes(LIMIT_BYTES), key="")


@pytest.mark.parametrize("method", METHODS)
async def test_of_many_half_messages_one_is_read_at_a_time(method: str) -> None:
    async with running_rpc(grpc={"max_message_bytes": LIMIT_BYTES}) as bench:
        memory, calls = bench.service.memory, list[HalfCall]()
        sending = [asyncio.create_task(send_half(bench, method, calls)) for _ in range(CALLS)]
        most_bytes = most_read_bytes(LIMIT_BYTES)
        await until(lambda: sum(call.sent_bytes for call in calls) >= LIMIT_BYTES)
        assert memory.held_bytes(MemoryPart.BODIES) == most_bytes
        held_bytes = CALLS * AHEAD_BYTES
        # The last calls may begin after the first have sent that much.
        await until(lambda: memory.held_bytes(MemoryPart.CONNECTIONS) == held_bytes)
        # The system's buffers, of which nothing is known here, take some as well.
        assert sum(call.sent_bytes for call in calls) < most_bytes + held_bytes + MEBIBYTE
        for each in sending:
            each.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        await until(lambda: memory.room.used == 0)


async def test_more_calls_than_allowed_are_refused_without_harm_to_the_others() -> None:
    async with (
        running_rpc(grpc={"max_calls": 2}) as bench,
        grpc.aio.insecure_channel(bench.target) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        watches: Any = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        for watch in watches:
            await watch.read()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await health.Check(health_pb2.HealthCheckRequest())
        assert refusal(refused.value).code == "RESOURCE_EXHAUSTED"
        watches[0].cancel()
        await until(lambda: bench.service.memory.held_bytes(MemoryPart.CONNECTIONS) == AHEAD_BYTES)
        await health.Check(health_pb2.HealthCheckRequest())


async def test_a_message_that_does_not_arrive_ends_its_call() -> None:
    async with running_rpc() as bench, grpc.aio.insecure_channel(bench.target) as channel:
        method: Any = channel.stream_stream(f"{HEALTH}/Check", bytes, bytes)
        call = method()
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "no whole message arrived within 1 s" in await call.details()
        await until(lambda: bench.service.memory.room.used == 0)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("message", "words"),
    [(bytes(5000), "has 5000 bytes, the limit is 1024"), (b"\xff", "")],
)
async def test_a_message_that_is_large_or_malformed_is_an_invalid_argument(
    method: str, message: bytes, words: str
) -> None:
    async with running_rpc() as bench, grpc.aio.insecure_channel(bench.target) as channel:
        call = channel.stream_stream(method, bytes, bytes)(iter([message]))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert refusal(refused.value).code == "INVALID_ARGUMENT"
        assert words in refusal(refused.value).detail


async def test_health_and_reflection_answer() -> None:
    async with running_rpc() as bench, grpc.aio.insecure_channel(bench.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        serving = health_pb2.HealthCheckResponse.SERVING
        assert (await health.Check(request)).status == serving
        watching = health.Watch(request)
        assert (await watching.read()).status == serving
        watching.cancel()
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        asking = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = [answer async for answer in reflect(iter([asking, asking]))]
        assert len(answers) == 2
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await health.Check(health_pb2.HealthCheckRequest(service="nobody"))
        assert refusal(unknown.value).code == "NOT_FOUND"


async def test_a_call_without_a_message_is_one_with_an_empty_message() -> None:
    async with running_rpc() as bench, grpc.aio.insecure_channel(bench.target) as channel:
        call = channel.stream_unary(
            f"{HEALTH}/Check", bytes, health_pb2.HealthCheckResponse.FromString
        )
        assert (await call(iter([]))).status == health_pb2.HealthCheckResponse.SERVING
