"""Let callers read an answer that came before they had sent their whole body.

A connection that is closed with unread bytes is reset, and the reset can overtake the answer: the
caller would learn of a broken connection, and not why it was refused. *Source:* RFC 9112, 9.6.
"""

import asyncio
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distilpose.service.rest.connection.bounded import Delivery

_LINGER_SECONDS: Final = 2.0


class Lingering:
    """Reads and forgets the rest of a body, for a moment, before an early answer ends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection; everything but HTTP passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive)

        async def send_and_linger(message: Message) -> None:
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            if not is_last or not body.is_arriving:
                await send(message)
                return
            await send({**message, "more_body": True})
            await body.discard()
            await send({"type": "http.response.body"})

        await self._app(scope, body.receive, send_and_linger)


class _Body:
    """The body of one request, and how far it was read."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = dict(scope["headers"])
        has_body = b"transfer-encoding" in headers or int(headers.get(b"content-length", 0)) > 0
        # Whoever waits to be told to go on has sent nothing; the first read tells them.
        waits = headers.get(b"expect", b"").lower() == b"100-continue"
        self._receive = receive
        self._delivery = Delivery.of(scope)
        self.is_arriving = has_body and not waits

    async def receive(self) -> Message:
        """Read on, as the application does."""
        message = await self._receive()
        self.is_arriving = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def discard(self) -> None:
        """Wait while the rest arrives."""
        self._delivery.forgets_body = self.is_arriving
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while self.is_arriving:
                    await self.receive()
        except TimeoutError:
            return
