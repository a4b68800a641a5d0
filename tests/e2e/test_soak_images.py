"""One bomb, one lone request, many different images."""

import asyncio
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

import bad_callers
from distilpose.v1 import pose_pb2
from distilpose.v1.pose_pb2_grpc import PoseServiceStub
from grpc_callers import frame, opening
from photos import photo
from servers import Server
from soaking import (
    FAST,
    PATIENT,
    ask,
    assert_no_harm,
    assert_same_poses,
    forget_peak,
    peak_mib,
    rss_mib,
    samples,
    variants,
    wait_until_idle,
)

TOGETHER_SECONDS = 60
SHAPES_SECONDS = 180
PHOTO = Image.open(io.BytesIO(photo("bus.jpg")))
PNG = {"content-type": "image/png"}

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def bomb() -> bytes:
    return bad_callers.bomb()


def by_rest(server: Server, **request: Any) -> None:
    with server.client() as client:
        answer = client.post("/v1/pose", **request)
    assert (answer.status_code, answer.json()["type"]) == (413, "too-large"), answer.text


def by_call(server: Server, bomb: bytes) -> None:
    with grpc.insecure_channel(server.grpc_target) as channel:
        message = pose_pb2.EstimatePoseRequest(images=[pose_pb2.Image(encoded=bomb)])
        with pytest.raises(grpc.RpcError) as refused:
            PoseServiceStub(channel).EstimatePose(message)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def by_stream(server: Server, bomb: bytes) -> None:
    with grpc.insecure_channel(server.grpc_target) as channel:
        [answer] = PoseServiceStub(channel).StreamPose(iter([opening(), frame(1, bomb)]))
    assert answer.error.type == "too-large"


PATHS: dict[str, Callable[[Server, bytes], None]] = {
    "body": lambda server, bomb: by_rest(server, content=bomb, headers=PNG),
    "file": lambda server, bomb: by_rest(server, files=[("images", ("b.png", bomb))]),
    "call": by_call,
    "frame": by_stream,
}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
@pytest.mark.parametrize("path", PATHS)
def test_a_png_of_768_mb_raises_memory_by_less_than_50_mb(
    server: Server, bomb: bytes, path: str
) -> None:
    assert len(bomb) < 10**6
    wait_until_idle(server)
    held_mib = rss_mib(server)
    forget_peak(server)
    PATHS[path](server, bomb)
    assert peak_mib(server) - held_mib < 50


def test_a_lone_request_waits_less_than_a_millisecond(start_server: Any) -> None:
    server: Server = start_server(**FAST)
    asked = 40
    with server.client() as client:
        body = photo("bus.jpg")
        headers = {"content-type": "image/jpeg"}
        client.post("/v1/pose", content=body, headers=headers)
        before = samples(server)
        for _ in range(asked):
            assert client.post("/v1/pose", content=body, headers=headers).status_code == 200
        after = samples(server)
    for stage in ("detect", "pose"):
        name = f'queue_wait_seconds_sum{{stage="{stage}"}}'
        mean_seconds = (after[name] - before[name]) / asked
        assert mean_seconds < 0.001, stage


async def test_each_of_64_images_at_once_gets_its_own_answer(start_server: Any) -> None:
    server: Server = start_server(**FAST, **PATIENT, BATCHING__QUEUE_CAPACITY="64")
    photos = variants(PHOTO, 64, longest_px=600)
    solo = [(await ask(server, each)).poses for each in photos]
    assert sum(map(len, solo)) > 64
    ends_at = time.monotonic() + TOGETHER_SECONDS

    async def keep_asking(number: int) -> int:
        asked = 0
        while time.monotonic() < ends_at or not asked:
            answer = await ask(server, photos[number])
            assert answer.status == 200, answer.body
            assert_same_poses(answer.poses, solo[number])
            asked += 1
        return asked

    asked = await asyncio.gather(*map(keep_asking, range(len(photos))))
    print(f"{sum(asked)} answers, each the solo one")  # noqa: T201 - figures for whoever runs it
    assert_no_harm(server)


async def test_memory_does_not_grow_with_the_number_of_shapes(start_server: Any) -> None:
    server: Server = start_server(**FAST)
    random = np.random.default_rng(3)
    sizes_wh = random.integers(48, 900, (500, 2)).tolist()
    ends_at = time.monotonic() + SHAPES_SECONDS
    asked, held_mib = 0, []

    async def keep_asking() -> None:
        nonlocal asked
        while time.monotonic() < ends_at:
            width, height = sizes_wh[asked % len(sizes_wh)]
            asked += 1
            file = io.BytesIO()
            await asyncio.to_thread(PHOTO.resize((width, height)).save, file, "jpeg")
            answer = await ask(server, file.getvalue(), "/v1/pose?max_people=1")
            assert answer.status == 200, answer.body
            held_mib.append(rss_mib(server))

    await asyncio.gather(*(keep_asking() for _ in range(4)))
    steady = np.array(held_mib[len(held_mib) // 10 :])
    slope_mib, _ = np.polyfit(np.arange(len(steady)), steady, 1)
    print(  # noqa: T201 - figures for whoever runs it
        f"{asked} images of {len(sizes_wh)} sizes: {steady[0]:.0f} -> {steady[-1]:.0f} MiB, "
        f"{slope_mib * 1000:.2f} MiB for each 1000"
    )
    assert slope_mib * len(steady) < 20
    assert_no_harm(server)
