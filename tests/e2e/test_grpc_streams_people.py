"""`StreamPose` with tracking, followed boxes, smoothing, resumption and `latest`, over a socket."""

import asyncio
import signal
from typing import Any

import cv2
import grpc
import numpy as np
import pytest

from distilpose.v1 import pose_pb2
from grpc_callers import LAST_FRAME_ID, refusal, stream_stub
from moving_people import Clip, timestamp_ms
from odd_images import encode
from servers import QUICK_START, Server

Message = pose_pb2.StreamPoseRequest
TINY = encode(np.zeros((8, 8, 3), np.uint8), "png")


def opening(**options: Any) -> Message:
    return Message(options=pose_pb2.StreamOptions(**options))


def pictured(clip: Clip, index: int) -> Message:
    _, jpeg = cv2.imencode(".jpg", clip.picture(index)[..., ::-1])
    frame = pose_pb2.Frame(frame_id=index, timestamp_ms=timestamp_ms(index), encoded=jpeg.tobytes())
    return Message(frame=frame)


def tiny(number: int) -> Message:
    return Message(frame=pose_pb2.Frame(frame_id=number, timestamp_ms=number, encoded=TINY))


async def answers(server: Server, *messages: Message) -> list[pose_pb2.StreamPoseResponse]:
    async with stream_stub(server.grpc_target) as stub:
        return [answer async for answer in stub.StreamPose(iter(messages))]


@pytest.fixture(scope="module")
def pictures() -> list[Message]:
    """Three people who walk, in frames 40 to 50."""
    clip = Clip()
    return [pictured(clip, index) for index in range(40, 51)]


def ids(answer: pose_pb2.StreamPoseResponse) -> list[int]:
    """Those of people that nobody could overlook, left to right."""
    sure = [pose for pose in answer.poses if pose.box_score > 0.6]
    return [pose.track_id for pose in sorted(sure, key=lambda pose: pose.box.x1)]


async def test_people_keep_their_numbers_and_boxes_follow_them(
    server: Server, pictures: list[Message]
) -> None:
    found = await answers(server, opening(track=True, detect_every=5), *pictures)
    assert [answer.frame_id for answer in found] == list(range(40, 51))
    first = ids(found[0])
    assert len(first) >= 3
    assert [ids(answer)[: len(first)] for answer in found] == [first] * len(found)
    detected = [answer.timing.detect_ms > 0 for answer in found]
    assert detected == [True, *[False] * 4, True, *[False] * 4, True]
    again = await answers(server, opening(track=True, detect_every=0), *pictures)
    assert [answer.timing.detect_ms > 0 for answer in again] == [True] * len(found)
    assert [ids(answer)[: len(first)] for answer in again] == [first] * len(again)


async def test_smoothing_keeps_the_first_frames_numbers(
    server: Server, pictures: list[Message]
) -> None:
    plain = await answers(server, opening(), *pictures[:3])
    smooth = await answers(server, opening(smooth=True), *pictures[:3])
    assert [pose.keypoints for pose in smooth[0].poses] == [p.keypoints for p in plain[0].poses]
    assert smooth[2].poses[0].keypoints != plain[2].poses[0].keypoints
    assert {pose.track_id for answer in smooth for pose in answer.poses} == {0}


async def test_a_stream_goes_on_where_another_one_ended(
    server: Server, pictures: list[Message]
) -> None:
    resume = pose_pb2.Resume(last_frame_id=41, next_track_id=7)
    found = await answers(server, opening(track=True, resume=resume), *pictures[:3])
    assert [answer.error.type for answer in found] == ["invalid-request"] * 2 + [""]
    assert found[0].error.detail == "frame_id: expected more than 41, got 40"
    assert min(pose.track_id for pose in found[2].poses) == 7


async def test_what_does_not_go_together_is_refused(server: Server) -> None:
    whole = pose_pb2.PoseOptions(whole_image=True)
    with pytest.raises(grpc.RpcError) as failed:
        # No frame follows: where one is written to a call that ended, grpc.aio says INTERNAL.
        await answers(server, opening(detect_every=2, pose=whole))
    error = refusal(failed.value)
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert error.detail == "detect_every and whole_image: give one or the other"


async def test_latest_answers_the_newest_and_names_the_dropped(
    server: Server, pictures: list[Message]
) -> None:
    messages = [pictures[0], *map(tiny, range(2000, 2400))]
    found = await answers(server, opening(mode=pose_pb2.STREAM_MODE_LATEST), *messages)
    answered = [answer.frame_id for answer in found]
    dropped = [number for answer in found for number in answer.dropped_frame_ids]
    assert sorted(answered + dropped) == [40, *range(2000, 2400)]
    assert answered == sorted(answered)
    assert answered[-1] == 2399
    assert len(dropped) > 300
    with server.client() as client:
        line = 'distilpose_stream_frames_total{mode="latest",outcome="replaced"} '
        counted = client.get("/metrics").text.partition(line)[2].split("\n")[0]
    assert float(counted) >= len(dropped)


async def test_a_draining_server_names_the_last_answered_frame_in_both_modes(
    start_server: Any,
) -> None:
    server: Server = start_server(**QUICK_START)
    resume = pose_pb2.Resume(last_frame_id=2)
    async with stream_stub(server.grpc_target) as stub:
        calls = [stub.StreamPose() for _ in range(2)]
        for call, mode in zip(calls, ("ORDERED", "LATEST"), strict=True):
            chosen = pose_pb2.StreamMode.Value(f"STREAM_MODE_{mode}")
            await call.write(opening(mode=chosen, track=True, detect_every=5, resume=resume))
            await call.write(tiny(3))
            assert (await call.read()).frame_id == 3
        server.process.send_signal(signal.SIGTERM)
        for call in calls:
            with pytest.raises(grpc.RpcError) as ended:
                await asyncio.wait_for(call.read(), 20)
            error = refusal(ended.value)
            assert (error.code, error.reason) == ("UNAVAILABLE", "DRAINING")
            assert error.trailing[LAST_FRAME_ID] == "3"
    assert await asyncio.to_thread(server.process.wait, 30) == 0
