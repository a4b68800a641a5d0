"""The gRPC server: port, limits, health that follows readiness, reflection, TLS."""

import asyncio
import logging
from contextlib import suppress
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from distilpose.service import listening
from distilpose.service.app import Service
from distilpose.service.rpc.api import SERVICE, PoseApi
from distilpose.service.rpc.calls import AHEAD_BYTES, Calls
from distilpose.service.rpc.interceptor import CallInterceptor
from distilpose.service.rpc.messages import most_read_bytes
from distilpose.service.rpc.small import SmallMessages
from distilpose.service.security.tls import Pem, TlsFiles
from distilpose.service.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

_ALIVE_CHECK_SECONDS: Final = 0.5
_LAST_ANSWERS_SECONDS: Final = 1.0
"""The time in which the last answers may leave; needed because health watchers never end by
themselves."""

_LEAST_PING_INTERVAL_MS: Final = 4_000
"""Clients may ping every 5 s; a ping that arrives slightly early is no offence either."""


class GrpcServer:
    """A bound port; `serve` answers on it until `end`.

    Needs a running event loop.

    Raises:
        SettingsError: the port is not available, or the TLS files cannot be used.
    """

    def __init__(self, service: Service, tls: TlsFiles | None) -> None:
        self._service = service
        self._ending = asyncio.Event()
        most_bytes = most_read_bytes(service.settings.grpc.max_message_bytes)
        # Not the same places: whoever takes those without a key must not take those of others.
        small_calls, calls = (
            Calls(service.settings.grpc.max_calls, memory=service.memory, metrics=service.metrics)
            for _ in range(2)
        )
        small = SmallMessages(service.memory, most_bytes=most_bytes, calls=small_calls)
        self._server = grpc.aio.server(
            interceptors=[
                CallInterceptor(
                    service.keys,
                    service.metrics,
                    service.traces,
                    small=small,
                    calls=calls,
                    request_timeout_seconds=service.settings.limits.request_timeout_seconds,
                )
            ],
            options=_options(service.settings),
        )
        self._server.add_generic_rpc_handlers((PoseApi(service, small).handlers(),))
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # not in stubs
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self._bind(tls)

    async def serve(self) -> None:
        """Serve until `end`; calls still open then get a moment to finish."""
        await self._tell_readiness()
        await self._server.start()
        following = asyncio.create_task(self._follow_readiness(), name="grpc health")
        try:
            await self._ending.wait()
        finally:
            following.cancel()
            await self._server.stop(_LAST_ANSWERS_SECONDS)

    def end(self) -> None:
        """Make `serve` return."""
        self._ending.set()

    def _bind(self, tls: TlsFiles | None) -> None:
        settings = self._service.settings
        host, port = settings.http.host, settings.grpc.port
        # The library says only that it failed, and not to us why.
        for each in listening.bind(host, port, setting="grpc.port"):
            each.close()
        address = listening.authority(host, port)
        try:
            if tls:
                self._server.add_secure_port(address, _credentials(tls))
            else:
                self._server.add_insecure_port(address)
        except RuntimeError as err:
            raise SettingsError(f"grpc.port: cannot listen on {address}") from err

    async def _follow_readiness(self) -> None:
        while True:
            # A lost device changes no life-cycle state, so it is polled.
            with suppress(TimeoutError):
                async with asyncio.timeout(_ALIVE_CHECK_SECONDS):
                    await self._service.life.changed()
            await self._tell_readiness()

    async def _tell_readiness(self) -> None:
        ready = self._service.ready
        states = health_pb2.HealthCheckResponse.ServingStatus
        for name in ("", SERVICE):
            await self._health.set(name, states.SERVING if ready else states.NOT_SERVING)


def _options(all_settings: Settings) -> list[tuple[str, Any]]:
    """The options of the gRPC library.

    Its connections close only after the
    streams on them have reached their maximum age: calls still open at that point get the maximum
    age of a stream plus the grace period.
    """
    settings = all_settings.grpc
    limit_bytes = most_read_bytes(settings.max_message_bytes)
    keepalive_ms = round(settings.keepalive_seconds * 1000)
    handshake_ms = round(all_settings.http.head_timeout_seconds * 1000)
    age_ms = round(
        (settings.max_connection_age_seconds + settings.max_connection_age_grace_seconds) * 1000
    )
    return [
        ("grpc.max_receive_message_length", limit_bytes),
        ("grpc.max_send_message_length", limit_bytes),
        ("grpc.max_connection_age_ms", age_ms),
        ("grpc.max_connection_age_grace_ms", age_ms),
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_PING_INTERVAL_MS),
        ("grpc.http2.max_pings_without_data", 0),
        # Beyond the number a connection is closed at once; the library counts none of them.
        ("grpc.max_allowed_incoming_connections", listening.most_grpc_connections(all_settings)),
        ("grpc.server_handshake_timeout_ms", handshake_ms),
        # Else a stream's window grows to megabytes, which nobody takes from a cancelled call. A
        # message that is being read gets all the window that it needs.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", AHEAD_BYTES),
        # Two processes on one port would silently share its connections.
        ("grpc.so_reuseport", 0),
    ]


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    watched = tls.watched_pem()
    served = watched.current()

    def changed() -> grpc.ServerCertificateConfiguration | None:
        """Called before every handshake, on a thread of the library; None changes nothing."""
        nonlocal served
        latest = watched.current()
        if latest is served:
            return None
        served = latest
        return _certificates(latest)

    return grpc.dynamic_ssl_server_credentials(
        _certificates(served),
        changed,  # type: ignore[arg-type]  # None is documented
        require_client_authentication=tls.client_ca is not None,
    )


def _certificates(pem: Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(pem.private_key, pem.certificate_chain)], root_certificates=pem.client_ca
    )
