"""Methods whose messages are small, and whose callers may need no key.

The library would read a message of any size within its limit before it calls the method, for as
many calls as there are. Here each caller's messages are read one at a time, and soon.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias
from weakref import WeakValueDictionary

import grpc
from google.protobuf.message import DecodeError

from distilpose.service.callers import caller_of, peer_of_grpc
from distilpose.service.errors import InvalidRequest, NotSent, ServiceError, TooLarge
from distilpose.service.pipeline.memory import Memory
from distilpose.service.rpc import errors as grpc_errors
from distilpose.service.rpc.calls import Calls
from distilpose.service.rpc.messages import Context, Incoming
from distilpose.service.words import MemoryPart

MOST_SMALL_BYTES: Final = 1024
_READ_SECONDS: Final = 1.0

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class SmallMessages:
    """Reads small messages, with the memory for one of any size for each caller."""

    def __init__(self, memory: Memory, *, most_bytes: int, calls: Calls) -> None:
        self._memory = memory
        self._calls = calls
        self._most_bytes = most_bytes
        self._reading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def read(self, messages: Incoming, caller: str) -> bytes | None:
        """The next message; None when there are no more.

        Raises:
            NotSent: it did not arrive within a second, or those before it did not.
            TooLarge: it is not small.
        """
        lock = self._reading.setdefault(caller, asyncio.Lock())
        try:
            async with asyncio.timeout(_READ_SECONDS), lock:
                with self._memory.hold(MemoryPart.BODIES) as holding:
                    holding.take(self._most_bytes)
                    data = await messages.read()
        except TimeoutError as err:
            raise NotSent(f"no whole message arrived within {_READ_SECONDS:g} s") from err
        if data is not None and len(data) > MOST_SMALL_BYTES:
            raise TooLarge(f"the message has {len(data)} bytes, the limit is {MOST_SMALL_BYTES}")
        return data

    def handler(self, method: str, handler: Handler) -> Handler:
        """A method of another service, called with messages that are read in this way."""
        if handler.request_streaming or handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._streaming(method, handler), response_serializer=handler.response_serializer
            )
        return grpc.stream_unary_rpc_method_handler(
            self._single(method, handler), response_serializer=handler.response_serializer
        )

    def _single(self, method: str, handler: Handler) -> Any:
        answer: Any = handler.unary_unary  # a coroutine, which the stubs do not know

        async def call(_: Any, context: Context) -> Any:
            requests = _Requests(self, method, handler, context)
            async with self._place(context):
                return await answer(await requests.only(), context)

        return call

    def _streaming(self, method: str, handler: Handler) -> Any:
        answers: Any = handler.stream_stream or handler.unary_stream

        async def call(_: Any, context: Context) -> None:
            requests = _Requests(self, method, handler, context)
            async with self._place(context):
                if handler.request_streaming:
                    async for answer in answers(requests.all(), context):
                        await context.write(answer)
                else:
                    await answers(await requests.only(), context)

        return call

    @asynccontextmanager
    async def _place(self, context: Context) -> AsyncIterator[None]:
        """A place among the calls of such methods; ends the call if there is none."""
        try:
            self._calls.check_room()
        except ServiceError as err:
            await grpc_errors.abort(context, err)
        with self._calls.place():
            yield


class _Requests:
    """The messages of one call."""

    def __init__(
        self, small: SmallMessages, method: str, handler: Handler, context: Context
    ) -> None:
        self._small = small
        self._messages = Incoming(context)
        self._context = context
        self._parse: Any = handler.request_deserializer
        self._caller = f"{method} {caller_of(None, peer_of_grpc(context.peer()))}"

    async def only(self) -> Any:
        request = await self._next()
        return self._parse(b"") if request is None else request

    async def all(self) -> AsyncIterator[Any]:
        while (request := await self._next()) is not None:
            yield request

    async def _next(self) -> Any:
        """The next request; None when there are no more. Ends the call that breaks the rules."""
        try:
            data = await self._small.read(self._messages, self._caller)
            return None if data is None else self._parse(data)
        except DecodeError:
            await grpc_errors.abort(self._context, InvalidRequest("the message is malformed"))
        except ServiceError as err:
            await grpc_errors.abort(self._context, err)
