"""Answers that count until they are taken."""

import asyncio
from typing import Any

import pytest

from distilpose.service.rest.held import HeldResponse

SCOPE: Any = {"type": "http", "method": "GET", "headers": []}
BODY = bytes(range(256)) * 4096


async def nothing() -> Any:
    await asyncio.sleep(3600)


async def test_a_body_is_written_and_then_let_go() -> None:
    sent: list[Any] = []
    let_go: list[int] = []

    async def send(message: Any) -> None:
        assert not let_go
        sent.append(message)

    response = HeldResponse(BODY, media_type="image/png", on_written=lambda: let_go.append(1))
    await response(SCOPE, nothing, send)
    start, *pieces = sent
    headers = dict(start["headers"])
    assert start["status"] == 200
    assert headers[b"content-length"] == str(len(BODY)).encode()
    assert headers[b"content-type"] == b"image/png"
    assert b"".join(piece.get("body", b"") for piece in pieces) == BODY
    assert let_go == [1]


async def test_a_caller_that_leaves_lets_go_as_well() -> None:
    let_go: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise OSError("gone")

    response = HeldResponse(BODY, on_written=lambda: let_go.append(1))
    with pytest.raises(OSError, match="gone"):
        await response(SCOPE, nothing, send)
    assert let_go == [1]
