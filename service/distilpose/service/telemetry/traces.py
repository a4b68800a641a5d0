"""Traces of requests, made afterwards from the intervals that were recorded anyway.

Off unless the usual `OTEL_*` variables say where traces go.
"""

import asyncio
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Protocol

from distilpose.service.telemetry.spans import Spans


class RequestTrace(Protocol):
    """The trace of one request; of a stream, with all of its frames."""

    def answered(self, *, code: str, failed: bool) -> None:
        """Note the status; `failed` where the service is to blame."""

    def add_journey(self, spans: Spans, began_at: float, ended_at: float) -> None:
        """Show where the time of images went that are done; instants are monotonic seconds."""


class Traces(Protocol):
    """The traces of a process."""

    def request(
        self, name: str, *, request_id: str, traceparent: str | None
    ) -> AbstractContextManager[RequestTrace]:
        """Within it, a request is traced, as a part of its caller's trace where it names one."""
        ...

    def close(self) -> None:
        """Send what is left; a collector that does not answer keeps nobody waiting for long."""


class NoTraces:
    """Nothing is traced. Also the trace of a request that is not."""

    def request(
        self, name: str, *, request_id: str, traceparent: str | None
    ) -> AbstractContextManager[RequestTrace]:
        """Nothing."""
        return nullcontext(self)

    def answered(self, *, code: str, failed: bool) -> None:
        """Note nothing."""

    def add_journey(self, spans: Spans, began_at: float, ended_at: float) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Send nothing."""


current: ContextVar[RequestTrace | None] = ContextVar("request_trace", default=None)


def add_journey(spans: Spans, *, began_at: float, ended_at: float) -> None:
    """Let the request's trace show this, once its answer is on its way; nothing without a trace."""
    if trace := current.get():
        asyncio.get_running_loop().call_soon(trace.add_journey, spans, began_at, ended_at)
