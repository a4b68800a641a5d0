"""The spans of a request."""

import asyncio
import time

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from distilpose.service.batching.outcomes import Outcome
from distilpose.service.telemetry import traces
from distilpose.service.telemetry.spans import Spans
from distilpose.service.telemetry.traces_otel import OtelTraces
from distilpose.service.words import Stage

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Bench:
    def __init__(self, provider: TracerProvider) -> None:
        self.exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.traces = OtelTraces(provider)

    async def spans(self) -> dict[str, list[ReadableSpan]]:
        """The ended spans by name."""
        await asyncio.sleep(0)
        by_name: dict[str, list[ReadableSpan]] = {}
        for span in self.exporter.get_finished_spans():
            by_name.setdefault(span.name, []).append(span)
        return by_name


@pytest.fixture
def bench() -> Bench:
    return Bench(TracerProvider(shutdown_on_exit=False))


def journey(now: float) -> Spans:
    """The spans of an image that was decoded for 1 s, waited for 2 s and was detected for 3 s."""
    spans = Spans()
    spans.add_outcomes(Stage.DECODE, [Outcome(None, None, now, now, now + 1)])
    spans.add_outcomes(Stage.DETECT, [Outcome(None, None, now + 1, now + 3, now + 6)])
    return spans


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


async def test_a_requests_time_is_shown_by_stage_below_its_callers_span(bench: Bench) -> None:
    now = time.monotonic()
    with bench.traces.request("POST /v1/pose", request_id="r1", traceparent=CALLER) as trace:
        traces.add_journey(journey(now), began_at=now, ended_at=now + 7)
        trace.answered(code="200", failed=False)
    spans = await bench.spans()
    [server], [estimate] = spans["POST /v1/pose"], spans["estimate"]
    assert server.parent is not None
    assert f"{server.parent.trace_id:032x}-{server.parent.span_id:016x}" in CALLER
    assert server.attributes == {"distilpose.request_id": "r1", "distilpose.code": "200"}
    assert server.status.is_unset
    assert estimate.parent == server.context
    lengths = {"decode": 1, "queue": 2, "detect": 3}
    for name, length in lengths.items():
        [span] = spans[name]
        assert span.parent == estimate.context
        assert seconds(span) == pytest.approx(length, abs=1e-6)
    assert spans["queue"][0].attributes == {"distilpose.stage": "detect"}
    began = spans["decode"][0].start_time
    assert began is not None
    assert began / 1e9 == pytest.approx(time.time(), abs=60)


async def test_nothing_is_made_while_the_request_is_worked_on(bench: Bench) -> None:
    with bench.traces.request("x", request_id="r1", traceparent=None):
        traces.add_journey(journey(0.0), began_at=0.0, ended_at=7.0)
        assert bench.exporter.get_finished_spans() == ()
    assert len(await bench.spans()) == 5


async def test_every_frame_of_a_stream_has_its_journey(bench: Bench) -> None:
    with bench.traces.request("stream_pose", request_id="r1", traceparent=None):
        for _ in range(2):
            traces.add_journey(journey(0.0), began_at=0.0, ended_at=7.0)
    first, second = (await bench.spans())["estimate"]
    assert first.parent == second.parent


async def test_a_failure_of_the_service_is_marked(bench: Bench) -> None:
    with bench.traces.request("x", request_id="r1", traceparent="rubbish") as trace:
        trace.answered(code="500", failed=True)
    [span] = (await bench.spans())["x"]
    assert not span.status.is_ok
    assert span.parent is None


async def test_what_is_not_sampled_costs_no_spans() -> None:
    bench = Bench(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    with bench.traces.request("x", request_id="r1", traceparent=None):
        traces.add_journey(journey(0.0), began_at=0.0, ended_at=7.0)
    assert await bench.spans() == {}


async def test_a_request_leaves_no_trace_behind(bench: Bench) -> None:
    with bench.traces.request("x", request_id="r1", traceparent=None):
        pass
    assert traces.current.get() is None
