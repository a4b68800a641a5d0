"""Run a service in this process: listening, signals, draining, the exit code."""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Final

import uvloop
from prometheus_client import REGISTRY

from distilpose.model.errors import ModelError
from distilpose.service import listening
from distilpose.service.app import Service
from distilpose.service.batching.device import DeviceLost
from distilpose.service.heap import give_back_above, give_back_when_idle
from distilpose.service.rest.api import create_app, create_operations_app
from distilpose.service.rest.connection.bounded import HttpLimits
from distilpose.service.rest.connection.places import PROBES_RESERVE, Connections
from distilpose.service.rest.connection.server import HttpServer
from distilpose.service.rpc.server import GrpcServer
from distilpose.service.security.tls import TlsFiles
from distilpose.service.settings import Settings, SettingsError
from distilpose.service.telemetry.outlet import Outlet
from distilpose.service.telemetry.traces import NoTraces, Traces

logger = logging.getLogger(__name__)

_TRACE_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_TRACE_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

_LAST_WORDS_SECONDS: Final = 1.0
"""The time between losing the device and closing the ports: probes get 503, callers get answers."""

_LAST_LINES_SECONDS: Final = 0.2
"""The time in which the log may be written before the reason of an end, and before a second signal
ends the process."""


_EXIT_SECONDS: Final = 2.6
"""The time from the end of a drain to the end of the process, whatever still runs."""


def run(settings: Settings, log: Outlet, on_listening: Callable[[str], None]) -> int:
    """Serve until a signal, then drain. Returns the process's exit code.

    Once serving has ended the process ends soon, even if threads still run: Python itself would
    wait until the last picture is decoded or drawn, or the last trace has left.

    `log` is what stands before standard error. `on_listening` gets a sentence with the addresses as
    soon as all ports are bound.

    Raises:
        SettingsError: settings that exclude each other, or a port that cannot be bound.
    """
    return uvloop.run(_serve(settings, log, on_listening))


async def _serve(settings: Settings, log: Outlet, on_listening: Callable[[str], None]) -> int:
    service = Service(settings, REGISTRY, traces_from(os.environ))
    service.metrics.watch_log(log)
    tls = TlsFiles.from_settings(settings.security)
    servers = _http_servers(settings, service, tls)
    grpc_server = GrpcServer(service, tls) if settings.grpc.port else None
    on_listening(_listening(settings, servers[0].port, is_open=not service.keys.required))
    stopping = _Stopping(service, servers, grpc_server, log)
    stopping.install()
    service.on_lost = stopping.on_lost
    loading = asyncio.create_task(service.start(), name="start")
    loading.add_done_callback(stopping.on_loaded)
    trimming = asyncio.gather(
        give_back_when_idle(service.life, message_bytes=settings.grpc.most_message_bytes),
        give_back_above(service.memory.most_resident_bytes, service.memory.count_holes),
    )
    serving = [server.serve() for server in (*servers, grpc_server) if server]
    await asyncio.gather(*serving)
    loading.cancel()
    trimming.cancel()
    await asyncio.gather(loading, trimming, return_exceptions=True)
    await service.close()
    if stopping.failure:
        # Last, so that the reason stands at the end of a dead process's log, which has room then.
        log.flush(_LAST_LINES_SECONDS)
        known = isinstance(stopping.failure, ModelError | DeviceLost | SettingsError)
        stack = None if known else stopping.failure
        logger.error("the service ended: %s", stopping.failure, exc_info=stack)
        return 1
    logger.info("stopped")
    return 0


class _Stopping:
    """The way from a signal, or a failed start, to a stopped server."""

    def __init__(
        self,
        service: Service,
        servers: Sequence[HttpServer],
        grpc_server: GrpcServer | None,
        log: Outlet,
    ) -> None:
        self.failure: BaseException | None = None
        self._service = service
        self._servers = servers
        self._grpc_server = grpc_server
        self._log = log
        self._draining: asyncio.Task[None] | None = None

    def install(self) -> None:
        """Handle SIGTERM and SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.on_signal, number)

    def on_signal(self, number: signal.Signals) -> None:
        """Drain on the first signal, end the process at once on the second."""
        if self._draining:
            self._log.flush(_LAST_LINES_SECONDS)
            os._exit(128 + number)
        logger.info("draining", extra={"signal": number.name})
        self._draining = asyncio.create_task(self._drain(), name="drain")

    def on_loaded(self, loading: "asyncio.Task[None]") -> None:
        """End the process if the service could not start."""
        if not loading.cancelled() and (failure := loading.exception()):
            self.failure = failure
            self._end()

    def on_lost(self, failure: DeviceLost) -> None:
        """End the process: without its device it is useless, and a new one should be started."""
        self.failure = failure
        asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, self._end)

    async def _drain(self) -> None:
        life = self._service.settings.life
        finished = await self._service.life.drain(
            delay_seconds=life.drain_delay_seconds, limit_seconds=life.drain_seconds
        )
        if not finished:
            logger.warning("accepted work was still running at the end of drain_seconds")
        self._end()

    def _end(self) -> None:
        _exit_within(_EXIT_SECONDS, self._log, lambda: 1 if self.failure else 0)
        for server in self._servers:
            server.should_exit = True
        if self._grpc_server:
            self._grpc_server.end()


def _exit_within(seconds: float, log: Outlet, code: Callable[[], int]) -> None:
    """End the process after so long if it has not ended by itself."""

    def end() -> None:
        time.sleep(seconds)
        logger.warning("the process ends while work is still running")
        log.flush(_LAST_LINES_SECONDS)
        os._exit(code())

    threading.Thread(target=end, daemon=True, name="exit").start()


def _listening(settings: Settings, port: int, *, is_open: bool) -> str:
    """The start message: addresses that answer, and a warning if strangers get an answer too."""
    host, security = settings.http.host, settings.security
    reachable = listening.reachable(host)
    url = f"{'https' if security.tls_cert else 'http'}://{listening.authority(reachable, port)}"
    text = f"distilpose on {url} (API: {url}/docs)"
    if settings.grpc.port:
        text += f", gRPC on {listening.authority(reachable, settings.grpc.port)}"
    if is_open and not security.tls_client_ca and not listening.is_local(host):
        text += "; open to the network without a key (security.api_keys)"
    return text


def _http_servers(settings: Settings, service: Service, tls: TlsFiles | None) -> list[HttpServer]:
    """The public server, and another for health and metrics if they have a separate port.

    Raises:
        SettingsError: a port cannot be bound, or the TLS files cannot be used.
    """
    host, port = settings.http.host, settings.http.port
    limits = HttpLimits.of(settings.http)
    public = Connections(listening.most_http_connections(settings), service.metrics)
    public.on_change = service.memory.count_connections
    servers = [
        HttpServer(
            create_app(service),
            listening.bind(host, port, setting="http.port"),
            limits=limits,
            connections=public,
            metrics=service.metrics,
            context=tls.server_context() if tls else None,
        )
    ]
    if (port_of_metrics := settings.telemetry.metrics_port) is not None:
        servers.append(
            HttpServer(
                create_operations_app(service),
                listening.bind(host, port_of_metrics, setting="telemetry.metrics_port"),
                limits=limits,
                connections=Connections(PROBES_RESERVE, service.metrics, reserve=0),
                metrics=service.metrics,
            )
        )
    return servers


def traces_from(environment: Mapping[str, str]) -> Traces:
    """Export traces to the endpoint in the `OTEL_*` variables, by OTLP over HTTP; none without one.

    The library reads sampling, names, headers and batch sizes from the process's environment.
    *Source:* OpenTelemetry's specification, environment variables.
    """
    if not _wants_traces(environment):
        return NoTraces()
    protocol = next((environment[name] for name in _TRACE_PROTOCOLS if environment.get(name)), None)
    if protocol not in (None, "http/protobuf"):
        logger.warning(
            "no traces: the only supported OTLP protocol is http/protobuf, not %s", protocol
        )
        return NoTraces()
    if not _can_trace():
        logger.warning("no traces: they need `pip install 'distilpose[otel]'`")
        return NoTraces()
    from distilpose.service.telemetry import traces_otel  # noqa: PLC0415 - the extra may be missing

    return traces_otel.to_collector()


def _can_trace() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:  # not even the packages around it
        return False


def _wants_traces(environment: Mapping[str, str]) -> bool:
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    return exporter == "otlp" or any(environment.get(name) for name in _TRACE_ENDPOINTS)
