"""The messages of one call: the only place that reads and writes them.

grpc.aio frees what a read holds only if somebody still waits for it when it ends, so a read that
was begun is never dropped (grpc/grpc#43360).
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, TypeAlias

import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

GREETING_SECONDS: Final = 0.05
LINGER_SECONDS: Final = 0.1
_ANSWERED_BYTES: Final = 64 * 1024
"""The least by which a message may exceed our limit and get our error, not the library's."""
_LINGER_BYTES: Final = 1024 * 1024


def texts_of(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """The values of a call's metadata that are text, the last one of each name."""
    return {name: value for name, value in metadata if isinstance(value, str)}


def most_read_bytes(max_message_bytes: int) -> int:
    """The size up to which the library reads a message; above our limit, so that we answer."""
    return max_message_bytes + max(_ANSWERED_BYTES, max_message_bytes // 16)


class NotTaken(Exception):
    """The caller did not take a message in time."""


class Greeting:
    """The initial metadata of a call. It leaves with the answer, or a moment after the call began.

    Sent to a caller who has left already, it costs 270 bytes that the library never frees
    (grpc/grpc#43360). That moment is enough to learn of those who leave at once.
    """

    def __init__(self, context: Context, metadata: tuple[tuple[str, str], ...]) -> None:
        self._context = context
        self._metadata = metadata
        self._sending: asyncio.Future[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(GREETING_SECONDS, self._begin)

    async def send(self) -> None:
        """Return when it has been sent."""
        self._begin()
        assert self._sending is not None  # noqa: S101 - it has begun
        await asyncio.wait([self._sending])
        self._sending.result()

    def withdraw(self) -> None:
        """Send nothing any more: the call has ended."""
        self._timer.cancel()

    def _begin(self) -> None:
        self._timer.cancel()
        if self._sending is None:
            # Like a read, this is never dropped once it has begun.
            sending = self._context.send_initial_metadata(self._metadata)
            self._sending = asyncio.ensure_future(sending)
            self._sending.add_done_callback(_look_at)


class Incoming:
    """Reads a call's messages one at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reading: asyncio.Future[Any] | None = None
        self._ended = False

    async def read(self) -> bytes | None:
        """The next message; None when there are no more.

        A cancelled reader loses nothing: the next one gets the message that it waited for.
        """
        if self._ended:
            return None
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._context.read())
            # The call may end while nobody waits for its messages.
            self._reading.add_done_callback(_look_at)
        await asyncio.wait([self._reading])
        reading, self._reading = self._reading, None
        data = reading.result()
        self._ended = data is grpc.aio.EOF  # type: ignore[attr-defined]  # not in the stubs
        return None if self._ended else data

    async def linger(self) -> None:
        """Discard messages until the caller has sent its last one, for a tenth of a second at most.

        A client whose write fails because the call has ended may report that failure (as INTERNAL,
        without details) instead of the call's status (grpc/grpc#36066).
        """
        left_bytes = _LINGER_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while left_bytes > 0 and (data := await self.read()) is not None:
                    left_bytes -= len(data)


class Messages(Incoming):
    """Reads a call's messages one at a time, and writes those of a stream."""

    def __init__(self, context: Context, greeting: Greeting) -> None:
        super().__init__(context)
        self._greeting = greeting

    async def write_in_time(self, message: Any, *, seconds: float) -> None:
        """Send a message; returns when the caller's flow control has let it pass.

        Raises:
            NotTaken: that took too long.
        """
        await self._greeting.send()
        # Like a read, a write that was begun is never dropped.
        writing = asyncio.ensure_future(self._context.write(message))
        writing.add_done_callback(_look_at)
        done, _ = await asyncio.wait([writing], timeout=seconds)
        if not done:
            raise NotTaken(f"a message was not taken within {seconds:g} s")
        writing.result()


def _look_at(reading: "asyncio.Future[Any]") -> None:
    if not reading.cancelled():
        reading.exception()
