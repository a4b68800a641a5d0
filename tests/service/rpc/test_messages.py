"""Reading a call's messages, and ending a call while its caller is still sending."""

import asyncio
import gc
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import grpc
import pytest

from distilpose.service.rpc.messages import GREETING_SECONDS, Greeting, Messages
from distilpose.v1 import pose_pb2
from grpc_callers import frame, opening, refusal, stream_stub
from leaving_callers import PICTURE, WAYS, outcome, quietly
from rpc_bench import RpcBench, running_rpc

BAD_MODE = pose_pb2.StreamPoseRequest.FromString(b"\x0a\x02\x08\x63")
OF_A_CALL = ("_ServicerContext", "Messages", "Stream", "Follower", "Frame")
"""The types of which every open call has at least one object."""


class Context:
    """A call whose messages come when the test puts them."""

    def __init__(self) -> None:
        self.arriving: asyncio.Queue[Any] = asyncio.Queue()
        self.reads = 0

        self.greetings = 0

    async def read(self) -> Any:
        self.reads += 1
        return await self.arriving.get()

    async def send_initial_metadata(self, _: object) -> None:
        self.greetings += 1


@pytest.fixture
async def bench() -> AsyncIterator[RpcBench]:
    async with running_rpc() as running:
        yield running


async def test_a_message_that_a_cancelled_reader_waited_for_is_not_lost() -> None:
    context = Context()
    messages = Messages(context, Greeting(context, ()))  # type: ignore[arg-type]  # as much of one as is needed
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await messages.read()
    context.arriving.put_nowait(b"late")
    assert await messages.read() == b"late"
    assert context.reads == 1


async def test_after_the_last_message_nothing_is_read() -> None:
    context = Context()
    messages = Messages(context, Greeting(context, ()))  # type: ignore[arg-type]  # as much of one as is needed
    context.arriving.put_nowait(grpc.aio.EOF)  # type: ignore[attr-defined]  # not in the stubs
    assert [await messages.read(), await messages.read()] == [None, None]
    await messages.linger()
    assert context.reads == 1


async def test_lingering_ends_although_the_caller_goes_on_sending() -> None:
    context = Context()
    messages = Messages(context, Greeting(context, ()))  # type: ignore[arg-type]  # as much of one as is needed
    for _ in range(100):
        context.arriving.put_nowait(bytes(100_000))
    await messages.linger()
    assert 10 <= context.reads <= 12
    context.arriving = asyncio.Queue()
    async with asyncio.timeout(1):
        await messages.linger()


async def test_a_caller_who_leaves_at_once_is_not_greeted() -> None:
    context = Context()
    greeting = Greeting(context, ())  # type: ignore[arg-type]  # as much of one as is needed
    await asyncio.sleep(GREETING_SECONDS / 5)
    greeting.withdraw()
    await asyncio.sleep(GREETING_SECONDS * 2)
    assert context.greetings == 0


async def test_a_caller_who_waits_is_greeted_once_before_any_answer() -> None:
    context = Context()
    greeting = Greeting(context, ())  # type: ignore[arg-type]  # as much of one as is needed
    await asyncio.sleep(GREETING_SECONDS * 2)
    assert context.greetings == 1
    await greeting.send()
    assert context.greetings == 1


async def test_a_stream_is_greeted_before_its_first_message(bench: RpcBench) -> None:
    async with stream_stub(bench.target) as stub:
        call = stub.StreamPose(metadata=(("x-request-id", "early"),))
        async with asyncio.timeout(5):
            assert dict(await call.initial_metadata())["x-request-id"] == "early"
        call.cancel()


REFUSED = {
    "unknown": (BAD_MODE, "INVALID_ARGUMENT INVALID_REQUEST mode: unknown value 99"),
    "out of range": (
        opening(min_box_score=2),
        "INVALID_ARGUMENT INVALID_REQUEST min_box_score: Input should be less than or equal to 1",
    ),
    "no options": (
        frame(1, PICTURE),
        "INVALID_ARGUMENT INVALID_REQUEST the first message carries the options",
    ),
}


async def refuse(bench: RpcBench, first: pose_pb2.StreamPoseRequest, calls: int) -> Counter[str]:
    """The outcomes of as many streams, whose callers send one more message up to 20 ms later."""
    left = iter(range(calls))
    found: Counter[str] = Counter()

    async def ask(stub: Any) -> None:
        for _ in left:
            pause_seconds = random.uniform(0, 0.02)  # noqa: S311 - a delay
            found[await outcome(stub, first, frame(1, b"x"), pause_seconds=pause_seconds)] += 1

    async with stream_stub(bench.target) as stub:
        await asyncio.gather(*(ask(stub) for _ in range(32)))
    return found


@pytest.mark.parametrize("why", REFUSED)
async def test_a_refusal_reaches_a_caller_who_is_still_sending(bench: RpcBench, why: str) -> None:
    first, expected = REFUSED[why]
    assert await refuse(bench, first, 300) == {expected: 300}


@pytest.mark.soak
@pytest.mark.parametrize("why", REFUSED)
async def test_a_refusal_reaches_each_of_ten_thousand(bench: RpcBench, why: str) -> None:
    first, expected = REFUSED[why]
    assert await refuse(bench, first, 10_000) == {expected: 10_000}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"security": {"api_keys": ["sesame"]}}, "UNAUTHENTICATED"),
        ({"streams": {"max_streams": 1}}, "OVERLOADED"),
    ],
)
async def test_a_refusal_before_reading_reaches_a_caller_who_is_still_sending(
    settings: dict[str, Any], reason: str
) -> None:
    async with running_rpc(**settings) as bench, stream_stub(bench.target) as stub:
        holding = stub.StreamPose()
        if reason == "OVERLOADED":
            await holding.write(opening())
            await holding.write(frame(1, b"x"))
            await holding.read()
        found = await refuse(bench, opening(), 300)
        holding.cancel()
    assert {code.split()[1] for code in found} == {reason}


async def test_an_unary_refusal_has_its_detail(bench: RpcBench) -> None:
    request = pose_pb2.EstimatePoseRequest(
        images=[pose_pb2.Image(encoded=b"x")], options=pose_pb2.PoseOptions(min_box_score=2)
    )
    async with stream_stub(bench.target) as stub:
        calls = [stub.EstimatePose(request) for _ in range(300)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
    refused = [refusal(err) for err in errors if isinstance(err, grpc.RpcError)]
    codes = Counter((each.code, each.reason) for each in refused)
    assert codes == {("INVALID_ARGUMENT", "INVALID_REQUEST"): 300}


async def test_a_stream_without_a_first_message_is_ended() -> None:
    limits = {"first_message_seconds": 0.2}
    async with running_rpc(streams=limits) as bench, stream_stub(bench.target) as stub:
        silent = stub.StreamPose()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await silent.read()
        refused = refusal(ended.value)
        assert (refused.code, refused.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
        assert refused.detail == "the stream sent no message within 0.2 s"
        assert bench.sample(
            "requests_total",
            transport="grpc",
            method="stream_pose",
            code="DEADLINE_EXCEEDED",
            blame="caller",
        )


async def test_a_stream_may_be_silent_after_its_first_message() -> None:
    limits = {"first_message_seconds": 0.1}
    async with running_rpc(streams=limits) as bench, stream_stub(bench.target) as stub:
        call = stub.StreamPose()
        await call.write(opening())
        await asyncio.sleep(0.4)
        await call.write(frame(1, b"x"))
        assert (await call.read()).frame_id == 1
        call.cancel()


@pytest.mark.parametrize("keys", [(), ("one", "two")])
async def test_a_caller_is_its_key_or_its_address(keys: tuple[str, ...]) -> None:
    limits, security = {"max_streams_per_caller": 1}, {"api_keys": list(keys)}
    async with (
        running_rpc(streams=limits, security=security) as bench,
        stream_stub(bench.target) as stub,
    ):
        mine = [("x-api-key", "one")]
        holding = stub.StreamPose(metadata=mine)
        await holding.write(opening())
        await holding.write(frame(1, b"x"))
        await holding.read()
        again = stub.StreamPose(iter([opening()]), metadata=[("authorization", "Bearer one")])
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await again.read()
        refused = refusal(ended.value)
        assert (refused.reason, refused.retry_seconds) == ("OVERLOADED", 1)
        other = stub.StreamPose(iter([opening()]), metadata=[("x-api-key", "two")])
        if keys:
            assert await other.read() == grpc.aio.EOF  # type: ignore[attr-defined]  # not in stubs
        else:
            with pytest.raises(grpc.aio.AioRpcError):
                await other.read()
        holding.cancel()


@pytest.mark.soak
async def test_pings_every_five_seconds_are_no_offence() -> None:
    pings = [
        ("grpc.keepalive_time_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with (
        running_rpc(grpc={"keepalive_seconds": 300}) as bench,
        grpc.aio.insecure_channel(bench.target, pings) as channel,
    ):
        await channel.channel_ready()
        for _ in range(60):
            await asyncio.sleep(1)
            assert channel.get_state() is grpc.ChannelConnectivity.READY


def alive() -> Counter[str]:
    """Objects of open calls, by type."""
    return Counter(type(each).__name__ for each in gc.get_objects() if _is_of_a_call(each))


def _is_of_a_call(each: object) -> bool:
    return type(each).__name__ in OF_A_CALL


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Without the collector of rings: what is not freed at once stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("ending", WAYS)
async def test_nothing_of_a_stream_stays_when_it_has_ended(
    bench: RpcBench, ending: Callable[[Any], Awaitable[None]]
) -> None:
    async with stream_stub(bench.target) as stub:
        await ending(stub)
        await idle(bench)
        before = alive()
        await asyncio.gather(*(ending(stub) for _ in range(40)))
        await idle(bench)
        assert alive() == before


@pytest.mark.usefixtures("uncollected")
async def test_nothing_of_a_stream_stays_when_the_service_has_ended_it() -> None:
    async def until_it_ends(stub: Any) -> None:
        call = stub.StreamPose()
        await call.write(opening())
        await quietly(call.read())

    grpc_settings = {"max_connection_age_seconds": 0.1}
    async with running_rpc(grpc=grpc_settings) as bench, stream_stub(bench.target) as stub:
        before = alive()
        await asyncio.gather(*(until_it_ends(stub) for _ in range(40)))
        await idle(bench)
        assert alive() == before


async def idle(bench: RpcBench) -> None:
    """Return when no call is open, and the library has had its turns to let go of the last."""
    async with asyncio.timeout(10):
        while _busy(bench):  # noqa: ASYNC110 - metrics have no event
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)


def _busy(bench: RpcBench) -> bool:
    calls = bench.sample("requests_in_flight", transport="grpc")
    return bool(calls or bench.sample("streams_active"))
