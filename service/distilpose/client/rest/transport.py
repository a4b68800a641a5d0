"""Requests over HTTP."""

import asyncio
import math
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import Any, Final

import httpx

from distilpose.client.errors import OF_ONE_PICTURE, InvalidRequest, Unavailable
from distilpose.client.frames import NumberedFrame
from distilpose.client.options import STREAM_ONLY, Connection, Tls
from distilpose.client.pictures import Source
from distilpose.client.rest import wire
from distilpose.client.results import FrameAnswer, ImageAnswer, Model
from distilpose.client.retrying import Backoff

_LOST: Final = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)
"""Errors after which a retry is safe, because a request changes nothing in the service."""


class RestTransport:
    """A pool of connections to the service."""

    def __init__(self, connection: Connection, *, backoff: Backoff) -> None:
        self._timeout_seconds = connection.timeout_seconds
        self._backoff = backoff
        self._http = httpx.AsyncClient(
            base_url=connection.address,
            headers={"x-api-key": connection.api_key} if connection.api_key else {},
            verify=_ssl_context(connection.tls),
            timeout=None,  # noqa: S113 - each request has its own deadline
        )

    async def estimate(
        self, source: Source, options: dict[str, Any], timeout_seconds: float
    ) -> ImageAnswer:
        """Find the people in a picture, without retrying.

        Raises:
            PoseError: the request failed.
        """
        query = wire.to_query(options)
        request = self._http.build_request(
            "POST",
            "v1/pose",
            params=query,
            content=await asyncio.to_thread(wire.to_body, source),
            headers={
                "content-type": "application/octet-stream",
                "x-request-timeout-ms": str(max(1, math.floor(timeout_seconds * 1000))),
            },
        )
        return wire.from_answer(await self._send(request))

    async def model(self, timeout_seconds: float) -> Model:
        """Return the student that answers, without retrying; the caller enforces the timeout.

        Raises:
            PoseError: the request failed.
        """
        return wire.from_model(await self._send(self._http.build_request("GET", "v1/models")))

    def stream(
        self, frames: AsyncIterator[NumberedFrame], options: dict[str, Any], *, window: int
    ) -> AsyncGenerator[FrameAnswer, None]:
        """Find the people in each frame, one request after another: `window` is not used.

        Raises:
            InvalidRequest: an option needs a real stream, which REST does not have.
        """
        rest = dict(options)
        if rest.pop("mode", "ordered") != "ordered":
            raise InvalidRequest("mode: latest needs gRPC; use a grpc:// address")
        for name in STREAM_ONLY:
            if rest.pop(name, None):
                raise InvalidRequest(f"{name}: needs gRPC; use a grpc:// address")
        return self._one_by_one(frames, rest)

    async def _one_by_one(
        self, frames: AsyncIterator[NumberedFrame], options: dict[str, Any]
    ) -> AsyncGenerator[FrameAnswer, None]:
        async for frame in frames:
            ask = partial(self.estimate, frame.source, options)
            try:
                answer = await self._backoff.call(ask, timeout_seconds=self._timeout_seconds)
                found: dict[str, Any] = vars(answer)
            except OF_ONE_PICTURE as err:
                found = {"error": err}
            yield FrameAnswer(frame_id=frame.frame_id, timestamp_ms=frame.timestamp_ms, **found)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._http.send(request)
        except _LOST as err:
            detail = f"{request.url.host}: {err or type(err).__name__}"
            raise Unavailable(detail, retry_after_seconds=0.0) from err


def _ssl_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca)
    if tls.cert:
        context.load_cert_chain(tls.cert, tls.key)
    return context
