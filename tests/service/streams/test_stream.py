"""Frames answered in order; each request to the pipeline takes a random few milliseconds."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import replace

import pytest

from cameras import WINDOW, Bench, Camera, answered, frame
from distilpose.service.domain import Frame, ImageAnswer, PoseAnswer, PoseRequest
from distilpose.service.errors import (
    DeadlineExceeded,
    Draining,
    InvalidRequest,
    Overloaded,
    UndecodableImage,
)
from distilpose.service.life import State
from virtual_time import run_virtually


class Crowd(Camera):
    """One of many cameras on a server that answers ten frames a second, one at a time."""

    def __init__(self, server: asyncio.Lock) -> None:
        super().__init__(map(frame, range(1, 100_000)), every_seconds=0.1)
        self._server = server

    async def read(self) -> Frame | None:
        read = await super().read()
        now = asyncio.get_running_loop().time()
        return read and replace(read, arrived_at=now, timeout_seconds=10)

    async def estimate(self, request: PoseRequest) -> PoseAnswer:
        try:
            async with asyncio.timeout(10), self._server:
                await asyncio.sleep(0.1)
        except TimeoutError as err:
            raise DeadlineExceeded("the deadline passed") from err
        return answered(self.frame_of(request))


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
async def nothing_stays() -> AsyncIterator[None]:
    """Check that no task outlives its stream."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    assert {task for task in asyncio.all_tasks() if task.get_name().startswith("stream")} <= before


async def test_64_streams_each_get_their_own_answers_in_order(bench: Bench) -> None:
    cameras = [Camera(map(frame, range(1, 51))) for _ in range(64)]
    await asyncio.gather(*(bench.stream(camera).run() for camera in cameras))
    for camera in cameras:
        assert camera.taken_ids == list(range(1, 51))
        assert all(answer.image == answered(answer.frame).images[0] for answer in camera.taken)
        assert camera.most_in_flight <= WINDOW


async def test_one_bad_frame_in_ten_gets_its_error_in_its_place(bench: Bench) -> None:
    def estimate(asked: Frame) -> PoseAnswer:
        if asked.frame_id % 50 == 20:
            return PoseAnswer([ImageAnswer(None, error=UndecodableImage("no image"))])
        if asked.frame_id % 50 == 30:
            raise RuntimeError("/secret/path")
        return answered(asked)

    def sent(number: int) -> Frame:
        match number % 50:
            case 0:
                return replace(frame(number), timestamp_ms=float("nan"))
            case 10:
                return replace(frame(number), frame_id=number - 1)
            case 40:
                return replace(frame(number), timestamp_ms=40.0 * (number - 3))
        return frame(number)

    camera = Camera(map(sent, range(1, 1001)), estimate=estimate, seconds=0.001)
    stream = bench.stream(camera)
    await stream.run()
    bad = {0: "invalid-request", 10: "invalid-request", 40: "invalid-request"}
    bad |= {20: "undecodable-image", 30: "internal"}
    assert camera.kinds == [bad.get(number % 50, "answered") for number in range(1, 1001)]
    details = {error.detail for error in camera.errors if error}
    assert "frame_id: expected more than 9, got 9" in details
    assert "timestamp_ms: expected more than 1560.0, got 1480.0" in details
    assert not any("secret" in detail for detail in details)
    frames = {
        outcome: bench.value("stream_frames_total", mode="ordered", outcome=outcome)
        for outcome in ("answered", "failed")
    }
    assert frames == {"answered": 900, "failed": 100}
    assert bench.value("stream_frame_age_seconds_count", mode="ordered") == 1000


async def test_a_slow_caller_stops_the_reading(bench: Bench) -> None:
    camera = Camera(map(frame, range(1, 101)), seconds=0)
    camera.takes.clear()
    running = asyncio.create_task(bench.stream(camera, window=3).run())
    await asyncio.sleep(0.05)
    assert 1 <= camera.read_frames <= 3
    camera.takes.set()
    await running
    assert camera.taken_ids == list(range(1, 101))
    assert camera.most_in_flight == 3


async def test_a_stream_that_is_ended_answers_what_it_has_read(
    bench: Bench, nothing_stays: None
) -> None:
    camera = Camera(map(frame, range(1, 6)), stays_open=True)
    stream = bench.stream(camera)
    running = asyncio.create_task(bench.streams().run(stream))
    await asyncio.sleep(0.001)
    bench.life.advance(State.REFUSING)
    with pytest.raises(Draining, match="shutting down"):
        await running
    assert camera.taken_ids == list(range(1, camera.read_frames + 1))
    assert stream.last_frame_id == camera.read_frames


async def test_a_draining_service_goes_on_until_it_refuses(bench: Bench) -> None:
    camera = Camera(map(frame, range(1, 6)))
    bench.life.advance(State.DRAINING)
    await bench.streams().run(bench.stream(camera))
    assert camera.taken_ids == [1, 2, 3, 4, 5]


async def test_an_old_stream_ends_and_may_be_begun_again_at_once(bench: Bench) -> None:
    camera = Camera([frame(1)], stays_open=True)
    with pytest.raises(Draining, match=r"maximum age of 0\.05 s") as ended:
        await bench.streams(max_age_seconds=0.05).run(bench.stream(camera))
    assert ended.value.retry_after_seconds == 0
    assert camera.taken_ids == [1]


async def test_without_an_answer_there_is_no_last_frame(bench: Bench) -> None:
    stream = bench.stream(Camera([], stays_open=True))
    with pytest.raises(Draining):
        await bench.streams(max_age_seconds=0.01).run(stream)
    assert stream.last_frame_id is None


async def test_a_frame_out_of_order_is_not_the_last_frame(bench: Bench) -> None:
    camera = Camera([frame(5), frame(6), frame(2)])
    stream = bench.stream(camera)
    await stream.run()
    assert camera.kinds == ["answered", "answered", "invalid-request"]
    assert stream.last_frame_id == 6


async def test_what_is_known_before_is_answered_without_the_pipeline(bench: Bench) -> None:
    camera = Camera([replace(frame(1), error=InvalidRequest("no picture")), frame(2)])
    stream = bench.stream(camera)
    await stream.run()
    assert camera.kinds == ["invalid-request", "answered"]
    assert stream.last_frame_id == 2


async def test_what_reading_raises_comes_after_the_answers(
    bench: Bench, nothing_stays: None
) -> None:
    def frames() -> Iterable[Frame]:
        yield from map(frame, range(1, 4))
        raise InvalidRequest("not a frame")

    camera = Camera(frames())
    with pytest.raises(InvalidRequest, match="not a frame"):
        await bench.stream(camera).run()
    assert camera.taken_ids == [1, 2, 3]


async def test_a_caller_that_leaves_withdraws_its_frames(bench: Bench, nothing_stays: None) -> None:
    camera = Camera(map(frame, range(1, 100)), seconds=60)
    running = asyncio.create_task(bench.streams().run(bench.stream(camera)))
    await asyncio.sleep(0.02)
    assert camera.working
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert camera.working == 0


async def test_more_streams_than_the_limit_are_refused(bench: Bench) -> None:
    streams = bench.streams(max_streams=2)
    with streams.place("a", at_most=64), streams.place("b", at_most=64):
        assert bench.value("streams_active") == 2
        with pytest.raises(Overloaded, match="2 streams are open, which is the limit") as refused:
            streams.place("c", at_most=64).__enter__()
        assert refused.value.retry_after_seconds == 1
    assert bench.value("streams_active") == 0
    assert bench.value("refusals_total", reason="streams") == 1
    with streams.place("a", at_most=64):
        pass


async def test_one_caller_cannot_have_all_streams(bench: Bench) -> None:
    streams = bench.streams(max_streams_per_caller=2)
    with (
        streams.place("greedy", at_most=64),
        streams.place("greedy", at_most=64),
        streams.place("other", at_most=64),
    ):
        with pytest.raises(Overloaded, match="2 streams of this caller are open") as refused:
            streams.place("greedy", at_most=64).__enter__()
        assert refused.value.retry_after_seconds == 1
        assert bench.value("streams_active") == 3
    assert bench.value("refusals_total", reason="streams_per_caller") == 1
    with streams.place("greedy", at_most=64):
        assert bench.value("streams_active") == 1


async def test_a_stream_that_goes_on_takes_only_what_comes_after(bench: Bench) -> None:
    camera = Camera(map(frame, range(4, 9)), last_frame_id=5)
    stream = bench.stream(camera)
    await stream.run()
    assert camera.kinds == ["invalid-request"] * 2 + ["answered"] * 3
    assert [error.detail for error in camera.errors if error] == [
        "frame_id: expected more than 5, got 4",
        "frame_id: expected more than 5, got 5",
    ]
    assert stream.last_frame_id == 8


async def test_a_stream_that_goes_on_and_ends_at_once_keeps_its_place(bench: Bench) -> None:
    stream = bench.stream(Camera([], stays_open=True, last_frame_id=5))
    with pytest.raises(Draining):
        await bench.streams(max_age_seconds=0.01).run(stream)
    assert stream.last_frame_id == 5


async def test_a_stream_that_never_opens_ends_all_the_same(
    bench: Bench, nothing_stays: None
) -> None:
    camera = Camera([], opens=False)
    with pytest.raises(Draining):
        await bench.streams(max_age_seconds=0.01).run(bench.stream(camera))


async def test_frames_that_follow_people_wait_for_the_one_before(bench: Bench) -> None:
    camera = Camera(map(frame, range(1, 21)), detect_every=5)
    await bench.stream(camera).run()
    assert camera.taken_ids == list(range(1, 21))
    assert camera.most_working == 1


async def test_frames_of_other_streams_do_not_wait(bench: Bench) -> None:
    camera = Camera(map(frame, range(1, 21)), track=True, smooth=True)
    await bench.stream(camera).run()
    assert camera.most_working > 1


@pytest.mark.parametrize("streams", [1, 32])
def test_streams_read_no_more_than_is_answered_in_time(streams: int) -> None:
    async def scenario() -> None:
        bench, server = Bench(clock=asyncio.get_running_loop().time), asyncio.Lock()
        cameras = [Crowd(server) for _ in range(streams)]
        running = [asyncio.create_task(bench.stream(camera).run()) for camera in cameras]
        await asyncio.sleep(60)
        for camera in cameras:
            assert set(camera.kinds) == {"answered"}
            assert len(camera.taken) >= 0.9 * 600 / streams - 1
            assert camera.read_frames - len(camera.taken) <= WINDOW
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    run_virtually(scenario())
