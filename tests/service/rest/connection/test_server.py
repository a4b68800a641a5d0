"""Connections are counted and bounded from their first moment, with room for probes."""

import asyncio
import logging
import resource
import socket
import ssl
from dataclasses import replace
from typing import Any

import pytest
import trustme

from distilpose.service.rest.connection.places import PROBES_RESERVE
from http_bench import LENIENT, HttpBench, on_uvloop, serving

GET = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n"
PROBE = b"GET /healthz?verbose=1 HTTP/1.1\r\nhost: test\r\n\r\n"


async def brief(_: Any, __: Any, send: Any) -> None:
    """An application that answers at once."""
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The TLS contexts of a server and of its client."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@on_uvloop
async def test_connections_are_counted_while_they_are_open() -> None:
    changes: list[int] = []
    async with serving(brief) as bench:
        bench.connections.on_change = changes.append
        _, writer = await bench.connect()
        await bench.open_connections(1)
        assert bench.value("connections") == 1
        writer.close()
        await bench.open_connections(0)
        assert bench.value("connections") == 0
    assert changes == [1, -1]


async def filled(bench: HttpBench, number: int, sent: bytes = b"") -> list[Any]:
    """So many more open connections."""
    before = bench.connections.open
    pairs = [await bench.connect(sent) for _ in range(number)]
    await bench.open_connections(before + number)
    return pairs


@on_uvloop
async def test_beyond_the_limit_only_probes_are_answered() -> None:
    async with serving(brief, most=3) as bench:
        pairs = await filled(bench, 3)
        assert (await bench.said(GET)).startswith(b"HTTP/1.1 503")
        assert bench.closed("limit") == 1
        assert (await bench.said(PROBE)).startswith(b"HTTP/1.1 200")
        for _, writer in pairs:
            writer.close()
        await bench.open_connections(0)
        reader, writer = await bench.connect(GET)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.close()


@on_uvloop
async def test_connections_that_say_nothing_keep_no_probe_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with serving(brief, most=3) as bench:
        pairs = await filled(bench, 3 + PROBES_RESERVE)
        flood = [await bench.connect() for _ in range(200)]
        assert (await bench.said(PROBE)).startswith(b"HTTP/1.1 200")
        assert bench.connections.open <= 3 + PROBES_RESERVE
        assert bench.closed("limit") >= 200
        lines = [each for each in caplog.records if each.message == "connections were refused"]
        assert 1 <= len(lines) <= 3
        for _, writer in (*pairs, *flood):
            writer.close()


@on_uvloop
async def test_a_reserve_of_busy_probes_is_full() -> None:
    async def stuck(_: Any, __: Any, ___: Any) -> None:
        await asyncio.Event().wait()

    async with serving(stuck, most=1) as bench:
        pairs = await filled(bench, 1 + PROBES_RESERVE, PROBE)
        await asyncio.sleep(0.05)
        assert await bench.said(PROBE) == b""
        assert bench.closed("limit") == 1
        for _, writer in pairs:
            writer.close()


@on_uvloop
async def test_answers_come_over_tls(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with serving(brief, context=contexts[0]) as bench:
        reader, writer = await bench.connect(GET, ssl=contexts[1])
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        assert bench.connections.open == 1
        writer.close()
        await bench.open_connections(0)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03", b"GET / HTTP/1.1\r\n\r\n"])
@on_uvloop
async def test_a_handshake_that_does_not_end_is_counted_and_closed(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], sent: bytes
) -> None:
    limits = replace(LENIENT, head_seconds=0.2)
    async with serving(brief, context=contexts[0], limits=limits) as bench:
        reader, writer = await bench.connect(sent)
        if not sent:
            await bench.open_connections(1)
        async with asyncio.timeout(3):
            await reader.read()
        await bench.open_connections(0)
        assert bench.closed("handshake") == 1
        writer.close()


@on_uvloop
async def test_the_end_waits_for_no_handshake(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    loop = asyncio.get_running_loop()
    async with serving(brief, context=contexts[0]) as bench:
        _, writer = await bench.connect()
        await bench.open_connections(1)
        began = loop.time()
    assert loop.time() - began < 1.5
    assert bench.connections.open == 0
    writer.close()


@on_uvloop
async def test_without_descriptors_the_port_recovers() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(brief) as bench:
        with socket.socket() as caller, socket.socket() as spare:
            caller.setblocking(False)
            resource.setrlimit(resource.RLIMIT_NOFILE, (spare.fileno() + 1, hard))
            try:
                await asyncio.get_running_loop().sock_connect(caller, ("127.0.0.1", bench.port))
                async with asyncio.timeout(5):
                    while not bench.closed("descriptors"):  # noqa: ASYNC110 - nothing tells of it
                        await asyncio.sleep(0.01)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await bench.open_connections(1)
