"""An early answer reaches a caller that is still sending."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distilpose.service.rest import lingering
from distilpose.service.rest.lingering import Lingering
from http_bench import on_uvloop, serving

LARGE = b"x" * 8_000_000


async def refuse(_: Request) -> Response:
    return PlainTextResponse("refused", 429)


async def read(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


def application() -> ASGIApp:
    app = Starlette(
        routes=[Route("/refuse", refuse, methods=["POST"]), Route("/read", read, methods=["POST"])]
    )
    app.add_middleware(Lingering)
    return app


def request(path: str, body: bytes, **headers: str) -> bytes:
    """A request that announces a large body and has this one."""
    fields = {"host": "test", "connection": "close", "content-length": str(len(LARGE)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


@on_uvloop
async def test_who_sends_on_gets_the_answer_and_no_reset() -> None:
    async with serving(application()) as bench:
        answers = await asyncio.gather(*(bench.said(request("/refuse", LARGE)) for _ in range(5)))
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert answer.endswith(b"refused")


@on_uvloop
async def test_a_body_that_is_read_is_left_alone() -> None:
    async with serving(application()) as bench:
        assert (await bench.said(request("/read", LARGE))).endswith(b"8000000")


@on_uvloop
async def test_a_body_after_a_forgotten_one_is_read() -> None:
    async with serving(application()) as bench:
        refused = request("/refuse", LARGE, connection="keep-alive")
        said = await bench.said(refused + request("/read", LARGE))
    assert said.startswith(b"HTTP/1.1 429 ")
    assert said.endswith(b"8000000")


@on_uvloop
async def test_a_forgotten_body_is_not_handed_on_in_pieces() -> None:
    handed: list[Message] = []

    def counted(app: ASGIApp) -> ASGIApp:
        async def counting(scope: Scope, receive: Receive, send: Send) -> None:
            async def receive_counted() -> Message:
                handed.append(await receive())
                return handed[-1]

            await app(scope, receive_counted, send)

        return counting

    async with serving(counted(application())) as bench:
        assert (await bench.said(request("/refuse", LARGE))).endswith(b"refused")
    assert len(handed) <= 2
    assert sum(len(message.get("body", b"")) for message in handed) < 200_000


@on_uvloop
async def test_who_stops_sending_is_not_waited_for_longer_than_a_moment() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lingering, "_LINGER_SECONDS", 0.2)
        async with serving(application()) as bench, asyncio.timeout(2):
            assert (await bench.said(request("/refuse", b"x"))).endswith(b"refused")


@on_uvloop
async def test_who_waits_to_be_told_to_go_on_is_answered_and_not_told_to() -> None:
    async with serving(application()) as bench, asyncio.timeout(1.5):
        answer = await bench.said(request("/refuse", b"", expect="100-continue"))
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert answer.endswith(b"refused")
