"""Connections that are read little at a time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from distilpose.service.rest.connection.protocol import READ_BYTES
from http_bench import serving


async def echo(_: Any, receive: Any, send: Any) -> None:
    """An application that answers with what it received."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """The port of a server of that application, which ends with the test."""
    async with serving(echo) as bench:
        yield bench.port


async def test_several_connections_share_one_buffer_and_no_bytes(port: int) -> None:
    bodies = [bytes([number]) * 500_000 for number in range(8)]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(2):  # on the same connections again
            answers = await asyncio.gather(*(client.post("/", content=body) for body in bodies))
            assert [answer.content for answer in answers] == bodies


async def test_what_arrives_is_parsed_in_small_portions(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    portions: list[int] = []
    parse = HttpToolsProtocol.data_received

    def noting(protocol: HttpToolsProtocol, data: bytes) -> None:
        portions.append(len(data))
        parse(protocol, data)

    monkeypatch.setattr(HttpToolsProtocol, "data_received", noting)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = b"POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n"
    sent += b"1\r\nA\r\n" * 200_000 + b"0\r\n\r\n"
    writer.write(sent)
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 200")
    assert sum(portions) == len(sent)
    assert max(portions) == READ_BYTES
