"""Traces of requests, built afterwards from intervals that are recorded anyway.

Off unless the standard `OTEL_*` variables name an endpoint.
"""

import asyncio
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Protocol

from distilpose.service.telemetry.spans import Spans


class RequestTrace(Protocol):
    """The trace of one request; a stream's trace includes all its frames."""

    def answered(self, *, code: str, failed: bool) -> None:
        """Record the status; `failed` if the service is to blame."""

    def add_journey(self, spans: Spans, began_at: float, ended_at: float) -> None:
        """Add spans for the time of finished images; instants are monotonic seconds."""


class Traces(Protocol):
    """The traces of a process."""

    def request(
        self, name: str, *, request_id: str, traceparent: str | None
    ) -> AbstractContextManager[RequestTrace]:
        """Trace a request within the context, as part of its caller's trace if there is one."""
        ...

    def close(self) -> None:
        """Send the remaining spans; an unresponsive collector delays this only briefly."""


class NoTraces:
    """Traces nothing. Also serves as the trace of a request that is not traced."""

    def request(
        self, name: str, *, request_id: str, traceparent: str | None
    ) -> AbstractContextManager[RequestTrace]:
        """Return an empty trace."""
        return nullcontext(self)

    def answered(self, *, code: str, failed: bool) -> None:
        """Do nothing."""

    def add_journey(self, spans: Spans, began_at: float, ended_at: float) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


current: ContextVar[RequestTrace | None] = ContextVar("request_trace", default=None)


def add_journey(spans: Spans, *, began_at: float, ended_at: float) -> None:
    """Add these spans to the request's trace, if any, once its answer is sent."""
    if trace := current.get():
        asyncio.get_running_loop().call_soon(trace.add_journey, spans, began_at, ended_at)
