"""Callers that misbehave. Run as `python bad_callers.py HOST PORT GRPC_TARGET CALLERS SECONDS`.

A separate process, so that they do not slow down the good callers of a test. At the end it prints
the number of attempts of each kind as JSON.
"""

import asyncio
import contextlib
import io
import itertools
import json
import socket
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlencode

import grpc
import numpy as np
from PIL import Image

from distilpose.v1 import pose_pb2
from odd_images import png_chunk
from photos import photo
from soaking import post

BUS: Final = photo("bus.jpg")
RANDOM: Final = np.random.default_rng()
PAUSE_SECONDS: Final = (6.0, 24.0)
"""Pause between two calls of one caller, so that two hundred leave capacity for the good ones."""
HOLD_SECONDS: Final = 4.0
PIECE: Final = bytes(2**20)
HUNDRED_MEGABYTES: Final = 100 * 10**6
RESET: Final = struct.pack("ii", 1, 0)
"""Value of SO_LINGER with which closing a socket sends a reset."""
ESTIMATE_POSE: Final = "/distilpose.v1.PoseService/EstimatePose"
STREAM_POSE: Final = "/distilpose.v1.PoseService/StreamPose"
LARGE_SIDE_PX: Final = 7000
MOST_PEOPLE: Final = 50
EXPECTED: Final = (OSError, EOFError, TimeoutError, asyncio.CancelledError, grpc.RpcError)
"""Errors that such behaviour causes for its caller."""


def bomb(side_px: int = 16_000) -> bytes:
    """A whole PNG of less than a megabyte whose pixels are 768 MB."""
    packer = zlib.compressobj(9)
    row = bytes(1 + 3 * side_px)
    pixels = b"".join(packer.compress(row) for _ in range(side_px)) + packer.flush()
    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    chunks = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", pixels), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def large_picture(name: str) -> bytes:
    """A file of some kilobytes that announces 49 megapixels, within the limits, and holds them."""
    written = io.BytesIO()
    Image.new("RGB", (LARGE_SIDE_PX, LARGE_SIDE_PX), (90, 60, 30)).save(written, name)
    return written.getvalue()


class Target(NamedTuple):
    """The server's addresses, and what to send."""

    host: str
    port: int
    bomb: bytes
    large_avif: bytes
    large_jpeg: bytes
    send_bytes: "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"
    open_stream: "grpc.aio.StreamStreamMultiCallable[bytes, bytes]"


class Address(Protocol):
    """The address of HTTP."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


@contextlib.asynccontextmanager
async def connected(
    target: Address, *, receive_bytes: int = 0
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection, closed at the end; its receive buffer can be made tiny."""
    own = socket.socket()
    own.setblocking(False)
    if receive_bytes:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    await asyncio.get_running_loop().sock_connect(own, (target.host, target.port))
    reader, writer = await asyncio.open_connection(sock=own, limit=1024)
    try:
        yield reader, writer
    finally:
        writer.close()


async def leaves_early(target: Target) -> None:
    """Send a request, and close the socket before the answer."""
    async with connected(target) as (_, writer):
        writer.write(post(BUS))
        await asyncio.sleep(RANDOM.uniform(0, 0.3))


async def cancels_its_call(target: Target) -> None:
    """Send a request over gRPC, and cancel it before the answer."""
    message = pose_pb2.EstimatePoseRequest(images=[pose_pb2.Image(encoded=BUS)] * 2)
    call = target.send_bytes(message.SerializeToString())
    await asyncio.sleep(RANDOM.uniform(0, 0.3))
    call.cancel()


async def sends_rubbish(target: Target) -> None:
    """Send noise as a photo, as a multipart body, as JSON, and as HTTP."""
    noise = RANDOM.bytes(50_000)
    rubbish = [
        post(noise),
        post(BUS[:60_000] + noise),
        post(noise, content_type="multipart/form-data; boundary=x"),
        post(b'{"images": [{"content": "' + noise.hex().encode(), content_type="application/json"),
        noise,
    ]
    async with connected(target) as (reader, writer):
        writer.write(rubbish[RANDOM.integers(len(rubbish))])
        async with asyncio.timeout(HOLD_SECONDS):
            await reader.read()


async def sends_rubbish_messages(target: Target) -> None:
    """Send noise over gRPC."""
    await target.send_bytes(RANDOM.bytes(50_000))


async def sends_100_mb(target: Target) -> None:
    """Send 100 MB, with or without the length in the headers, as long as the server allows it."""
    chunked = bool(RANDOM.integers(2))
    head = post(b"", content_length=str(HUNDRED_MEGABYTES))
    if chunked:
        head = head.replace(b"content-length: 100000000", b"transfer-encoding: chunked")
    async with connected(target) as (_, writer):
        writer.write(head)
        for _ in range(HUNDRED_MEGABYTES // len(PIECE)):
            writer.write(b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if chunked else PIECE)
            await writer.drain()


async def stops_reading(target: Target) -> None:
    """Request a picture larger than the socket buffers, and read none of it."""
    async with connected(target, receive_bytes=2048) as (_, writer):
        writer.write(post(BUS, path="/v1/pose?whole_image=true", accept="image/jpeg"))
        await asyncio.sleep(HOLD_SECONDS)


async def stops_sending(target: Target) -> None:
    """Send half a photo and wait."""
    async with connected(target) as (_, writer):
        writer.write(post(BUS[: len(BUS) // 2], content_length=str(len(BUS))))
        await asyncio.sleep(HOLD_SECONDS)


async def kills_its_socket(target: Target) -> None:
    """Reset the connection in the middle of a body."""
    async with connected(target) as (_, writer):
        own = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.write(post(BUS[: RANDOM.integers(len(BUS))], content_length=str(len(BUS))))
        await asyncio.sleep(RANDOM.uniform(0, 0.1))
        writer.transport.abort()


async def sends_a_bomb(target: Target) -> None:
    """Send a small file with many pixels."""
    async with connected(target) as (reader, writer):
        writer.write(post(target.bomb))
        async with asyncio.timeout(HOLD_SECONDS):
            await reader.read()


async def sends_large_pictures(target: Target) -> None:
    """Send a small file whose pixels take a second and half a gigabyte to decode."""
    async with connected(target) as (reader, writer):
        writer.write(post(target.large_avif))
        async with asyncio.timeout(HOLD_SECONDS):
            await reader.read()


async def asks_for_many_crops(target: Target) -> None:
    """Send a large picture with as many boxes as are allowed, each to be looked at twice."""
    corner = LARGE_SIDE_PX - 1
    boxes = [[[index, 0, corner, corner] for index in range(MOST_PEOPLE)]]
    query = urlencode({"boxes": json.dumps(boxes), "flip_test": "true"})
    async with connected(target) as (reader, writer):
        writer.write(post(target.large_jpeg, path=f"/v1/pose?{query}"))
        async with asyncio.timeout(HOLD_SECONDS):
            await reader.read()


async def reads_no_large_drawing(target: Target) -> None:
    """Ask for a drawing of a hundred megabytes, and read none of it."""
    async with connected(target, receive_bytes=2048) as (_, writer):
        path = "/v1/pose?whole_image=true"
        writer.write(post(target.large_jpeg, path=path, accept="image/png"))
        await asyncio.sleep(HOLD_SECONDS)


async def sends_wrong_boxes(target: Target) -> None:
    """Send thousands of wrong boxes as JSON."""
    body = b'{"options": {"boxes": [' + b'[["a"]],' * 100_000 + b"[]]}}"
    async with connected(target) as (reader, writer):
        writer.write(post(body, content_type="application/json"))
        async with asyncio.timeout(HOLD_SECONDS):
            await reader.read()


async def sends_31_mib_messages(target: Target) -> None:
    """Send a message over gRPC that is as large as is allowed."""
    await target.send_bytes(bytes(31 * len(PIECE)))


async def opens_a_silent_stream(target: Target) -> None:
    """Open a stream over gRPC, and say nothing."""

    async def silence() -> AsyncIterator[bytes]:
        await asyncio.sleep(2 * HOLD_SECONDS)
        yield b""

    call = target.open_stream(silence())
    await asyncio.sleep(HOLD_SECONDS)
    call.cancel()


async def says_nothing(target: Target) -> None:
    """Open a connection, and say nothing."""
    async with connected(target):
        await asyncio.sleep(HOLD_SECONDS)


KINDS: Final[tuple[Callable[[Target], Awaitable[None]], ...]] = (
    leaves_early,
    cancels_its_call,
    sends_rubbish,
    sends_rubbish_messages,
    sends_100_mb,
    sends_a_bomb,
    stops_reading,
    stops_sending,
    kills_its_socket,
    sends_large_pictures,
    asks_for_many_crops,
    reads_no_large_drawing,
    sends_wrong_boxes,
    sends_31_mib_messages,
    opens_a_silent_stream,
    says_nothing,
)


async def misbehave(target: Target, callers: int, seconds: float) -> Counter[str]:
    """Run that many callers, of all kinds, until the time is over."""
    done: Counter[str] = Counter()
    ends_at = time.monotonic() + seconds

    async def caller(kind: Callable[[Target], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(RANDOM.uniform(*PAUSE_SECONDS))
            if time.monotonic() > ends_at:
                return
            with contextlib.suppress(*EXPECTED):
                await kind(target)
            done[kind.__name__] += 1

    kinds = itertools.islice(itertools.cycle(KINDS), callers)
    await asyncio.gather(*(caller(kind) for kind in kinds))
    return done


async def main(host: str, port: str, grpc_target: str, callers: str, seconds: str) -> None:
    """Misbehave towards a server for that many seconds, with that many callers."""
    async with grpc.aio.insecure_channel(grpc_target) as channel:
        target = Target(
            host,
            int(port),
            bomb(),
            large_picture("avif"),
            large_picture("jpeg"),
            channel.unary_unary(ESTIMATE_POSE, bytes, bytes),
            channel.stream_stream(STREAM_POSE, bytes, bytes),
        )
        print("ready", flush=True)  # noqa: T201 - the test waits for it
        done = await misbehave(target, int(callers), float(seconds))
    print(json.dumps(done))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
