"""A cheap caller for soak tests, and a server's gauges, memory and descriptors."""

import asyncio
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil  # type: ignore[import-untyped]  # no py.typed there
from PIL import Image

from odd_images import encode
from servers import Server

Json = dict[str, Any]
MEBIBYTE = 2**20
FAST = {"DETECTOR__IMAGE_SIZE": "320"}
"""Settings with which a small machine answers fast enough for a soak test."""
PATIENT = {"LIMITS__REQUEST_TIMEOUT_SECONDS": "300"}
"""Settings with a deadline too far away to matter."""
CROP_PIXEL = 1.25 / 192
"""A crop pixel as a share of the box's width, if the box is as wide as its crop."""
NEAR_THE_THRESHOLD = 0.001
"""A box this close to the minimum score may fall on either side of it."""


class Answer(NamedTuple):
    """A caller's answer, and the time it took."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Json:
        """The parsed body."""
        document: Json = json.loads(self.body)
        return document

    @property
    def poses(self) -> list[Json]:
        """The poses of the first image."""
        found: list[Json] = self.json["images"][0]["poses"]
        return found


def address(server: Server) -> tuple[str, int]:
    """Return host and port of HTTP."""
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


async def ask(server: Server, photo: bytes, path: str = "/v1/pose", **headers: str) -> Answer:
    """Send a photo on a new connection; cancelling closes the socket."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(*address(server))
    try:
        writer.write(post(photo, path, **headers))
        raw = await reader.read()
    finally:
        writer.close()
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    given = {name.lower(): value for name, value in pairs}
    return Answer(int(first.split()[1]), given, body, time.perf_counter() - began)


def post(body: bytes, path: str = "/v1/pose", **headers: str) -> bytes:
    """An HTTP request with a photo; `headers` override the default ones."""
    fields = {
        "host": "test",
        "connection": "close",
        "content-type": "image/jpeg",
        "content-length": str(len(body)),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def start_callers(script: str, *arguments: object) -> "subprocess.Popen[str]":
    """Start callers in a process of their own; they are ready when this returns."""
    process = subprocess.Popen(
        [sys.executable, script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=str(Path(script).parent),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def samples(server: Server, **headers: str) -> dict[str, float]:
    """Every series of a scrape, named as in `queue_items{stage="pose"}`."""
    with server.client(headers=headers) as client:
        lines = client.get("/metrics").text.splitlines()
    named = (line.rpartition(" ") for line in lines if line.startswith("distilpose_"))
    return {name.removeprefix("distilpose_"): float(value) for name, _, value in named}


def rss_mib(server: Server) -> float:
    """The memory of the server's process."""
    held: int = psutil.Process(server.process.pid).memory_info().rss
    return held / MEBIBYTE


def descriptors(server: Server) -> int:
    """Files and sockets that the server's process has open."""
    count: int = psutil.Process(server.process.pid).num_fds()
    return count


def forget_peak(server: Server) -> None:
    """Reset the peak of memory to its current value. Linux only."""
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


def peak_mib(server: Server) -> float:
    """The peak memory of the server's process since the last reset."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def busy_gauges(server: Server, **headers: str) -> dict[str, float]:
    """Gauges of queues and of work in flight that are not zero, apart from this scrape."""
    gauges = ("queue_items", "queue_oldest_seconds", "requests_in_flight", "streams_active")
    found = {
        name: value for name, value in samples(server, **headers).items() if name.startswith(gauges)
    }
    found['requests_in_flight{transport="rest"}'] -= 1
    return {name: value for name, value in found.items() if value}


def wait_until_idle(server: Server, seconds: float = 20, **headers: str) -> None:
    """Return when all those gauges are zero."""
    limit = time.monotonic() + seconds
    while busy := busy_gauges(server, **headers):
        assert time.monotonic() < limit, busy
        time.sleep(0.1)


def assert_no_harm(server: Server, *, since_byte: int = 0) -> None:
    """Check that nothing failed in the server since that byte of its log, and that it is ready."""
    assert server.process.poll() is None, server.log.read_text()
    with server.client() as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200
    written, _, _ = server.log.read_bytes()[since_byte:].rpartition(b"\n")
    entries = [json.loads(line) for line in written.splitlines() if line.startswith(b"{")]
    harm = [entry for entry in entries if entry["level"] in ("error", "critical")]
    assert not harm, harm


def assert_same_poses(some: list[Json], others: list[Json], *, least_score: float = 0.25) -> None:
    """Check that both are answers for the same image in float32, regardless of their batches."""
    surely = least_score + NEAR_THE_THRESHOLD
    pairs = itertools.zip_longest(
        *([p for p in a if p["box_score"] > surely] for a in (some, others))
    )
    for one, other in pairs:
        assert one is not None
        assert other is not None
        x1, y1, x2, y2 = one["box"]
        crop_width_px = max(x2 - x1, (y2 - y1) * 0.75)
        # 0.02 of the detector's pixels, which may be more of the photo's; plus the rounding.
        np.testing.assert_allclose(one["box"], other["box"], atol=0.1)
        within_px = 0.02 * crop_width_px * CROP_PIXEL + 0.06
        np.testing.assert_allclose(_xy(one), _xy(other), atol=within_px)


def _xy(pose: Json) -> list[list[float]]:
    return [[keypoint["x"], keypoint["y"]] for keypoint in pose["keypoints"]]


def variants(photo: Image.Image, count: int, *, longest_px: int) -> list[bytes]:
    """That many JPEGs of parts of the photo, each with another position and size."""
    random = np.random.default_rng(5)
    files = []
    for _ in range(count):
        left, top = (int(random.integers(0, side // 4)) for side in photo.size)
        width, height = (int(side * random.uniform(0.6, 0.75)) for side in photo.size)
        part = photo.crop((left, top, left + width, top + height))
        part.thumbnail((int(random.integers(longest_px // 4, longest_px)),) * 2)
        files.append(encode(part, "jpeg", quality=90))
    return files
