"""Traces by OpenTelemetry; needs the extra `otel`. Imported only if traces are enabled."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from distilpose.service.telemetry import traces
from distilpose.service.telemetry.spans import Interval, Spans

CLOSE_SECONDS: Final = 2.0
_STAGE: Final = "distilpose.stage"


class OtelRequestTrace:
    """A server span; below it `estimate`, and below that `decode`, `detect`, `pose`, `queue`."""

    def __init__(self, tracer: Tracer, span: Span, context: Context) -> None:
        self._tracer = tracer
        self._span = span
        self._context = context

    def answered(self, *, code: str, failed: bool) -> None:
        """Record the status; `failed` if the service is to blame."""
        self._span.set_attribute("distilpose.code", code)
        if failed:
            self._span.set_status(StatusCode.ERROR)

    def add_journey(self, spans: Spans, began_at: float, ended_at: float) -> None:
        """Add spans for the time of finished images; instants are monotonic seconds."""
        if not self._span.is_recording():
            return
        epoch_seconds = time.time() - time.monotonic()

        def nanoseconds(instant: float) -> int:
            return round((epoch_seconds + instant) * 1e9)

        def make(name: str, within: Context, interval: Interval, **attributes: str) -> Span:
            start, end = map(nanoseconds, interval)
            made = self._tracer.start_span(name, within, start_time=start, attributes=attributes)
            made.end(end)
            return made

        journey = make("estimate", self._context, (began_at, ended_at))
        within = set_span_in_context(journey, self._context)
        for stage, interval in spans.work():
            make(stage, within, interval)
        for stage, interval in spans.waiting():
            make("queue", within, interval, **{_STAGE: stage})


class OtelTraces:
    """The traces of a process, exported through a provider of the library."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("distilpose", version("distilpose"))

    @contextmanager
    def request(
        self, name: str, *, request_id: str, traceparent: str | None
    ) -> Iterator[traces.RequestTrace]:
        """Trace a request within the context, as part of its caller's trace if there is one."""
        given = {"traceparent": traceparent} if traceparent else {}
        parent = TraceContextTextMapPropagator().extract(given, Context())
        attributes = {"distilpose.request_id": request_id}
        span = self._tracer.start_span(name, parent, kind=SpanKind.SERVER, attributes=attributes)
        trace = OtelRequestTrace(self._tracer, span, set_span_in_context(span, parent))
        token = traces.current.set(trace)
        try:
            yield trace
        finally:
            traces.current.reset(token)
            # Spans of its journeys are still to be added, and an ended span accepts none.
            asyncio.get_running_loop().call_soon(span.end, time.time_ns())

    def close(self) -> None:
        """Send the remaining spans; an unresponsive collector delays this only briefly."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True, name="traces")
        sending.start()
        sending.join(CLOSE_SECONDS)


def to_collector() -> OtelTraces:
    """Export traces in batches, from a thread, to the collector named by the `OTEL_*` variables."""
    named = OTELResourceDetector().detect().attributes
    resource = Resource.create({SERVICE_NAME: "distilpose", **named})
    # We close it ourselves: the interpreter would wait for half a minute.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OtelTraces(provider)
