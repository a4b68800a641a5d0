"""The routes, of a service that has no models yet."""

import logging
from collections.abc import AsyncIterator
from urllib.parse import quote_from_bytes

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from distilpose.service.app import Service
from distilpose.service.life import State
from distilpose.service.rest.api import create_app
from distilpose.service.settings import Settings
from distilpose.service.telemetry.logs import ConsoleFormatter

LONG = "x" * 60_000
JPEG = {"content-type": "image/jpeg"}
HEADER = st.binary().filter(lambda value: not set(value) & set(b"\r\n\0"))


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    service = Service(Settings(), CollectorRegistry())
    service.life.advance(State.READY)
    transport = httpx.ASGITransport(create_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as open_client:
        yield open_client
    await service.close()


async def test_an_address_with_a_slash_too_many_is_not_sent_back(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post(f"/v1/pose/?{LONG}")
    assert answer.status_code == 404
    assert len(answer.content) < 500


@pytest.mark.parametrize(
    "request_of",
    [
        {"params": {LONG: "1"}, "headers": JPEG},
        {"headers": {"content-type": LONG}},
        {"params": {LONG: "1"}, "json": {}},
        {"json": {LONG: 1}},
        {"json": {"images": [{"content": "", LONG: 1}]}},
        {"json": {"images": [{"content": ""}], "options": {LONG: 1}}},
        {"files": [(LONG, ("a.jpg", b"x"))]},
        {"files": [("images", (LONG, b"x"))]},
        {"headers": {"x-request-timeout-ms": LONG}},
        {"headers": {"x-request-id": LONG, **JPEG}},
        {"headers": {"accept": LONG, **JPEG}},
    ],
    ids=" ".join,
)
async def test_a_callers_long_text_makes_no_long_answer(
    client: httpx.AsyncClient, request_of: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "distilpose")
    answer = await client.post("/v1/pose", **request_of)  # type: ignore[arg-type]
    assert 400 <= answer.status_code < 500
    lines = [ConsoleFormatter().format(record) for record in caplog.records]
    assert lines
    for text in (answer.text, *answer.headers.values(), *lines):
        assert "x" * 201 not in text
        assert len(text) < 1500


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.binary(), name=st.binary(), content_type=HEADER, identity=HEADER)
async def test_no_bytes_of_a_caller_break_out_of_an_answer_or_a_log_line(
    client: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    *,
    path: bytes,
    name: bytes,
    content_type: bytes,
    identity: bytes,
) -> None:
    caplog.set_level(logging.DEBUG, "distilpose")
    caplog.clear()
    headers = [(b"content-type", content_type), (b"x-request-id", identity)]
    for address in ("/v1/pose", f"/{quote_from_bytes(path)}"):
        answer = await client.post(f"{address}?{quote_from_bytes(name)}=1", headers=headers)
        assert answer.json()["detail"].isprintable()
        assert all(value.isprintable() for value in answer.headers.values())
    lines = [ConsoleFormatter().format(record) for record in caplog.records]
    assert lines
    assert all(line.isprintable() for line in lines)
