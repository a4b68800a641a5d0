"""A caller's name, timeout and disconnection."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from distilpose.service.errors import InvalidRequest
from distilpose.service.rest.caller import caller_name, timeout_seconds, while_waiting
from distilpose.service.security.keys import ApiKeys


def request(
    timeout: str | None = None, receive: Callable[[], Awaitable[Any]] | None = None
) -> Request:
    headers = [] if timeout is None else [(b"x-request-timeout-ms", timeout.encode("latin-1"))]
    return Request({"type": "http", "headers": headers}, receive or staying)


async def staying() -> Any:
    await asyncio.Event().wait()


async def leaving() -> dict[str, str]:
    await asyncio.sleep(0)
    return {"type": "http.disconnect"}


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(None, 10), ("1", 0.001), ("2500", 2.5), ("10001", 10), ("9" * 500, 10)],
)
def test_the_callers_timeout_is_taken_up_to_the_longest_allowed(
    given: str | None, seconds: float
) -> None:
    assert timeout_seconds(request(given), limit_seconds=10) == seconds


@pytest.mark.parametrize("given", ["", "0", "-1", "1.5", "1s", "\xb2"])
def test_a_malformed_timeout_is_refused_with_the_headers_name(given: str) -> None:
    with pytest.raises(InvalidRequest, match="x-request-timeout-ms"):
        timeout_seconds(request(given), limit_seconds=10)


async def test_work_for_a_caller_that_stays_is_answered() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await while_waiting(request(), work()) == 7
    assert len(asyncio.all_tasks()) == 1


async def test_works_own_error_is_passed_on() -> None:
    async def work() -> None:
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest):
        await while_waiting(request(), work())


async def test_work_for_a_caller_that_left_is_cancelled() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("withdrawn")

    with pytest.raises(ClientDisconnect):
        await while_waiting(request(receive=leaving), work())
    assert ended == ["withdrawn"]


async def test_whoever_is_cancelled_cancels_its_work() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("withdrawn")

    waiting = asyncio.create_task(while_waiting(request(), work()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended == ["withdrawn"]


def from_peer(host: str | None, *headers: tuple[str, str]) -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    client = host and (host, 1234)
    return Request({"type": "http", "headers": raw, "client": client}, staying)


def test_without_keys_a_caller_is_its_address_or_the_one_that_its_proxy_tells() -> None:
    proxies, nobody = [ip_network("10.0.0.0/8")], ApiKeys([])
    lines = [("x-forwarded-for", "198.51.100.7"), ("x-forwarded-for", "203.0.113.9, 10.0.0.2")]
    assert caller_name(from_peer("192.0.2.1", *lines), nobody, proxies) == "192.0.2.1"
    assert caller_name(from_peer("10.0.0.1", *lines), nobody, proxies) == "203.0.113.9"
    assert caller_name(from_peer(None, *lines), nobody, proxies) == "unknown"


@pytest.mark.parametrize("header", [("x-api-key", "secret"), ("authorization", "Bearer secret")])
def test_with_keys_a_caller_is_the_digest_of_its_key(header: tuple[str, str]) -> None:
    name = caller_name(from_peer("192.0.2.1", header), ApiKeys(["secret"]), [])
    assert name == f"key:{hashlib.sha256(b'secret').hexdigest()}"


def test_a_key_that_nobody_asked_for_makes_no_other_caller() -> None:
    given = [from_peer("192.0.2.1", ("x-api-key", key)) for key in ("one", "two")]
    assert {caller_name(each, ApiKeys([]), []) for each in given} == {"192.0.2.1"}
