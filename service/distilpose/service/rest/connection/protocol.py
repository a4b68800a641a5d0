"""Reads HTTP connections little at a time."""

import asyncio
from typing import Any, Final

from distilpose.service.rest.connection.bounded import BoundedHttp

READ_BYTES: Final = 32 * 1024


class SmallReads(asyncio.BufferedProtocol):
    """uvicorn's protocol, given what arrives in portions that never take long to parse.

    A read may return 256 kB by default. As chunks of one byte each (RFC 9112, 7.1) these would keep
    the event loop for 25 ms.
    """

    _buffer = bytearray(READ_BYTES)
    """Of all connections: what is read into it is taken out before anything else is read."""

    def __init__(self, **given: Any) -> None:
        self._http = BoundedHttp(**given)
        self.connection_made = self._http.connection_made  # type: ignore[method-assign,assignment]
        self.connection_lost = self._http.connection_lost  # type: ignore[method-assign]
        self.eof_received = self._http.eof_received  # type: ignore[method-assign]
        self.pause_writing = self._http.pause_writing  # type: ignore[method-assign]
        self.resume_writing = self._http.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, _: int) -> bytearray:
        """The buffer for the next read."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what was read."""
        self._http.data_received(bytes(memoryview(self._buffer)[:nbytes]))
