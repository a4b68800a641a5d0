"""The client for programs with an event loop."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, Self, Unpack

from distilpose.client import pictures
from distilpose.client.errors import OF_ONE_PICTURE
from distilpose.client.frames import Frames, NumberedFrame, numbered, pull
from distilpose.client.options import Connection, PoseOptions, StreamOptions, Tls, checked
from distilpose.client.pictures import Picture, Source
from distilpose.client.rest.transport import RestTransport
from distilpose.client.results import FrameAnswer, ImageAnswer, Model
from distilpose.client.retrying import Backoff
from distilpose.client.rpc.transport import GrpcTransport

AT_ONCE: Final = 8
"""Pictures, or frames of a stream, that are asked for and not yet answered."""


class Transport(Protocol):
    """How questions get to the service, each asked once."""

    async def estimate(
        self, source: Source, options: dict[str, Any], timeout_seconds: float
    ) -> ImageAnswer:
        """The people of a picture. Raises PoseError."""
        ...

    async def model(self, timeout_seconds: float) -> Model:
        """The student that answers. Raises PoseError."""
        ...

    def stream(
        self, frames: AsyncIterator[NumberedFrame], options: dict[str, Any], *, window: int
    ) -> AsyncGenerator[FrameAnswer, None]:
        """The people of each frame. Raises PoseError."""
        ...

    async def close(self) -> None:
        """Close the connections."""


class AsyncClient:
    """Asks a running service for poses; to be used in an `async with` block.

    `address` is http:// or https:// for REST, else gRPC: grpc:// or grpcs:// (TLS) before host and
    port, or a name as gRPC has them, with TLS where `tls` has a file. Over gRPC the questions go
    round all addresses of the name.
    """

    def __init__(
        self,
        address: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 10.0,
        tls: Tls | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._connection = Connection(
            address=address, api_key=api_key, timeout_seconds=timeout_seconds, tls=tls or Tls()
        )
        self._backoff = backoff or Backoff()
        self._transport: Transport | None = None

    async def __aenter__(self) -> Self:
        is_rest = self._connection.address.startswith(("http://", "https://"))
        kind = RestTransport if is_rest else GrpcTransport
        self._transport = kind(self._connection, backoff=self._backoff)
        return self

    async def __aexit__(self, *_: object) -> None:
        transport, self._transport = self._open, None
        await transport.close()

    async def estimate(self, picture: Picture, **options: Unpack[PoseOptions]) -> ImageAnswer:
        """The people of one picture: encoded bytes, the path of a file, or RGB pixels.

        Raises:
            PoseError: there is no answer.
            OSError: the file cannot be read.
        """
        return await self._estimate(picture, checked(options, PoseOptions))

    def estimate_many(
        self,
        pictures: Iterable[Picture] | AsyncIterable[Picture],
        *,
        at_once: int = AT_ONCE,
        **options: Unpack[PoseOptions],
    ) -> AsyncGenerator[ImageAnswer, None]:
        """The people of each picture, in order; one that fails alone has its `error` in its place.

        Raises:
            PoseError: no server answers, or none would answer the next picture either.
        """
        return self._many(pull(pictures), checked(options, PoseOptions), at_once)

    async def estimate_folder(
        self, folder: str | Path, *, at_once: int = AT_ONCE, **options: Unpack[PoseOptions]
    ) -> AsyncGenerator[tuple[Path, ImageAnswer], None]:
        """Each picture file in a folder and its folders, by name, with its people.

        Raises:
            PoseError: as `estimate_many`.
        """
        paths = await asyncio.to_thread(list, pictures.in_folder(folder))
        async with aclosing(self.estimate_many(paths, at_once=at_once, **options)) as answers:
            for path in paths:
                yield path, await anext(answers)

    def stream(
        self, frames: Frames, *, window: int = 2 * AT_ONCE, **options: Unpack[StreamOptions]
    ) -> AsyncGenerator[FrameAnswer, None]:
        """The people of each frame of a video, as the frames come.

        Frames are pictures, or `Frame`s with times of their own; they are counted from 0. When the
        server ends a gRPC stream or is lost, another one goes on where it ended: in `ordered` mode
        without a lost or doubled frame, of which `window` are kept at most.

        Raises:
            PoseError: the stream cannot go on.
            Exception: what `frames` raises, after the frames before it were answered.
        """
        given = checked(options, StreamOptions)
        return self._open.stream(numbered(frames), given, window=window)

    async def model(self) -> Model:
        """The student that answers, and on what it runs.

        Raises:
            PoseError: there is no answer.
        """
        return await self._backoff.call(
            self._open.model, timeout_seconds=self._connection.timeout_seconds
        )

    @property
    def _open(self) -> Transport:
        if self._transport is None:
            raise RuntimeError("use the client in a `with` block")
        return self._transport

    async def _estimate(self, picture: Picture, options: dict[str, Any]) -> ImageAnswer:
        source = await asyncio.to_thread(pictures.load, picture)
        ask = partial(self._open.estimate, source, options)
        return await self._backoff.call(ask, timeout_seconds=self._connection.timeout_seconds)

    async def _in_place(self, picture: Picture, options: dict[str, Any]) -> ImageAnswer:
        try:
            return await self._estimate(picture, options)
        except OF_ONE_PICTURE as err:
            return ImageAnswer(error=err)

    async def _many(
        self, given: AsyncIterator[Picture], options: dict[str, Any], at_once: int
    ) -> AsyncGenerator[ImageAnswer, None]:
        asked: deque[asyncio.Task[ImageAnswer]] = deque()
        try:
            async for picture in given:
                asked.append(asyncio.create_task(self._in_place(picture, options)))
                if len(asked) >= at_once:
                    yield await asked.popleft()
            while asked:
                yield await asked.popleft()
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
