"""An early answer reaches a caller that is still sending."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from distilpose.service.rest import lingering
from distilpose.service.rest.lingering import Lingering
from ports import free_port

LARGE = b"x" * 8_000_000


async def refuse(_: Request) -> Response:
    return PlainTextResponse("refused", 429)


async def read(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    app = Starlette(
        routes=[Route("/refuse", refuse, methods=["POST"]), Route("/read", read, methods=["POST"])]
    )
    app.add_middleware(Lingering)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, lifespan="off"))
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        await running


async def call(port: int, path: str, body: bytes, **headers: str) -> bytes:
    """Everything that comes back, if the body is sent without looking."""
    fields = {"host": "test", "connection": "close", "content-length": str(len(LARGE)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
    try:
        await writer.drain()
        return await reader.read()
    finally:
        writer.close()


async def test_who_sends_on_gets_the_answer_and_no_reset() -> None:
    async with served() as port:
        answers = await asyncio.gather(*(call(port, "/refuse", LARGE) for _ in range(5)))
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert answer.endswith(b"refused")


async def test_a_body_that_is_read_is_left_alone() -> None:
    async with served() as port:
        assert (await call(port, "/read", LARGE)).endswith(b"8000000")


async def test_who_stops_sending_is_not_waited_for_longer_than_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lingering, "_LINGER_SECONDS", 0.2)
    async with served() as port, asyncio.timeout(2):
        assert (await call(port, "/refuse", b"x")).endswith(b"refused")


async def test_who_waits_to_be_told_to_go_on_is_answered_and_not_told_to() -> None:
    async with served() as port, asyncio.timeout(1.5):
        answer = await call(port, "/refuse", b"", expect="100-continue")
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert answer.endswith(b"refused")
