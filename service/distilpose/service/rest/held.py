"""Answers whose memory counts until the caller has taken them."""

from collections.abc import Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class HeldResponse(Response):
    """A response that calls `on_written` once: when it was taken, or the caller has left."""

    def __init__(self, content: bytes, *, on_written: Callable[[], None], **others: Any) -> None:
        super().__init__(content, **others)
        self._on_written = on_written

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the response; a large one returns when most of it has been taken."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_written()
