"""A camera too fast for its server, which can do a few of its 60 frames a second."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from distilpose.v1 import pose_pb2
from grpc_callers import stream_stub
from photos import photo
from servers import Server
from soaking import assert_no_harm, rss_mib, wait_until_idle

SECONDS = 300.0
FRAMES_A_SECOND = 60
WINDOW = 8
MEMORY_MIB = 40.0
"""Memory that may be held at the end beyond the first fifth's; frames sent and not answered would
be gigabytes."""
BUS = photo("bus.jpg")

pytestmark = pytest.mark.soak


class Camera:
    """Sends as it is read, at most 60 frames a second, and notes when."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self.sent_at: dict[int, float] = {}

    async def messages(self) -> AsyncIterator[pose_pb2.StreamPoseRequest]:
        """The options, then frames."""
        mode = pose_pb2.StreamMode.Value(f"STREAM_MODE_{self._mode}")
        yield pose_pb2.StreamPoseRequest(options=pose_pb2.StreamOptions(mode=mode, track=True))
        began = time.monotonic()
        for number in itertools.count():
            due = began + number / FRAMES_A_SECOND
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if time.monotonic() - began > SECONDS:
                return
            self.sent_at[number] = time.monotonic()
            frame = pose_pb2.Frame(frame_id=number, timestamp_ms=1000 * due, encoded=BUS)
            yield pose_pb2.StreamPoseRequest(frame=frame)


@pytest.mark.parametrize("mode", ["ORDERED", "LATEST"])
async def test_a_camera_too_fast_for_the_server_fills_no_memory(
    start_server: Any, mode: str
) -> None:
    server: Server = start_server(
        GRPC__MAX_CONNECTION_AGE_SECONDS="3600",
        STREAMS__STREAM_WINDOW=str(WINDOW),
        LIMITS__REQUEST_TIMEOUT_SECONDS="60",
    )
    camera, answers, held_mib = Camera(mode), [], 0.0
    ages_seconds = []
    began = time.monotonic()
    async with stream_stub(server.grpc_target) as stub:
        async for answer in stub.StreamPose(camera.messages()):
            now = time.monotonic()
            answers.append((answer.frame_id, tuple(answer.dropped_frame_ids)))
            ages_seconds.append(now - camera.sent_at[answer.frame_id])
            assert not answer.HasField("error"), answer.error
            if not held_mib and now - began > SECONDS / 5:
                held_mib = rss_mib(server)
    rate = len(answers) / (time.monotonic() - began)
    more_mib = rss_mib(server) - held_mib
    answered = sorted(number for one, dropped in answers for number in (one, *dropped))
    print(  # noqa: T201 - figures for whoever runs it
        f"{mode}: {len(camera.sent_at)} sent, {len(answers)} answered, {rate:.1f}/s, "
        f"oldest {max(ages_seconds):.2f} s, {held_mib:.0f} MiB and {more_mib:+.0f}"
    )
    assert answered == sorted(camera.sent_at)
    assert held_mib
    assert more_mib <= MEMORY_MIB
    if mode == "LATEST":
        assert len(camera.sent_at) > 0.8 * SECONDS * FRAMES_A_SECOND
        ages_seconds.sort()
        assert ages_seconds[int(0.99 * len(ages_seconds))] <= WINDOW / rate
    else:
        # Flow control: what was sent and not answered is bounded by the window and the sockets.
        assert len(camera.sent_at) < 0.8 * SECONDS * FRAMES_A_SECOND
    wait_until_idle(server)
    assert_no_harm(server)
