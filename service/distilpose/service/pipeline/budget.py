"""A bound on the bytes that the images of one request hold at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """At most `limit_bytes` held at once, first come, first served.

    An item larger than the whole budget is admitted when nothing else is held.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def hold(self, size_bytes: int) -> AsyncIterator[None]:
        """Wait for room, and hold it within the `with`."""
        async with self._turn:
            while self.held_bytes and self.held_bytes + size_bytes > self.limit_bytes:
                self._freed.clear()
                await self._freed.wait()
            self.held_bytes += size_bytes
        try:
            yield
        finally:
            self.held_bytes -= size_bytes
            self._freed.set()
