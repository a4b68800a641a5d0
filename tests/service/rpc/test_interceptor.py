"""The wrapper around calls: id, key, count, and the handling of exceptions."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, NoReturn

import grpc
import pytest
from grpc_status import rpc_status
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client import CollectorRegistry

from blames import BLAMES
from distilpose.service import errors
from distilpose.service.errors import TooLarge
from distilpose.service.pipeline.memory import Memory
from distilpose.service.rpc.calls import Calls
from distilpose.service.rpc.errors import CODES
from distilpose.service.rpc.interceptor import ENDINGS, CallInterceptor
from distilpose.service.rpc.messages import NotTaken
from distilpose.service.rpc.small import SmallMessages
from distilpose.service.security.keys import ApiKeys
from distilpose.service.telemetry.logs import request_id
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.telemetry.traces import NoTraces, Traces
from distilpose.service.telemetry.traces_otel import OtelTraces

ESTIMATE = "/distilpose.v1.PoseService/EstimatePose"
STREAM = "/distilpose.v1.PoseService/StreamPose"
Metadata = tuple[tuple[str, str | bytes], ...]


class Details(NamedTuple):
    """Details of an incoming call."""

    method: str
    invocation_metadata: Metadata = ()


class Context:
    """A call's context in the form in which the library passes it."""

    def __init__(self, metadata: Metadata = (), *, seconds_left: float | None = None) -> None:
        self.initial: dict[str, str] = {}
        self.trailing: Metadata = ()
        self.code = grpc.StatusCode.OK
        self.details = ""
        self._metadata = metadata
        self.seconds_left = seconds_left

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    def trailing_metadata(self) -> Metadata:
        return self.trailing

    def time_remaining(self) -> float | None:
        return self.seconds_left

    async def send_initial_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.initial = dict(metadata)

    async def abort(self, code: grpc.StatusCode, details: str, trailing: Metadata = ()) -> NoReturn:
        self.code, self.details, self.trailing = code, details, trailing
        raise grpc.aio.AbortError(details)


class Bench:
    def __init__(self, *keys: str, traces: Traces | None = None, max_calls: int = 100) -> None:
        self.registry = CollectorRegistry()
        metrics, memory = Metrics(self.registry), Memory(2**30)
        calls = Calls(max_calls, memory=memory, metrics=metrics)
        self._interceptor = CallInterceptor(
            ApiKeys(keys),
            metrics,
            traces or NoTraces(),
            small=SmallMessages(memory, most_bytes=2**20, calls=calls),
            calls=calls,
            request_timeout_seconds=10,
        )

    async def handler(self, behaviour: Callable[..., Awaitable[Any]], details: Details) -> Any:
        """The intercepted handler of the behaviour for such a call."""
        make = (
            grpc.stream_stream_rpc_method_handler
            if details.method == STREAM
            else grpc.unary_unary_rpc_method_handler
        )

        async def continuation(_: object) -> Any:
            return make(behaviour, None, bytes)

        return await self._interceptor.intercept_service(continuation, details)  # type: ignore[arg-type]  # named alike

    async def call(self, behaviour: Callable[..., Awaitable[Any]], context: Context) -> Any:
        """The answer of a call to EstimatePose."""
        details = Details(ESTIMATE, context.invocation_metadata())
        return await (await self.handler(behaviour, details)).unary_unary(b"request", context)

    def calls(
        self, code: str, method: str = "estimate_pose", *, blame: str = "none"
    ) -> float | None:
        labels = {"transport": "grpc", "method": method, "code": code, "blame": blame}
        return self.registry.get_sample_value("distilpose_requests_total", labels)

    def durations(self) -> float | None:
        labels = {"transport": "grpc", "method": "estimate_pose"}
        name = "distilpose_request_duration_seconds_count"
        return self.registry.get_sample_value(name, labels)


async def echo(request: bytes, _: Context) -> bytes:
    return request


async def test_an_answer_passes_and_is_counted() -> None:
    bench = Bench()
    assert await bench.call(echo, Context()) == b"request"
    assert bench.calls("OK") == 1
    assert bench.durations() == 1
    value = bench.registry.get_sample_value
    assert value("distilpose_requests_in_flight", {"transport": "grpc"}) == 0


async def test_a_call_is_a_part_of_its_callers_trace() -> None:
    async def broken(_: bytes, __: Context) -> None:
        raise RuntimeError

    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    bench = Bench(traces=OtelTraces(provider))
    with pytest.raises(grpc.aio.AbortError):
        await bench.call(broken, Context((("traceparent", caller), ("x-request-id", "r1"))))
    await asyncio.sleep(0)
    [span] = exporter.get_finished_spans()
    assert span.name == "estimate_pose"
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" in caller
    assert span.attributes == {"distilpose.request_id": "r1", "distilpose.code": "INTERNAL"}
    assert span.status.status_code is StatusCode.ERROR


async def test_the_callers_id_comes_back_and_is_in_the_logs() -> None:
    async def identity(_: bytes, __: Context) -> str | None:
        return request_id.get()

    context = Context((("x-request-id", "abc-123"), ("trace-bin", b"\0")))
    assert await Bench().call(identity, context) == "abc-123"
    assert context.initial == {"x-request-id": "abc-123"}
    assert request_id.get() is None


async def test_an_unfit_id_is_replaced() -> None:
    context = Context((("x-request-id", "has space"),))
    await Bench().call(echo, context)
    assert len(context.initial["x-request-id"]) == 32


async def test_an_error_ends_the_call_with_its_code_and_keeps_the_trailing_metadata() -> None:
    async def fail(_: bytes, context: Context) -> None:
        context.trailing = (("distilpose-last-frame-id", "7"),)
        raise TooLarge("3 images, the limit is 2")

    bench, context = Bench(), Context()
    with pytest.raises(grpc.aio.AbortError):
        await bench.call(fail, context)
    assert (context.code, context.details) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "3 images, the limit is 2",
    )
    assert [key for key, _ in context.trailing] == [
        "distilpose-last-frame-id",
        rpc_status.GRPC_DETAILS_METADATA_KEY,  # type: ignore[attr-defined]  # not in the stubs
    ]
    assert bench.calls("INVALID_ARGUMENT", blame="caller") == 1


async def test_an_unexpected_error_is_internal_and_tells_nothing() -> None:
    async def fail(_: bytes, __: Context) -> None:
        raise RuntimeError("/secret/path")

    bench, context = Bench(), Context()
    with pytest.raises(grpc.aio.AbortError):
        await bench.call(fail, context)
    assert context.code == grpc.StatusCode.INTERNAL
    assert "secret" not in context.details
    assert bench.calls("INTERNAL", blame="service") == 1


async def never(_: bytes, __: Context) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("seconds_given", "seconds_left", "code", "blame"),
    [
        (None, None, "CANCELLED", "caller"),
        (10.0, 5.0, "CANCELLED", "caller"),
        (0.001, 0.0, "DEADLINE_EXCEEDED", "caller"),
        (5.0, 0.0, "DEADLINE_EXCEEDED", "caller"),
        (9.99, 0.0, "DEADLINE_EXCEEDED", "service"),
        (60.0, 0.0, "DEADLINE_EXCEEDED", "service"),
    ],
)
@pytest.mark.parametrize("method", [ESTIMATE, STREAM])
async def test_a_call_that_its_caller_ends_is_counted_as_that(
    method: str,
    seconds_given: float | None,
    seconds_left: float | None,
    code: str,
    blame: str,
) -> None:
    bench, context = Bench(), Context(seconds_left=seconds_given)
    handler = await bench.handler(never, Details(method))
    behaviour = handler.stream_stream if method == STREAM else handler.unary_unary
    calling = asyncio.create_task(behaviour(b"", context))
    await asyncio.sleep(0.01)
    context.seconds_left = seconds_left
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    if method == STREAM:  # which lasts as long as its caller likes
        assert bench.calls(code, "stream_pose", blame="caller") == 1
    else:
        assert bench.calls(code, blame=blame) == 1
        assert bench.durations() == (1 if blame == "service" else 0)


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
async def test_each_kind_of_failure_names_who_is_to_blame(kind: type[errors.ServiceError]) -> None:
    async def fail(_: bytes, __: Context) -> None:
        raise kind("because")

    bench, context = Bench(), Context()
    with pytest.raises(grpc.aio.AbortError):
        await bench.call(fail, context)
    code, blame = context.code.name, BLAMES[kind]
    assert bench.calls(code, blame=blame) == 1
    assert (code, blame) in ENDINGS
    assert bench.durations() == (1 if blame == "service" else 0)


@pytest.mark.parametrize("kind", [errors.Internal, errors.Overloaded])
async def test_a_caller_with_a_short_deadline_is_not_to_blame_for_our_other_failures(
    kind: type[errors.ServiceError],
) -> None:
    async def fail(_: bytes, __: Context) -> None:
        raise kind("because")

    bench, context = Bench(), Context(seconds_left=0.001)
    with pytest.raises(grpc.aio.AbortError):
        await bench.call(fail, context)
    assert bench.calls(context.code.name, blame=BLAMES[kind]) == 1


async def test_our_deadline_that_passes_first_is_the_services() -> None:
    async def fail(_: bytes, __: Context) -> None:
        raise errors.DeadlineExceeded("late")

    for seconds_given, blame in ((None, "service"), (60.0, "service"), (1.0, "caller")):
        bench = Bench()
        with pytest.raises(grpc.aio.AbortError):
            await bench.call(fail, Context(seconds_left=seconds_given))
        assert bench.calls("DEADLINE_EXCEEDED", blame=blame) == 1


async def test_every_expected_ending_is_counted_from_zero() -> None:
    bench = Bench()
    assert [bench.calls(code, blame=blame) for code, blame in ENDINGS] == [0] * len(ENDINGS)


async def test_a_batch_that_fails_is_a_caller_that_left() -> None:
    async def failing(_: bytes, __: Context) -> None:
        raise grpc.aio.InternalError("execute_batch")

    bench = Bench()
    with pytest.raises(asyncio.CancelledError):
        await bench.call(failing, Context())
    assert bench.calls("CANCELLED", blame="caller") == 1
    assert bench.calls("INTERNAL", blame="service") == 0


@pytest.mark.parametrize("method", [ESTIMATE, STREAM])
@pytest.mark.parametrize("metadata", [(), (("x-api-key", "wrong"),)])
async def test_without_a_fitting_key_nothing_is_read(method: str, metadata: Metadata) -> None:
    handler = await Bench("open-sesame").handler(echo, Details(method, metadata))
    assert handler.request_streaming  # so that the library reads no message by itself
    context = Context(metadata)
    with pytest.raises(grpc.aio.AbortError):
        await handler.stream_stream(None, context)
    assert context.code == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("key", [("x-api-key", "sesame"), ("authorization", "Bearer sesame")])
async def test_a_fitting_key_lets_in(key: tuple[str, str]) -> None:
    assert await Bench("sesame").call(echo, Context((key,))) == b"request"


async def test_a_stream_has_no_duration() -> None:
    bench = Bench()
    handler = await bench.handler(echo, Details(STREAM))
    await handler.stream_stream(b"", Context())
    assert bench.calls("OK", "stream_pose") == 1
    labels = {"transport": "grpc", "method": "stream_pose"}
    name = "distilpose_request_duration_seconds_count"
    assert bench.registry.get_sample_value(name, labels) is None


async def test_health_needs_no_key_and_is_not_counted() -> None:
    handler = await Bench("sesame").handler(echo, Details("/grpc.health.v1.Health/Check"))
    assert handler.stream_unary  # which the tests of small messages call


async def test_calls_beyond_the_limit_are_refused_until_one_ends() -> None:
    bench = Bench(max_calls=2)
    ending = asyncio.Event()

    async def waiting(request: bytes, _: Context) -> bytes:
        await ending.wait()
        return request

    both = [asyncio.create_task(bench.call(waiting, Context())) for _ in range(2)]
    await asyncio.sleep(0)
    context = Context()
    refusing = await bench.handler(echo, Details(ESTIMATE))
    with pytest.raises(grpc.aio.AbortError, match="2 calls are in progress"):
        await refusing.stream_stream(None, context)
    assert context.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    refusals = bench.registry.get_sample_value("distilpose_refusals_total", {"reason": "calls"})
    assert refusals == 1
    ending.set()
    await asyncio.gather(*both)
    assert await bench.call(echo, Context()) == b"request"


async def test_calls_that_begin_together_are_limited_too() -> None:
    bench = Bench(max_calls=2)
    handlers = [await bench.handler(slow, Details(ESTIMATE)) for _ in range(5)]
    calls = [each.unary_unary(b"request", Context()) for each in handlers]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert outcomes.count(b"request") == 2
    assert bench.calls("RESOURCE_EXHAUSTED", blame="refused") == 3


async def slow(request: bytes, _: Context) -> bytes:
    await asyncio.sleep(0.01)
    return request


async def test_a_message_that_is_not_taken_cancels_the_call() -> None:
    async def unread(_: Any, context: Any) -> None:
        raise NotTaken("a message was not taken within 30 s")

    bench, context = Bench(), Context()
    with pytest.raises(asyncio.CancelledError):
        await bench.call(unread, context)
    await asyncio.sleep(0)
    assert context.code is grpc.StatusCode.CANCELLED
    assert bench.calls("CANCELLED", blame="caller") == 1
    dropped = bench.registry.get_sample_value(
        "distilpose_answers_dropped_total", {"transport": "grpc"}
    )
    assert dropped == 1
