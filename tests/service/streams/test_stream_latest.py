"""Mode latest: only the newest frame is answered, and replaced ones are reported. Virtual time."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from cameras import Bench, Camera, Estimate, answered, frame
from distilpose.model.pictures.source import EncodedImage
from distilpose.service.domain import Frame, FrameAnswer, ImageAnswer, PoseAnswer, PoseRequest
from distilpose.service.errors import Draining, InvalidRequest, UndecodableImage
from distilpose.service.life import State
from virtual_time import run_virtually

A_SECOND = 10
"""Number of frames per second that the server can answer."""


class SlowCamera(Camera):
    """A camera of 60 frames a second on a server that answers 10, in virtual time."""

    def __init__(
        self, frames: list[Frame], *, estimate: Estimate = answered, **options: Any
    ) -> None:
        super().__init__(frames, estimate=estimate, every_seconds=1 / 60, mode="latest", **options)
        self.ages_seconds: list[float] = []

    async def read(self) -> Frame | None:
        read = await super().read()
        return read and replace(read, arrived_at=asyncio.get_running_loop().time())

    async def estimate(self, request: PoseRequest) -> PoseAnswer:
        self.working += 1
        self.most_working = max(self.most_working, self.working)
        await asyncio.sleep(1 / A_SECOND)
        self.working -= 1
        return self._estimate(self.frame_of(request))

    async def send(self, answer: FrameAnswer) -> None:
        await super().send(answer)
        now = asyncio.get_running_loop().time()
        self.ages_seconds.append(now - answer.frame.arrived_at)

    @property
    def dropped_ids(self) -> list[int]:
        return [number for answer in self.taken for number in answer.dropped_frame_ids]


def virtually(
    scenario: Callable[[Bench], Coroutine[Any, Any, None]],
) -> None:
    async def made() -> None:
        await scenario(Bench(clock=asyncio.get_running_loop().time))

    run_virtually(made())


def test_the_newest_frame_wins_and_the_others_are_named() -> None:
    async def scenario(bench: Bench) -> None:
        camera = SlowCamera(list(map(frame, range(1, 18_001))))
        await bench.stream(camera).run()
        assert len(camera.taken) == pytest.approx(300 * A_SECOND, rel=0.01)
        assert camera.most_working == 1
        # One frame is in flight, and the newest waits only for that one.
        assert max(camera.ages_seconds) <= 2 / A_SECOND + 1e-9
        assert sorted(camera.taken_ids + camera.dropped_ids) == list(range(1, 18_001))
        before = 0
        for answer in camera.taken:
            number = answer.frame.frame_id
            assert list(answer.dropped_frame_ids) == list(range(before + 1, number))
            before = number
        assert camera.taken_ids[-1] == 18_000
        replaced = len(camera.dropped_ids)
        assert bench.value("stream_frames_total", mode="latest", outcome="replaced") == replaced
        assert bench.value("dropped_items_total", stage="decode", reason="replaced") == replaced

    virtually(scenario)


def test_a_server_that_keeps_up_drops_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        camera = Camera(map(frame, range(1, 51)), every_seconds=0.1, seconds=0.09, mode="latest")
        await bench.stream(camera).run()
        assert camera.taken_ids == list(range(1, 51))
        assert not any(answer.dropped_frame_ids for answer in camera.taken)

    virtually(scenario)


def test_broken_frames_are_answered_and_replace_nothing() -> None:
    def sent(number: int) -> Frame:
        good = frame(number)
        return replace(good, timestamp_ms=0.0) if number % 10 == 0 else good

    def estimate(asked: Frame) -> PoseAnswer:
        if asked.frame_id % 3 == 0:
            return PoseAnswer([ImageAnswer(None, error=UndecodableImage("no image"))])
        return answered(asked)

    async def scenario(bench: Bench) -> None:
        camera = SlowCamera([sent(number) for number in range(1, 1001)], estimate=estimate)
        await bench.stream(camera).run()
        assert sorted(camera.taken_ids) == camera.taken_ids
        assert sorted(camera.taken_ids + camera.dropped_ids) == list(range(1, 1001))
        kinds = dict(zip(camera.taken_ids, camera.kinds, strict=True))
        assert [number for number in kinds if number % 10 == 0] == list(range(10, 1001, 10))
        for number, kind in kinds.items():
            known = "undecodable-image" if number % 3 == 0 else "answered"
            assert kind == ("invalid-request" if number % 10 == 0 else known)
        pictures = {answer.frame.source for answer in camera.taken if not answer.frame.in_order}
        assert pictures == {EncodedImage(b"")}  # they hold no memory

    virtually(scenario)


def test_a_caller_that_takes_no_answer_is_read_no_further_in_the_end() -> None:
    async def scenario(bench: Bench) -> None:
        camera = SlowCamera(list(map(frame, range(1, 5001))))
        camera.takes.clear()
        running = asyncio.create_task(bench.stream(camera).run())
        await asyncio.sleep(300)
        assert camera.read_frames <= 1002
        camera.takes.set()
        await running
        assert sorted(camera.taken_ids + camera.dropped_ids) == list(range(1, 5001))

    virtually(scenario)


def test_a_drained_stream_answers_the_newest_and_names_it() -> None:
    async def scenario(bench: Bench) -> None:
        camera = SlowCamera(list(map(frame, range(1, 601))))
        stream = bench.stream(camera)
        running = asyncio.create_task(bench.streams().run(stream))
        await asyncio.sleep(1.01)
        bench.life.advance(State.REFUSING)
        with pytest.raises(Draining):
            await running
        assert stream.last_frame_id == camera.read_frames == camera.taken_ids[-1]
        reported = sorted(camera.taken_ids + camera.dropped_ids)
        assert reported == list(range(1, camera.read_frames + 1))

    virtually(scenario)


def test_what_reading_raises_comes_after_the_newest_frame() -> None:
    class Broken(SlowCamera):
        async def read(self) -> Frame | None:
            read = await super().read()
            if read is None:
                raise InvalidRequest("not a frame")
            return read

    async def scenario(bench: Bench) -> None:
        camera = Broken(list(map(frame, range(1, 8))))
        with pytest.raises(InvalidRequest, match="not a frame"):
            await bench.stream(camera).run()
        assert camera.taken_ids[-1] == 7

    virtually(scenario)
