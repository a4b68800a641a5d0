"""The HTTP server, in the test's own process, with limits that a test can wait for."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec

import uvloop
from prometheus_client import CollectorRegistry

from distilpose.service import listening
from distilpose.service.rest.connection.bounded import HttpLimits
from distilpose.service.rest.connection.places import Connections
from distilpose.service.rest.connection.server import HttpServer
from distilpose.service.telemetry.metrics import Metrics

P = ParamSpec("P")

LENIENT = HttpLimits(head_seconds=5, head_bytes=4096, idle_seconds=5, send_seconds=5)


def on_uvloop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test on the event loop that serves, whose transports differ from asyncio's."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        uvloop.run(test(*args, **kwargs))

    return run


@dataclass
class HttpBench:
    """A running server."""

    port: int
    server: HttpServer
    connections: Connections
    metrics: Metrics

    async def connect(
        self, sent: bytes = b"", **given: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which these bytes are sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **given)
        writer.write(sent)
        return reader, writer

    async def said(self, sent: bytes, **given: Any) -> bytes:
        """All that the server answers to these bytes, until it closes the connection."""
        reader, writer = await self.connect(sent, **given)
        try:
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.close()

    def value(self, name: str, **labels: str) -> float:
        """The value of a metric."""
        value = self.metrics.registry.get_sample_value(f"distilpose_{name}", labels)
        assert value is not None
        return value

    def closed(self, reason: str) -> float:
        """The number of connections that the server closed for that reason."""
        return self.value("connections_refused_total", reason=reason)

    async def open_connections(self, number: int) -> None:
        """Return when so many connections are open."""
        async with asyncio.timeout(10):
            while self.connections.open != number:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(
    app: Any,
    *,
    limits: HttpLimits = LENIENT,
    most: int = 100,
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[HttpBench]:
    """A server of this application, which ends with the block."""
    metrics = Metrics(CollectorRegistry())
    connections = Connections(most, metrics)
    server = HttpServer(
        app,
        listening.bind("127.0.0.1", 0, setting="http.port"),
        limits=limits,
        connections=connections,
        metrics=metrics,
        context=context,
    )
    bench = HttpBench(server.port, server, connections, metrics)
    ending = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield bench
    finally:
        server.should_exit = True
        await ending
