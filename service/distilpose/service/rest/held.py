"""Answers whose memory counts until the caller has taken them."""

from collections.abc import Callable
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_PIECE_BYTES: Final = 256 * 1024


class HeldResponse(Response):
    """A response that is written piece by piece, each when the caller has taken those before.

    `on_written` is called once, when the last piece is on its way or the caller has left.
    """

    def __init__(self, content: bytes, *, on_written: Callable[[], None], **others: Any) -> None:
        super().__init__(content, **others)
        self._on_written = on_written

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the response."""
        start = {"type": "http.response.start", "status": self.status_code}
        try:
            await send({**start, "headers": self.raw_headers})
            for begin in range(0, len(self.body), _PIECE_BYTES):
                piece = bytes(self.body[begin : begin + _PIECE_BYTES])
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            self._on_written()
