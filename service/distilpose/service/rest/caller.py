"""The HTTP caller's name, timeout and disconnection."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

from starlette.requests import ClientDisconnect, Request

from distilpose.service.callers import FORWARDED_HEADER, Network, caller_of
from distilpose.service.errors import InvalidRequest
from distilpose.service.security.keys import ApiKeys

T = TypeVar("T")

TIMEOUT_HEADER: Final = "x-request-timeout-ms"


def timeout_seconds(request: Request, *, limit_seconds: float) -> float:
    """The caller's timeout in seconds, at most the limit.

    Raises:
        InvalidRequest: the header is not a whole number above 0.
    """
    given = request.headers.get(TIMEOUT_HEADER)
    if given is None:
        return limit_seconds
    if not (given.isascii() and given.isdigit() and given.strip("0")):
        raise InvalidRequest(f"{TIMEOUT_HEADER}: expected milliseconds as a whole number above 0")
    # More digits than a float can hold stand for a longer time than any limit.
    return min(int(given[:18]) / 1000, limit_seconds)


def caller_name(request: Request, keys: ApiKeys, trusted: Sequence[Network]) -> str:
    """The name of a caller whose key has been checked."""
    digest = keys.caller_digest(
        api_key=request.headers.get("x-api-key"),
        authorization=request.headers.get("authorization"),
    )
    peer = request.client.host if request.client else None
    return caller_of(digest, peer, request.headers.getlist(FORWARDED_HEADER), trusted=trusted)


async def while_waiting(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`, cancelled if the caller leaves. The body must have been read.

    Raises:
        ClientDisconnect: the caller left.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_left(request))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
