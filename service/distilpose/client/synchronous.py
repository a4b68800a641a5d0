"""The client for programs without an event loop: runs the asynchronous one in a thread."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterable
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar, Unpack

from anyio.from_thread import BlockingPortal, start_blocking_portal

from distilpose.client.asynchronous import AT_ONCE, AsyncClient
from distilpose.client.options import PoseOptions, StreamOptions, Tls
from distilpose.client.pictures import Frame, Picture
from distilpose.client.results import FrameAnswer, ImageAnswer, Model
from distilpose.client.retrying import Backoff

T = TypeVar("T")

_END: Final[Any] = object()


class Client:
    """Client of a running service; use it in a `with` block.

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
        self._client = AsyncClient(
            address, api_key=api_key, timeout_seconds=timeout_seconds, tls=tls, backoff=backoff
        )
        self._opened = ExitStack()
        self._portal: BlockingPortal | None = None

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            self._portal = opening.enter_context(start_blocking_portal("asyncio"))
            opening.enter_context(self._portal.wrap_async_context_manager(self._client))
            self._opened = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._portal = None
        self._opened.close()

    def estimate(self, picture: Picture, **options: Unpack[PoseOptions]) -> ImageAnswer:
        """Find the people in one picture: encoded bytes, the path of a file, or RGB pixels.

        Raises:
            PoseError: the request failed.
            OSError: the file cannot be read.
        """
        return self._loop.call(partial(self._client.estimate, picture, **options))

    def estimate_many(
        self,
        pictures: Iterable[Picture],
        *,
        at_once: int = AT_ONCE,
        **options: Unpack[PoseOptions],
    ) -> Generator[ImageAnswer, None, None]:
        """Find the people in each picture, in order; a picture that fails yields its `error`.

        Raises:
            PoseError: the failure would affect the next picture too, such as an unreachable server.
        """
        return self._each(self._client.estimate_many(pictures, at_once=at_once, **options))

    def estimate_folder(
        self, folder: str | Path, *, at_once: int = AT_ONCE, **options: Unpack[PoseOptions]
    ) -> Generator[tuple[Path, ImageAnswer], None, None]:
        """Find the people in each picture file of a folder and its subfolders, sorted by name.

        Raises:
            PoseError: as `estimate_many`.
        """
        return self._each(self._client.estimate_folder(folder, at_once=at_once, **options))

    def stream(
        self,
        frames: Iterable[Picture | Frame],
        *,
        window: int = 2 * AT_ONCE,
        fps: float | None = None,
        **options: Unpack[StreamOptions],
    ) -> Generator[FrameAnswer, None, None]:
        """Find the people in each frame of a video, as the frames arrive; read in another thread.

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
        return self._each(self._client.stream(frames, window=window, fps=fps, **options))

    def model(self) -> Model:
        """Return the student that answers, and the device and runtime it uses.

        Raises:
            PoseError: the request failed.
        """
        return self._loop.call(self._client.model)

    @property
    def _loop(self) -> BlockingPortal:
        if self._portal is None:
            raise RuntimeError("use the client in a `with` block")
        return self._portal

    def _each(self, things: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        loop = self._loop
        one_at_a_time = asyncio.Lock()

        async def following() -> T:
            async with one_at_a_time:
                return await anext(things, _END)

        async def close() -> None:
            async with one_at_a_time:
                await things.aclose()

        waiting: Future[T] | None = None
        try:
            while True:
                waiting = loop.start_task_soon(following)
                thing = waiting.result()
                if thing is _END:
                    return
                yield thing
        finally:
            if self._portal and waiting:
                waiting.cancel()
                loop.call(close)
