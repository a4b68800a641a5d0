"""The event loop never computes for more than 10 ms at a stretch, whatever callers send."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from distilpose.v1 import pose_pb2
from distilpose.v1.pose_pb2_grpc import PoseServiceStub
from odd_images import encode, noise
from photos import photo
from servers import Server
from soaking import assert_no_harm
from watched_loops import start_watched

SECONDS = 45
"""Of all kinds of calls together."""
LONGEST_MS = 10.0
BUS = photo("bus.jpg")
SMALL = encode(np.zeros((64, 64, 3), np.uint8), "jpeg")
JPEG = {"content-type": "image/jpeg"}
LARGE = encode(noise(1440, 1440), "bmp")
"""As large as a phone's photos or a raw frame of 1920x1080, 6 MB."""
LARGEST = encode(noise(3200, 3200), "bmp")
"""Almost as large as a body may be, 30 MB."""
MANY_BOXES = json.dumps([[[8.0 * i, 0, 8.0 * i + 90, 300] for i in range(50)]])

pytestmark = pytest.mark.soak

Call = Callable[[httpx.Client, PoseServiceStub], object]


def files(*contents: bytes) -> Any:
    return [("images", (f"{i}.jpg", data, "image/jpeg")) for i, data in enumerate(contents)]


def in_json(*contents: bytes) -> Any:
    return {"images": [{"content": base64.b64encode(data).decode()} for data in contents]}


def by_grpc(stub: PoseServiceStub, *contents: bytes) -> object:
    images = [pose_pb2.Image(encoded=data) for data in contents]
    return stub.EstimatePose(pose_pb2.EstimatePoseRequest(images=images))


CALLS: dict[str, Call] = {
    "a photo": lambda client, _: client.post("/v1/pose", content=BUS, headers=JPEG),
    "a drawn photo": lambda client, _: client.post(
        "/v1/pose", content=BUS, headers={**JPEG, "accept": "image/png"}
    ),
    "32 files": lambda client, _: client.post("/v1/pose", files=files(*[SMALL] * 32)),
    "32 images in JSON": lambda client, _: client.post("/v1/pose", json=in_json(*[SMALL] * 32)),
    "50 people": lambda client, _: client.post(
        "/v1/pose", content=BUS, headers=JPEG, params={"boxes": MANY_BOXES}
    ),
    "6 MB": lambda client, _: client.post("/v1/pose", content=LARGE, headers=JPEG),
    "6 MB as a file": lambda client, _: client.post("/v1/pose", files=files(LARGE)),
    "6 MB in JSON": lambda client, _: client.post("/v1/pose", json=in_json(LARGE)),
    "30 MB": lambda client, _: client.post("/v1/pose", content=LARGEST, headers=JPEG),
    "30 MB as a file": lambda client, _: client.post("/v1/pose", files=files(LARGEST)),
    "20 MB in JSON": lambda client, _: client.post("/v1/pose", json=in_json(LARGEST[: 20 * 10**6])),
    "a photo by gRPC": lambda _, stub: by_grpc(stub, BUS),
    "32 images by gRPC": lambda _, stub: by_grpc(stub, *[SMALL] * 32),
    "6 MB by gRPC": lambda _, stub: by_grpc(stub, LARGE),
    "30 MB by gRPC": lambda _, stub: by_grpc(stub, LARGEST),
    "metrics": lambda client, _: client.get("/metrics"),
    "the API's description": lambda client, _: client.get("/openapi.json"),
    "the API's page": lambda client, _: client.get("/docs"),
    "the model": lambda client, _: client.get("/v1/models"),
}


@contextmanager
def busy_device(server: Server) -> Iterator[None]:
    """Photos on their way all the time."""
    over = threading.Event()

    def keep_asking() -> None:
        with server.client() as client:
            while not over.is_set():
                client.post("/v1/pose", content=BUS, headers=JPEG)

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(keep_asking) for _ in range(2)]
        yield
        over.set()
        for each in asking:
            each.result()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loop") / "longest_ms"


@pytest.fixture(scope="module")
def watched(start_server: Any, report: Path) -> Server:
    """A server whose loop is watched."""
    return start_watched(start_server, "time_the_loop.py", TEST_LOOP_TIMES=report)


@pytest.mark.parametrize("name", list(CALLS))
def test_the_loop_computes_no_longer_than_10_ms_at_a_stretch(
    watched: Server, report: Path, name: str
) -> None:
    with watched.client() as client, grpc.insecure_channel(watched.grpc_target) as channel:
        stub = PoseServiceStub(channel)
        with busy_device(watched):
            report.unlink(missing_ok=True)
            ends_at = time.monotonic() + SECONDS / len(CALLS)
            while time.monotonic() < ends_at:
                CALLS[name](client, stub)
    longest_ms = float(report.read_text())
    print(f"{name}: {longest_ms:.1f} ms")  # noqa: T201 - the figure for whoever runs it
    assert_no_harm(watched)
    assert longest_ms <= LONGEST_MS
