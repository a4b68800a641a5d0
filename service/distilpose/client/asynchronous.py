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
from distilpose.client.frames import Frames, FrameTimes, NumberedFrame, numbered, pull
from distilpose.client.options import Connection, PoseOptions, StreamOptions, Tls, checked
from distilpose.client.pictures import Picture, Source
from distilpose.client.rest.transport import RestTransport
from distilpose.client.results import FrameAnswer, ImageAnswer, Model
from distilpose.client.retrying import Backoff
from distilpose.client.rpc.transport import GrpcTransport

AT_ONCE: Final = 8
"""Maximum number of pictures, or frames of a stream, in flight."""


class Transport(Protocol):
    """A transport to the service; each call is tried once."""

    async def estimate(
        self, source: Source, options: dict[str, Any], timeout_seconds: float
    ) -> ImageAnswer:
        """Find the people in a picture. Raises PoseError."""
        ...

    async def model(self, timeout_seconds: float) -> Model:
        """Return the student that answers. Raises PoseError."""
        ...

    def stream(
        self, frames: AsyncIterator[NumberedFrame], options: dict[str, Any], *, window: int
    ) -> AsyncGenerator[FrameAnswer, None]:
        """Find the people in each frame. Raises PoseError."""
        ...

    async def close(self) -> None:
        """Close the connections."""


class AsyncClient:
    """Asynchronous client of a running service; use it in an `async with` block.

    `address` is an http:// or https:// URL for REST. For gRPC it is grpc:// or grpcs:// (TLS) with
    host and port, or a gRPC target name, with TLS if `tls` names a file. Over gRPC, requests are
    balanced over all addresses of the name.
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
        """Find the people in one picture: encoded bytes, the path of a file, or RGB pixels.

        Raises:
            PoseError: the request failed.
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
        """Find the people in each picture, in order; a picture that fails yields its `error`.

        Raises:
            PoseError: the failure would affect the next picture too, such as an unreachable server.
        """
        return self._many(pull(pictures), checked(options, PoseOptions), at_once)

    async def estimate_folder(
        self, folder: str | Path, *, at_once: int = AT_ONCE, **options: Unpack[PoseOptions]
    ) -> AsyncGenerator[tuple[Path, ImageAnswer], None]:
        """Find the people in each picture file of a folder and its subfolders, sorted by name.

        Raises:
            PoseError: as `estimate_many`.
        """
        paths = await asyncio.to_thread(list, pictures.in_folder(folder))
        async with aclosing(self.estimate_many(paths, at_once=at_once, **options)) as answers:
            for path in paths:
                yield path, await anext(answers)

    def stream(
        self,
        frames: Frames,
        *,
        window: int = 2 * AT_ONCE,
        fps: float | None = None,
        **options: Unpack[StreamOptions],
    ) -> AsyncGenerator[FrameAnswer, None]:
        """Find the people in each frame of a video, as the frames arrive.

        Frames are pictures, or `Frame`s with their own timestamps; they are numbered from 0.
        Pictures count as `fps` a second, where that is given; else as 30 a second in `ordered`
        mode, and in `latest` mode as taken when they arrive. When the server ends a gRPC stream or
        is lost, a new stream resumes where it ended: in `ordered` mode without losing or repeating
        a frame. At most `window` frames are kept for this.

        Raises:
            InvalidRequest: an option is unknown or wrong.
            PoseError: the stream cannot continue.
            Exception: raised by `frames`, after the frames before it were answered.
        """
        given = checked(options, StreamOptions)
        times = FrameTimes(fps, by_arrival=given.get("mode") == "latest")
        return self._open.stream(numbered(frames, times), given, window=window)

    async def model(self) -> Model:
        """Return the student that answers, and the device and runtime it uses.

        Raises:
            PoseError: the request failed.
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
