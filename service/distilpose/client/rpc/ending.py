"""The status that a gRPC stream really ended with.

When the server ends a call while a message is being written, grpc.aio replaces the server's status
by INTERNAL, "Internal error from Core", sometimes before that status arrives and sometimes after.
So the status is recorded the moment it arrives.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import grpc

T = TypeVar("T")

_WRITE_FAILED: Final = "Internal error from Core"
_STATUS_COMES_WITHIN_SECONDS: Final = 1.0


class Ending:
    """Watches a call for the status that it ends with."""

    def __init__(self, call: Any) -> None:
        self._status: grpc.aio.AioRpcError | None = None
        self._noted = asyncio.Event()
        call.add_done_callback(self._note)

    async def of(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """The error that the call really ended with, given the error its reader received."""
        if error.details() != _WRITE_FAILED:
            return error
        try:
            async with asyncio.timeout(_STATUS_COMES_WITHIN_SECONDS):
                await self._noted.wait()
        except TimeoutError:
            return error
        return self._status or error

    def _note(self, call: Any) -> None:
        details = _at_once(call.details())
        if self._status is None and details != _WRITE_FAILED:
            self._status = grpc.aio.AioRpcError(
                _at_once(call.code()),
                _at_once(call.initial_metadata()),
                _at_once(call.trailing_metadata()),
                details,
                None,
            )
            self._noted.set()


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as returned:
        value: T = returned.value
        return value
    raise RuntimeError("the call has no status; this is a bug")
