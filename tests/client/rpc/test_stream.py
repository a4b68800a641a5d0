"""Streams that survive the loss of their server."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from distilpose.client import (
    AsyncClient,
    Backoff,
    Client,
    Frame,
    FrameAnswer,
    Internal,
    InvalidRequest,
    Overloaded,
    Unavailable,
)
from distilpose.v1 import pose_pb2
from ports import free_port
from stub_grpc_service import DRAINING, LOST, Failure, Plan, StubGrpcService

QUICK = Backoff(first_seconds=0.001, most_seconds=0.01)
PICTURES = [bytes([i]) for i in range(20)]


def client(*services: StubGrpcService, timeout_seconds: float = 10) -> Client:
    addresses = ",".join(f"127.0.0.1:{service.port}" for service in services)
    return Client(f"ipv4:{addresses}", backoff=QUICK, timeout_seconds=timeout_seconds)


def ids(answers: list[FrameAnswer]) -> list[int]:
    return [answer.frame_id for answer in answers]


def sent(stream: list[pose_pb2.StreamPoseRequest]) -> list[int]:
    return [message.frame.frame_id for message in stream if message.HasField("frame")]


@pytest.fixture
def service() -> Iterator[StubGrpcService]:
    with StubGrpcService() as running:
        yield running


@pytest.mark.parametrize("failure", [LOST, DRAINING])
def test_an_ordered_stream_goes_on_without_a_lost_or_doubled_frame(
    service: StubGrpcService, failure: Failure
) -> None:
    service.plans.extend([Plan(7, failure), Plan(0, failure), Plan(5, failure)])
    with client(service) as asking:
        answers = list(asking.stream(PICTURES, track=True))
    assert ids(answers) == list(range(20))
    assert len(service.streams) == 4
    last = service.streams[-1]
    assert sent(last) == list(range(12, 20))
    assert [message.frame.encoded for message in last[1:]] == PICTURES[12:]


def test_a_resumed_stream_says_where_the_one_before_ended(service: StubGrpcService) -> None:
    service.first_track_id = 6
    service.plans.append(Plan(3, LOST))
    with client(service) as asking:
        answers = list(asking.stream(PICTURES, track=True, detect_every=5, flip_test=True))
    assert {pose.track_id for answer in answers for pose in answer.poses} == {6}
    first, resumed = (stream[0].options for stream in service.streams)
    assert not first.HasField("resume")
    assert (resumed.resume.last_frame_id, resumed.resume.next_track_id) == (2, 7)
    resumed.ClearField("resume")
    assert first == resumed
    assert (first.track, first.detect_every, first.pose.flip_test) == (True, 5, True)


def test_a_stream_that_lost_its_server_before_an_answer_begins_anew(
    service: StubGrpcService,
) -> None:
    service.plans.append(Plan(0, LOST))
    with client(service) as asking:
        assert ids(list(asking.stream(PICTURES))) == list(range(20))
    assert not service.streams[1][0].options.HasField("resume")


def test_another_server_takes_over(service: StubGrpcService) -> None:
    with StubGrpcService(plans=service.plans) as other, client(service, other) as asking:
        while not (service.asked and other.asked):
            asking.estimate(b"x")
        service.plans.append(Plan(4, LOST))
        assert ids(list(asking.stream(PICTURES))) == list(range(20))
        # Round robin: the server that failed is not the next to be called.
        assert (len(service.streams), len(other.streams)) == (1, 1)


def test_at_most_a_window_of_frames_is_read_ahead() -> None:
    read = 0

    def pictures() -> Iterator[bytes]:
        nonlocal read
        for picture in PICTURES:
            read += 1
            yield picture

    with StubGrpcService() as service, client(service) as asking:
        answers = asking.stream(pictures(), window=4)
        next(answers)
        time.sleep(0.3)
        assert read <= 1 + 4 + 1  # answered, kept, and one waiting for room
        assert ids(list(answers)) == list(range(1, 20))


def test_a_stream_gives_up_when_no_server_takes_it() -> None:
    with Client(f"grpc://127.0.0.1:{free_port()}", backoff=QUICK, timeout_seconds=0.5) as asking:
        began = time.monotonic()
        with pytest.raises(Unavailable):
            list(asking.stream(PICTURES))
        assert 0.3 < time.monotonic() - began < 5


def test_what_no_other_server_would_do_better_ends_the_stream(service: StubGrpcService) -> None:
    service.plans.append(Plan(2, Failure(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")))
    with client(service) as asking:
        answers = asking.stream(PICTURES)
        assert [next(answers).frame_id for _ in range(2)] == [0, 1]
        with pytest.raises(InvalidRequest, match="as configured"):
            next(answers)
    assert len(service.streams) == 1


def test_a_full_server_is_asked_again_after_the_time_it_gives(service: StubGrpcService) -> None:
    full = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", 0.2)
    service.plans.append(Plan(0, full))
    with client(service) as asking:
        began = time.monotonic()
        assert len(list(asking.stream(PICTURES))) == 20
        assert time.monotonic() - began >= 0.2
        service.plans.append(Plan(0, full))
    with client(service, timeout_seconds=0.1) as asking, pytest.raises(Overloaded):
        list(asking.stream(PICTURES))


def test_what_the_frames_raise_comes_after_the_answers_before_it(
    service: StubGrpcService,
) -> None:
    def pictures() -> Iterator[bytes]:
        yield from PICTURES[:3]
        raise OSError("the camera is gone")

    with client(service) as asking:
        answers = asking.stream(pictures())
        assert [next(answers).frame_id for _ in range(3)] == [0, 1, 2]
        with pytest.raises(OSError, match="the camera is gone"):
            next(answers)


def test_a_caller_that_stops_early_ends_the_stream(service: StubGrpcService) -> None:
    ended = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            ended.set()

    with client(service) as asking:
        answers = asking.stream(endless())
        assert [next(answers).frame_id for _ in range(4)] == [0, 1, 2, 3]
        answers.close()
        assert ended.wait(10)


def test_a_client_may_be_closed_with_a_stream_open(service: StubGrpcService) -> None:
    with client(service) as asking:
        answers = asking.stream(PICTURES)
        assert next(answers).frame_id == 0
    answers.close()


def test_times_are_the_callers_or_rise_by_themselves(service: StubGrpcService) -> None:
    with client(service) as asking:
        own = [Frame(picture, 40.0 * i) for i, picture in enumerate(PICTURES)]
        answers = list(asking.stream(own))
        assert [answer.timestamp_ms for answer in answers] == [40.0 * i for i in range(20)]
        times = [answer.timestamp_ms for answer in asking.stream(PICTURES)]
        assert times[0] == 0
        assert times == sorted(set(times))


async def test_frames_may_come_asynchronously(service: StubGrpcService) -> None:
    async def pictures() -> AsyncIterator[bytes]:
        for picture in PICTURES:
            await asyncio.sleep(0)
            yield picture

    async with AsyncClient(service.address) as asking:
        assert [a.frame_id async for a in asking.stream(pictures())] == list(range(20))


def test_a_server_that_skips_a_frame_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def skipping(_: Any, messages: Any, __: Any) -> Iterator[Any]:
        for message in messages:
            if message.HasField("frame"):
                yield pose_pb2.StreamPoseResponse(frame_id=message.frame.frame_id + 1)

    monkeypatch.setattr(StubGrpcService, "StreamPose", skipping)
    due = pytest.raises(Internal, match="answered frame 1 instead of frame 0")
    with StubGrpcService() as odd, client(odd) as asking, due:
        list(asking.stream(PICTURES))


def test_a_latest_stream_goes_on_with_new_frames_and_names_the_lost_ones(
    service: StubGrpcService,
) -> None:
    service.plans.append(Plan(5, LOST))

    def camera() -> Iterator[bytes]:
        for picture in PICTURES:
            time.sleep(0.01)
            yield picture

    with client(service) as asking:
        answers = list(asking.stream(camera(), mode="latest"))
    dropped = [frame_id for answer in answers for frame_id in answer.dropped_frame_ids]
    assert sorted([*ids(answers), *dropped]) == list(range(20))
    assert ids(answers) == sorted(set(ids(answers)))
    assert len(service.streams) == 2
    again = set(sent(service.streams[0])) & set(sent(service.streams[1]))
    assert again == set(), "a frame of a latest stream is never sent twice"
    assert service.streams[0][0].options.mode == pose_pb2.STREAM_MODE_LATEST
