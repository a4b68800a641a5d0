"""Callers that want memory, of all kinds at once.

Run as `python hungry_callers.py HOST PORT GRPC_TARGET KEY SECONDS [KIND ...]`, as a separate
process, so that they do not slow down the polite callers of a test. Without kinds all of them run.
At the end it prints the number of attempts of each kind as JSON.
"""

import asyncio
import contextlib
import functools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, NamedTuple

import grpc
import numpy as np
from PIL import Image

import coded_pictures
from bad_callers import ESTIMATE_POSE, EXPECTED, LARGE_SIDE_PX, STREAM_POSE, connected
from distilpose.v1 import pose_pb2
from grpc_callers import frame, opening
from half_messages import half_call
from odd_images import encode
from soaking import post

MEBIBYTE: Final = 2**20
LARGE: Final = bytes(31 * MEBIBYTE)
"""Almost as many bytes as a body or a message may have."""
HOLD_SECONDS: Final = 8.0
PAUSE_SECONDS: Final = (1.0, 8.0)
"""Between two calls of one caller, so that sending leaves processor time for the service."""
LARGE_WH: Final = (LARGE_SIDE_PX, LARGE_SIDE_PX)
GET_MODEL: Final = "/distilpose.v1.PoseService/GetModel"
CHECK_HEALTH: Final = "/grpc.health.v1.Health/Check"
WATCH_HEALTH: Final = "/grpc.health.v1.Health/Watch"
REFLECT: Final = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
METHODS: Final = (ESTIMATE_POSE, STREAM_POSE, GET_MODEL, CHECK_HEALTH, WATCH_HEALTH, REFLECT)


class Target(NamedTuple):
    """The server's addresses, and a key that it accepts."""

    host: str
    port: int
    grpc: str
    key: str

    def post(self, body: bytes, path: str = "/v1/pose", **headers: str) -> bytes:
        """A request with the key."""
        return post(body, path, x_api_key=self.key, **headers)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The key for gRPC."""
        return (("x-api-key", self.key),)


def flat(name: str, mode: str = "RGB", **options: object) -> bytes:
    """A file of some kilobytes with 49 megapixels, within the limits."""
    return encode(Image.new(mode, LARGE_WH), name, **options)


def fine_grey_png() -> bytes:
    """A PNG of 16 bits a sample."""
    return encode(Image.fromarray(np.zeros(LARGE_WH[::-1], np.uint16)), "png")


def tiled_tiff() -> bytes:
    """A TIFF of one tile, with alpha."""
    side_px = 2048
    pixels = np.zeros((side_px, side_px, 4), np.uint16)
    return coded_pictures.tiff(pixels, {322: side_px, 323: side_px, 338: 2})


def noisy_jpeg() -> bytes:
    """A JPEG of 16 megapixels, whose drawing as a PNG has tens of megabytes."""
    small = np.random.default_rng(1).integers(0, 256, (500, 500, 3), np.uint8)
    return encode(Image.fromarray(small).resize((4000, 4000)), "jpeg", quality=60)


PICTURES: Final[dict[str, Callable[[], bytes]]] = {
    "WebP": lambda: flat("webp", "RGBA", method=0),
    "CMYK": lambda: flat("jpeg", "CMYK"),
    "AVIF": lambda: flat("avif", speed=10),
    "fax": lambda: flat("tiff", "1", compression="group4"),
    "16-bit PNG": fine_grey_png,
    "tiled TIFF": tiled_tiff,
    "progressive JPEG": lambda: flat("jpeg", progressive=True),
}


@functools.cache
def picture(name: str) -> bytes:
    """The file of that name, made once."""
    return PICTURES[name]()


noisy = functools.cache(noisy_jpeg)


async def exchange(target: Target, *pieces: bytes) -> None:
    """Send the pieces, a second apart, and read the answer."""
    async with connected(target) as (reader, writer):
        for number, piece in enumerate(pieces):
            await asyncio.sleep(min(number, 1))
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(HOLD_SECONDS):
            while await reader.read(MEBIBYTE):
                pass


async def says_nothing(target: Target) -> None:
    """Open a connection, and say nothing."""
    async with connected(target):
        await asyncio.sleep(HOLD_SECONDS)


async def sends_its_head_slowly(target: Target) -> None:
    """Send a head of almost 64 KiB in pieces."""
    head = target.post(b"", many="x" * 60_000)
    await exchange(target, *(head[at : at + 8_000] for at in range(0, 56_000, 8_000)))


async def sends_a_large_body_to_nowhere(target: Target) -> None:
    """Send 31 MiB to a path that nobody serves."""
    await exchange(target, target.post(LARGE, "/nowhere"))


async def sends_a_large_body_without_a_key(target: Target) -> None:
    """Send 31 MiB without a key."""
    await exchange(target, post(LARGE))


async def sends_a_large_body_and_stops(target: Target) -> None:
    """Send all but the last byte of 31 MiB, and wait."""
    await exchange(target, target.post(LARGE)[:-1])


async def sends_a_large_body(target: Target) -> None:
    """Send 31 MiB that are no picture."""
    await exchange(target, target.post(LARGE))


async def sends_a_large_form(target: Target) -> None:
    """Send 31 MiB as a file of a form."""
    start = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
    body = start + LARGE + b"\r\n--x--"
    await exchange(target, target.post(body, content_type="multipart/form-data; boundary=x"))


async def sends_large_json(target: Target) -> None:
    """Send 30 MiB of base64 as JSON."""
    body = b'{"images": [{"content": "' + b"AAAA" * (30 * MEBIBYTE // 4) + b'"}]}'
    await exchange(target, target.post(body, content_type="application/json"))


async def sends_large_pictures(target: Target) -> None:
    """Send a small file whose decoder needs a gigabyte."""
    await exchange(target, target.post(picture(random.choice(list(PICTURES)))))  # noqa: S311


async def wants_a_large_drawing(target: Target) -> None:
    """Ask for a drawing of 49 megapixels."""
    path, name = "/v1/pose?whole_image=true", random.choice(["WebP", "fax"])  # noqa: S311
    await exchange(target, target.post(picture(name), path, accept="image/png"))


async def reads_no_drawing(target: Target) -> None:
    """Ask for a drawing of tens of megabytes, and read none of it."""
    async with connected(target, receive_bytes=2048) as (_, writer):
        path = "/v1/pose?whole_image=true"
        writer.write(target.post(noisy(), path, accept="image/png"))
        await asyncio.sleep(2 * HOLD_SECONDS)


async def calls(target: Target, method: str, message: bytes) -> None:
    """Make one call on a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(target.grpc, options) as channel:
        call = channel.unary_unary(method, bytes, bytes)
        await call(message, metadata=target.metadata, timeout=HOLD_SECONDS)


async def streams(target: Target, method: str, messages: AsyncIterator[bytes]) -> None:
    """Send messages on a connection of its own, and read no answer."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(target.grpc, options) as channel:
        call = channel.stream_stream(method, bytes, bytes)(
            messages, metadata=target.metadata, timeout=HOLD_SECONDS
        )
        await call.wait_for_connection()
        await call.code()


async def stops_in_a_message(target: Target) -> None:
    """Send all but the last byte of 31 MiB, by any method, and wait."""
    async with half_call(target.grpc) as call:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * HOLD_SECONDS):
                await call.send(random.choice(METHODS), LARGE, key=target.key)  # noqa: S311


async def calls_with_31_mib(target: Target) -> None:
    """Send a message as large as is allowed."""
    await calls(target, ESTIMATE_POSE, LARGE)


async def calls_with_an_image_of_31_mib(target: Target) -> None:
    """Send an image as large as is allowed, which has to be parsed."""
    image = pose_pb2.Image(encoded=LARGE[:-100])
    await calls(target, ESTIMATE_POSE, _serialized(image))


def _serialized(image: pose_pb2.Image) -> bytes:
    return pose_pb2.EstimatePoseRequest(images=[image]).SerializeToString()


async def asks_for_the_model_with_31_mib(target: Target) -> None:
    """Send as much where nothing is expected."""
    await calls(target, GET_MODEL, LARGE)


async def asks_for_health_with_31_mib(target: Target) -> None:
    """Send as much where no key is needed."""
    await calls(target, CHECK_HEALTH, LARGE)


async def reflects_on_31_mib(target: Target) -> None:
    """Send as much to the description of the API."""

    async def messages() -> AsyncIterator[bytes]:
        yield LARGE

    await streams(target, REFLECT, messages())


async def opens_a_stream_with_31_mib(target: Target) -> None:
    """Begin a stream with a message as large as is allowed."""

    async def messages() -> AsyncIterator[bytes]:
        yield LARGE

    await streams(target, STREAM_POSE, messages())


async def streams_frames_of_31_mib(target: Target) -> None:
    """Send large frames, and read no answer."""

    async def messages() -> AsyncIterator[bytes]:
        yield opening().SerializeToString()
        for number in range(100):
            yield frame(number, LARGE[:-100]).SerializeToString()

    await streams(target, STREAM_POSE, messages())


async def streams_large_pictures(target: Target) -> None:
    """Send small frames whose decoders need a gigabyte."""

    async def messages() -> AsyncIterator[bytes]:
        yield opening().SerializeToString()
        for number in range(100):
            yield frame(number, picture("AVIF")).SerializeToString()

    await streams(target, STREAM_POSE, messages())


KINDS: Final[dict[Callable[[Target], Awaitable[None]], int]] = {
    says_nothing: 40,
    sends_its_head_slowly: 40,
    sends_a_large_body_to_nowhere: 8,
    sends_a_large_body_without_a_key: 8,
    sends_a_large_body_and_stops: 24,
    sends_a_large_body: 8,
    sends_a_large_form: 8,
    sends_large_json: 8,
    sends_large_pictures: 8,
    wants_a_large_drawing: 4,
    reads_no_drawing: 12,
    stops_in_a_message: 48,
    calls_with_31_mib: 32,
    calls_with_an_image_of_31_mib: 8,
    asks_for_the_model_with_31_mib: 8,
    asks_for_health_with_31_mib: 8,
    reflects_on_31_mib: 8,
    opens_a_stream_with_31_mib: 8,
    streams_frames_of_31_mib: 24,
    streams_large_pictures: 4,
}
"""The number of callers of each kind."""


async def want_memory(target: Target, seconds: float, names: list[str]) -> Counter[str]:
    """Run the callers of these kinds until the time is over."""
    done: Counter[str] = Counter()
    ends_at = time.monotonic() + seconds

    async def caller(kind: Callable[[Target], Awaitable[None]]) -> None:
        while time.monotonic() < ends_at:
            await asyncio.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311
            with contextlib.suppress(*EXPECTED):
                await kind(target)
            done[kind.__name__] += 1

    kinds = [kind for kind in KINDS if not names or kind.__name__ in names]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds + HOLD_SECONDS):
            await asyncio.gather(*(caller(kind) for kind in kinds for _ in range(KINDS[kind])))
    return done


def main(host: str, port: str, grpc_target: str, key: str, seconds: str, *names: str) -> None:
    """Make the files, and then want memory for that many seconds."""
    for name in PICTURES:
        picture(name)
    noisy()
    print("ready", flush=True)  # noqa: T201 - the test waits for it
    target = Target(host, int(port), grpc_target, key)
    done = asyncio.run(want_memory(target, float(seconds), list(names)))
    print(json.dumps(done))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(*sys.argv[1:])
