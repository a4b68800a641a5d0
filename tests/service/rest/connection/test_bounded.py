"""The limits of one connection: of heads, silence, pipelining and answers not taken."""

import asyncio
import json
import socket
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from distilpose.service.life import Life
from distilpose.service.rest.connection.bounded import DELIVERY
from distilpose.service.rest.middleware import RequestMiddleware
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.telemetry.traces import NoTraces
from http_bench import LENIENT, on_uvloop, serving

GET = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n"


async def brief(_: Any, __: Any, send: Any) -> None:
    """An application that answers at once, and reads nothing."""
    await answer(send, b"ok")


async def answer(send: Any, body: bytes) -> None:
    size = str(len(body)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", size)]}
    )
    await send({"type": "http.response.body", "body": body})


def problem(said: bytes) -> tuple[int, dict[str, Any]]:
    """The status and the problem document of an answer."""
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    assert b"x-request-id: " in head
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nhost: test\r\nx: " + b"a" * 5000,
        b"GET / HTTP/1.1\r\nhost: test\r\nx: " + b"a" * 5000 + b"\r\n\r\n",
        b"GET /" + b"a" * 5000,
        b"GET / HTTP/1.1\r\n" + b"".join(b"%d: b\r\n" % n for n in range(300)),
        b"\r\n" * 3000,
    ],
    ids=["unfinished field", "whole", "target", "many fields", "only line ends"],
)
@on_uvloop
async def test_a_large_head_is_431(head: bytes) -> None:
    async with serving(brief) as bench:
        status, document = problem(await bench.said(head))
        assert (status, document["type"]) == (431, "request-header-fields-too-large")
        assert bench.closed("head_size") == 1
        await bench.open_connections(0)


@on_uvloop
async def test_a_head_at_the_limit_is_answered() -> None:
    async with serving(brief) as bench:
        head = b"GET / HTTP/1.1\r\nconnection: close\r\nx: " + b"a" * 4000 + b"\r\n\r\n"
        assert (await bench.said(head)).startswith(b"HTTP/1.1 200")


@on_uvloop
async def test_a_head_that_trickles_is_408() -> None:
    limits = replace(LENIENT, head_seconds=0.3)
    async with serving(brief, limits=limits) as bench:
        reader, writer = await bench.connect()

        async def trickle() -> None:
            for byte in GET[:-2]:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        async with asyncio.timeout(2):
            status, document = problem(await reader.readuntil(b"}"))
        assert (status, document["type"]) == (408, "request-timeout")
        assert bench.closed("head_timeout") == 1
        trickling.cancel()
        writer.close()


@on_uvloop
async def test_a_later_head_has_its_time_from_its_first_byte() -> None:
    async with serving(brief, limits=replace(LENIENT, head_seconds=0.4)) as bench:
        reader, writer = await bench.connect(GET)
        await reader.readuntil(b"ok")
        await asyncio.sleep(0.6)
        writer.write(GET[:5])
        await asyncio.sleep(0.2)
        writer.write(GET[5:])
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.write(GET[:5])
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 408")
        writer.close()


@on_uvloop
async def test_a_connection_that_says_nothing_is_closed_without_an_answer() -> None:
    async with serving(brief, limits=replace(LENIENT, head_seconds=0.1)) as bench:
        assert await bench.said(b"") == b""
        assert bench.closed("head_timeout") == 1


@pytest.mark.parametrize("more", [b"", b"POST / HTTP/1.1\r\ncontent-length: 99\r\n\r\n"])
@on_uvloop
async def test_an_idle_connection_is_closed(more: bytes) -> None:
    async with serving(brief, limits=replace(LENIENT, idle_seconds=0.2)) as bench:
        said = await bench.said(GET + more)
        assert said.count(b"HTTP/1.1 200") == (2 if more else 1)
        assert bench.closed("idle") == 1


@on_uvloop
async def test_the_rest_of_a_body_that_trickles_after_its_answer_is_not_waited_for() -> None:
    async with serving(brief, limits=replace(LENIENT, idle_seconds=0.3)) as bench:
        reader, writer = await bench.connect(b"POST / HTTP/1.1\r\ncontent-length: 999\r\n\r\n")

        async def trickle() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        async with asyncio.timeout(2):
            assert b"200" in await reader.read()
        trickling.cancel()
        writer.close()


@on_uvloop
async def test_line_ends_between_requests_keep_no_connection() -> None:
    async with serving(brief, limits=replace(LENIENT, head_seconds=0.2)) as bench:
        reader, writer = await bench.connect(GET)
        await reader.readuntil(b"ok")
        writer.write(b"\r\n")
        async with asyncio.timeout(2):
            assert b"408" in await reader.readuntil(b"}")
        writer.close()


@on_uvloop
async def test_many_requests_at_once_do_not_pile_up() -> None:
    begun = 0

    async def slow(_: Any, __: Any, send: Any) -> None:
        nonlocal begun
        begun += 1
        await asyncio.sleep(0.01)
        await answer(send, b"ok")

    async with serving(slow) as bench:
        said = await bench.said(GET * 1000)
        assert said.count(b"HTTP/1.1 200") == begun == 17
        assert bench.closed("pipeline") == 1


@on_uvloop
async def test_what_is_not_http_is_a_problem() -> None:
    async with serving(brief) as bench:
        assert problem(await bench.said(b"hello\r\n\r\n"))[0] == 400


class Unread:
    """An application with a large answer; keeps the fate of its delivery."""

    def __init__(self) -> None:
        self.delivery: Any = None
        self.ended = asyncio.Event()

    async def __call__(self, scope: Any, _: Any, send: Any) -> None:
        self.delivery = scope["state"][DELIVERY]
        try:
            await answer(send, bytes(30_000_000))
        finally:
            self.ended.set()


@pytest.mark.parametrize("head", [GET, GET[:-2] + b"connection: close\r\n\r\n"])
@on_uvloop
async def test_an_answer_of_which_nothing_is_taken_is_dropped(head: bytes) -> None:
    app = Unread()
    async with serving(app, limits=replace(LENIENT, send_seconds=0.4)) as bench:
        reader, writer = await bench.connect(head, limit=1024)
        await app.ended.wait()
        await bench.open_connections(0)
        assert bench.value("answers_dropped_total", transport="rest") == 1
        writer.transport.abort()
        del reader


def counted(app: ASGIApp, metrics: Metrics) -> RequestMiddleware:
    return RequestMiddleware(app, metrics, NoTraces(), life=Life(), request_timeout_seconds=10)


@on_uvloop
async def test_a_request_whose_answer_is_not_taken_ends_as_499() -> None:
    metrics = Metrics(CollectorRegistry())
    app = counted(Unread(), metrics)
    limits = replace(LENIENT, send_seconds=0.3)
    async with serving(app, limits=limits) as bench:
        _, writer = await bench.connect(b"GET /v1/models HTTP/1.1\r\n\r\n", limit=1024)
        await bench.open_connections(1)
        await bench.open_connections(0)
        labels = {"transport": "rest", "method": "get_model", "code": "499", "blame": "caller"}
        await asyncio.sleep(0.05)
        assert metrics.registry.get_sample_value("distilpose_requests_total", labels) == 1
        writer.transport.abort()


@on_uvloop
async def test_a_large_answer_arrives_whole_through_its_slices() -> None:
    body = bytes(range(256)) * 4096 + b"end"

    async def large(_: Any, __: Any, send: Any) -> None:
        await answer(send, body)

    metrics = Metrics(CollectorRegistry())
    async with serving(counted(large, metrics)) as bench:
        said = await bench.said(b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n")
        assert said.partition(b"\r\n\r\n")[2] == body
        labels = {"transport": "rest", "method": "get_model", "code": "200", "blame": "none"}
        assert metrics.registry.get_sample_value("distilpose_requests_total", labels) == 1


@on_uvloop
async def test_an_answer_that_is_taken_slowly_arrives() -> None:
    app = Unread()
    async with serving(app, limits=replace(LENIENT, send_seconds=0.4)) as bench:
        # With a large buffer the system tells the server only of megabytes that were taken.
        caller = socket.socket()
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        caller.connect(("127.0.0.1", bench.port))
        reader, writer = await asyncio.open_connection(sock=caller, limit=1024)
        writer.write(GET[:-2] + b"connection: close\r\n\r\n")
        size, waited_seconds = 0, 0.0
        while chunk := await reader.read(200_000):
            size += len(chunk)
            if waited_seconds < 1:
                await asyncio.sleep(0.1)
                waited_seconds += 0.1
        assert size > 30_000_000
        assert not app.delivery.was_cut
        assert bench.value("answers_dropped_total", transport="rest") == 0
        writer.close()


@on_uvloop
async def test_the_end_waits_a_second_for_callers_who_take_nothing() -> None:
    app = Unread()
    loop = asyncio.get_running_loop()
    async with serving(app) as bench:
        idle = await bench.connect(GET[:3])
        unread = await bench.connect(GET, limit=1024)
        await app.ended.wait()
        began = loop.time()
    assert loop.time() - began < 2
    assert bench.connections.open == 0
    for _, writer in (idle, unread):
        writer.transport.abort()
