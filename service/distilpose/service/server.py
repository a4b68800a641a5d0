"""Runs a service in this process: listening, signals, draining, the exit code."""

import asyncio
import contextlib
import logging
import os
import signal
import ssl
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI
from prometheus_client import REGISTRY

from distilpose.model.errors import ModelError
from distilpose.service.app import Service
from distilpose.service.rest_api import create_app, create_operations_app
from distilpose.service.settings import Settings, SettingsError

logger = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process by the signal itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to us."""
        yield


def run(settings: Settings) -> int:
    """Serve until a signal, then drain. Returns the process's exit code.

    Raises:
        SettingsError: settings that do not fit each other.
    """
    return uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    service = Service(settings, REGISTRY)
    servers = _servers(settings, service)
    stopping = _Stopping(service, servers)
    stopping.install()
    loading = asyncio.create_task(service.start(), name="start")
    loading.add_done_callback(stopping.on_loaded)
    await asyncio.gather(*(server.serve() for server in servers))
    loading.cancel()
    await asyncio.gather(loading, return_exceptions=True)
    await service.close()
    if stopping.failure:
        # Last, so that whoever finds a dead process finds the reason at the end of its log.
        stack = None if isinstance(stopping.failure, ModelError) else stopping.failure
        logger.error("the service could not start: %s", stopping.failure, exc_info=stack)
        return 1
    logger.info("stopped")
    return 0


class _Stopping:
    """From a signal, or a failed start, to a server that has ended."""

    def __init__(self, service: Service, servers: Sequence[uvicorn.Server]) -> None:
        self.failure: BaseException | None = None
        self._service = service
        self._servers = servers
        self._draining: asyncio.Task[None] | None = None

    def install(self) -> None:
        """Listen to SIGTERM and SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.on_signal, number)

    def on_signal(self, number: signal.Signals) -> None:
        """The first signal drains, the second ends the process at once."""
        if self._draining:
            os._exit(128 + number)
        logger.info("draining", extra={"signal": number.name})
        self._draining = asyncio.create_task(self._drain(), name="drain")

    def on_loaded(self, loading: "asyncio.Task[None]") -> None:
        """A service that could not start ends the process."""
        if not loading.cancelled() and (failure := loading.exception()):
            self.failure = failure
            self._end()

    async def _drain(self) -> None:
        life = self._service.settings.life
        finished = await self._service.life.drain(
            delay_seconds=life.drain_delay_seconds, limit_seconds=life.drain_seconds
        )
        if not finished:
            logger.warning("accepted work was still running at the end of drain_seconds")
        self._end()

    def _end(self) -> None:
        for server in self._servers:
            server.should_exit = True


def _servers(settings: Settings, service: Service) -> list[uvicorn.Server]:
    """The public server, and one for health and metrics where they have a port of their own."""
    security = settings.security
    if bool(security.tls_cert) != bool(security.tls_key):
        raise SettingsError("security: tls_cert and tls_key go together")
    if security.tls_client_ca and not security.tls_cert:
        raise SettingsError("security.tls_client_ca: needs tls_cert and tls_key")
    client_ca = str(security.tls_client_ca) if security.tls_client_ca else None
    public = _config(
        create_app(service),
        settings.http.host,
        settings.http.port,
        ssl_certfile=security.tls_cert,
        ssl_keyfile=security.tls_key,
        ssl_ca_certs=client_ca,
        ssl_cert_reqs=ssl.CERT_REQUIRED if client_ca else ssl.CERT_NONE,
    )
    configs = [public]
    if (port := settings.telemetry.metrics_port) is not None:
        configs.append(_config(create_operations_app(service), settings.http.host, port))
    return [_Server(config) for config in configs]


def _config(app: FastAPI, host: str, port: int, **tls: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        # Draining has waited already: nothing may keep the process longer than this.
        timeout_graceful_shutdown=5,
        **tls,
    )
