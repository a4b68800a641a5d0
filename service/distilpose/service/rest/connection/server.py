"""uvicorn's server with connections of our own: counted, bounded, and ended in time."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from distilpose.service.rest.connection.acceptor import Acceptor
from distilpose.service.rest.connection.bounded import HttpLimits
from distilpose.service.rest.connection.places import Connections, Place
from distilpose.service.rest.connection.protocol import SmallReads
from distilpose.service.telemetry.metrics import Metrics

_LAST_ANSWERS_SECONDS: Final = 1.0
"""The time in which the last answers may leave; what is left then is cut off."""
_LAST_TASKS_SECONDS: Final = 2
"""The time after which uvicorn cancels what still runs."""


class HttpServer(uvicorn.Server):
    """Serves on sockets that are bound already, and without uvicorn's signal handlers.

    Those would kill the process with the signal itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        sockets: list[socket.socket],
        *,
        limits: HttpLimits,
        connections: Connections,
        metrics: Metrics,
        context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                # Whose headers are believed is for http.trusted_proxies to say: the library
                # believes whoever comes from this machine.
                proxy_headers=False,
                lifespan="off",
                # A WebSocket would be outside the limits, and nothing answers on one.
                ws="none",
                timeout_graceful_shutdown=_LAST_TASKS_SECONDS,
            )
        )
        self._sockets = sockets
        self._limits = limits
        self._connections = connections
        self._metrics = metrics
        self._context = context

    @property
    def port(self) -> int:
        """The port of its sockets."""
        port: int = self._sockets[0].getsockname()[1]
        return port

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on the server's own sockets until `should_exit`."""
        await super().serve(sockets or self._sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections."""
        acceptors = [
            Acceptor(
                each,
                self._connections,
                self._make_protocol,
                context=self._context,
                handshake_seconds=self._limits.head_seconds,
            )
            for each in sockets or self._sockets
        ]
        for acceptor in acceptors:
            acceptor.start()
        self.servers = acceptors  # type: ignore[assignment]  # used are `close` and `wait_closed`
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is idle, give the last answers a moment, then cut off the rest."""
        cutting = asyncio.get_running_loop().call_later(_LAST_ANSWERS_SECONDS, self._cut_off)
        try:
            await super().shutdown(sockets)
        finally:
            cutting.cancel()
            self._cut_off()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to us."""
        yield

    def _make_protocol(self, place: Place) -> SmallReads:
        return SmallReads(
            limits=self._limits,
            metrics=self._metrics,
            place=place,
            config=self.config,
            server_state=self.server_state,
            app_state={},
        )

    def _cut_off(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
