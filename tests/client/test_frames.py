"""Numbers and times of the frames that a caller iterates over."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from distilpose.client import Client, InvalidRequest
from distilpose.client.frames import FrameTimes, numbered
from distilpose.client.pictures import Frame
from distilpose.model.poses.pose import Pose
from distilpose.service.streams.tracking import Tracker
from moving_people import Clip
from servers import QUICK_START, start
from stub_grpc_service import StubGrpcService


class Arrivals:
    """A clock that shows the given seconds, one after the other."""

    def __init__(self, *seconds: float) -> None:
        self._seconds = iter(seconds)

    def __call__(self) -> float:
        return next(self._seconds)


async def times_ms(frames: Sequence[Any], times: FrameTimes) -> list[float]:
    return [frame.timestamp_ms async for frame in numbered(frames, times)]


async def test_ordered_frames_without_times_are_thirty_a_second() -> None:
    found = await times_ms([b"x"] * 31, FrameTimes(None, by_arrival=False))
    assert found[:4] == pytest.approx([0, 33.333, 66.667, 100], abs=0.001)
    assert found[30] == 1000


@pytest.mark.parametrize("by_arrival", [False, True])
async def test_the_rate_that_is_given_counts_in_both_modes(by_arrival: bool) -> None:
    found = await times_ms([b"x"] * 4, FrameTimes(12.5, by_arrival=by_arrival))
    assert found == [0, 80, 160, 240]


async def test_the_latest_frames_have_the_times_at_which_they_arrive() -> None:
    times = FrameTimes(None, by_arrival=True, now=Arrivals(7, 7.04, 7.1))
    assert await times_ms([b"x"] * 3, times) == pytest.approx([0, 40, 100])


async def test_frames_that_arrive_together_are_a_millisecond_apart() -> None:
    times = FrameTimes(None, by_arrival=True, now=Arrivals(7, 7, 7.0001, 7.5))
    assert await times_ms([b"x"] * 4, times) == pytest.approx([0, 1, 2, 500])


async def test_frames_keep_their_own_times_and_others_go_on_from_there() -> None:
    frames = [Frame(b"x", 5000.0), b"x", b"x", Frame(b"x", 9000.0), b"x"]
    found = await times_ms(frames, FrameTimes(25, by_arrival=False))
    assert found == [5000, 5040, 5080, 9000, 9040]


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_rate_is_a_positive_number(fps: float) -> None:
    with (
        StubGrpcService() as service,
        Client(service.address) as client,
        pytest.raises(InvalidRequest, match="fps: expected a positive number"),
    ):
        list(client.stream([b"x"], fps=fps))


@pytest.mark.parametrize(("fps", "step_ms"), [(None, 1000 / 30), (10, 100)])
def test_a_stream_sends_the_times_of_its_rate(fps: float | None, step_ms: float) -> None:
    with StubGrpcService() as service, Client(service.address) as client:
        found = [answer.timestamp_ms for answer in client.stream([b"x"] * 4, fps=fps, track=True)]
    assert found == pytest.approx([step_ms * number for number in range(4)])


def walkers(clip: Clip, index: int) -> list[Pose]:
    """The people of a picture as the service would find them."""
    return [
        Pose(
            box_xyxy_px=person.box_xyxy_px.astype(np.float32),
            box_score=0.9,
            raw_score=np.ones(17, np.float32),
            keypoints_xy_px=person.keypoints_xy_px.astype(np.float32),
            keypoint_score=np.where(person.is_seen, 0.9, 0.1).astype(np.float32),
            sigma_px=np.ones((17, 2), np.float32),
        )
        for person in clip.people(index)
    ]


WALKED: Final = range(0, 60, 3)
"""Pictures of a clip in which people walk past each other."""


def walked_by(clip: Clip) -> set[int]:
    return {person.number for index in WALKED for person in clip.people(index)}


async def test_people_who_walk_keep_their_numbers_without_times() -> None:
    clip, tracker = Clip(), Tracker()
    given = await times_ms([b"x"] * len(WALKED), FrameTimes(None, by_arrival=False))
    ids = {
        track_id
        for index, time_ms in zip(WALKED, given, strict=True)
        for track_id in tracker.update(walkers(clip, index), time_ms)
    }
    assert len(ids) == len(walked_by(clip))


@pytest.mark.slow
@pytest.mark.parametrize("detect_every", [1, 5])
def test_a_server_keeps_the_numbers_of_people_in_frames_without_times(
    tmp_path: Path, detect_every: int
) -> None:
    clip = Clip()
    server, log = start(tmp_path, 0, QUICK_START | {"LIMITS__REQUEST_TIMEOUT_SECONDS": "60"})
    try:
        server.wait_until_ready()
        with Client(f"grpc://{server.grpc_target}", timeout_seconds=300) as client:
            frames = [clip.picture(index) for index in range(60)]
            answers = list(client.stream(frames, track=True, detect_every=detect_every))
    finally:
        server.process.kill()
        server.process.wait()
        log.close()
    ids = {pose.track_id for answer in answers for pose in answer.poses}
    assert len(ids) <= len(walked_by(clip)) + 1  # one may be hidden for too long
