"""Traces of requests, made afterwards from the intervals that were recorded anyway.

Off unless the usual `OTEL_*` variables say where traces go.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Final, Protocol

from distilpose.service.telemetry.spans import Spans

logger = logging.getLogger(__name__)

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


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


def from_environment(environment: Mapping[str, str]) -> Traces:
    """Traces to where the `OTEL_*` variables say, by OTLP over HTTP; none without such a place.

    Sampling, names, headers and sizes of batches are read from the process's variables by the
    library. *Source:* OpenTelemetry's specification, environment variables.
    """
    if not _wanted(environment):
        return NoTraces()
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), None)
    if protocol not in (None, "http/protobuf"):
        logger.warning("no traces: OTLP is sent as http/protobuf, not as %s", protocol)
        return NoTraces()
    if not _installed():
        logger.warning("no traces: they need `pip install 'distilpose[otel]'`")
        return NoTraces()
    from distilpose.service.telemetry import traces_otel  # noqa: PLC0415 - the extra may be missing

    return traces_otel.to_collector()


def _installed() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:  # not even the packages around it
        return False


def _wanted(environment: Mapping[str, str]) -> bool:
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    return exporter == "otlp" or any(environment.get(name) for name in _ENDPOINTS)
