"""Many streams over one pipeline: none starves, whatever the others are. In virtual time."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from cameras import WINDOW, Bench, Camera, frame
from distilpose.model.pictures.source import EncodedImage
from distilpose.model.runtime.detector import Detections
from distilpose.model.runtime.engine import PoseArrays
from distilpose.service.batching.batcher import Batcher
from distilpose.service.batching.device import Device
from distilpose.service.domain import Frame, FrameAnswer, Options, PoseAnswer, PoseRequest
from distilpose.service.pipeline.pipeline import Pipeline
from distilpose.service.pipeline.stages import DetectItem
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.words import Stage
from odd_images import encode
from pipelines import means
from virtual_time import VirtualThread, run_virtually

PHOTO = EncodedImage(encode(np.full((60, 40, 3), 255, np.uint8), "png"))
BATCH_SECONDS = 0.02
RUN_SECONDS = 2.0


@dataclass(frozen=True)
class Kind:
    """The properties of a stream; without a rate it sends as fast as it is read."""

    mode: str
    frames_a_second: int
    detect_every: int
    people: int


KINDS = st.builds(
    Kind,
    mode=st.sampled_from(["ordered", "latest"]),
    frames_a_second=st.sampled_from([0, 1, 10, 60]),
    detect_every=st.sampled_from([1, 1, 5]),
    people=st.integers(0, 12),
)


def find_people(items: Sequence[DetectItem]) -> list[Detections]:
    """As many people as the minimum score, by which a test recognises its frames."""
    counts = [round(item.min_box_score * 100) for item in items]
    boxes = [[[20.0 + i, 0, 40 + i, 60] for i in range(count)] for count in counts]
    return [
        Detections(np.array(each, np.float32).reshape(-1, 4), np.ones(len(each), np.float32))
        for each in boxes
    ]


def look(crops: Sequence[np.ndarray[Any, Any]]) -> list[PoseArrays]:
    points = np.random.default_rng(1).uniform(0.2, 0.8, (17, 2)).astype(np.float32)
    return [PoseArrays(points, np.ones(17, np.float32), points) for _ in crops]


def pipeline() -> Pipeline:
    clock = asyncio.get_running_loop().time
    metrics = Metrics(CollectorRegistry())
    device = Device(executor=VirtualThread(lambda: BATCH_SECONDS), clock=clock)
    shared: dict[str, Any] = {"device": device, "observer": metrics, "clock": clock}
    made = means(
        device=device,
        detect=Batcher(
            find_people, stage=Stage.DETECT, buckets=(1, 2), queue_capacity=40, **shared
        ),
        pose=Batcher(look, stage=Stage.POSE, buckets=(1, 2, 4, 8), queue_capacity=50, **shared),
        threads=VirtualThread(lambda: 0.002, threads=10_000),
        cut_thread=VirtualThread(lambda: 0.002),
        thread_count=10_000,
        metrics=metrics,
        clock=clock,
    )
    device.start()
    return Pipeline(made)


class RealCamera(Camera):
    """A camera whose frames go through a pipeline; it records the latencies."""

    def __init__(self, kind: Kind, shared: Pipeline) -> None:
        every_seconds = 1 / kind.frames_a_second if kind.frames_a_second else 0.005
        super().__init__(
            map(frame, itertools.count(1)),
            every_seconds=every_seconds,
            stays_open=True,
            mode=kind.mode,
            detect_every=kind.detect_every,
        )
        pose = Options(min_box_score=kind.people / 100, max_people=20, min_keypoint_score=0.3)
        self._options = replace(self._options, pose=pose)
        self._shared = shared
        self.seconds_to_answer: list[float] = []

    async def read(self) -> Frame | None:
        read = await super().read()
        now = asyncio.get_running_loop().time()
        return read and replace(read, source=PHOTO, arrived_at=now)

    async def estimate(self, request: PoseRequest) -> PoseAnswer:
        clock = asyncio.get_running_loop().time
        began_at = clock()
        answer = await self._shared.estimate(request)
        self.seconds_to_answer.append(clock() - began_at)
        return answer

    async def send(self, answer: FrameAnswer) -> None:
        await super().send(answer)
        assert answer.image.error is None


async def run_together(kinds: Sequence[Kind], *, seconds: float = RUN_SECONDS) -> list[RealCamera]:
    bench, shared = Bench(clock=asyncio.get_running_loop().time), pipeline()
    cameras = [RealCamera(kind, shared) for kind in kinds]
    running = [asyncio.create_task(bench.stream(camera).run()) for camera in cameras]
    await asyncio.sleep(seconds)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    return cameras


def batches_of(kind: Kind) -> int:
    """The number of batches for a stream's frames in flight, if each is computed by itself."""
    at_once = kind.mode == "ordered" and kind.detect_every == 1
    return (WINDOW if at_once else 1) * (1 + -(-kind.people // 8))


# Failing cases are small enough; shrinking them takes minutes and adds nothing.
@settings(max_examples=8, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(kinds=st.lists(KINDS, min_size=2, max_size=6))
def test_no_stream_starves(kinds: list[Kind]) -> None:
    cameras = run_virtually(run_together(kinds))
    # Before a frame goes, earlier frames go first, and a batch that is not full lets two others
    # pass.
    longest_seconds = (3 * sum(map(batches_of, kinds)) + 6) * BATCH_SECONDS
    for camera in cameras:
        assert max(camera.seconds_to_answer) <= longest_seconds
        assert len(camera.taken) >= min(
            camera.read_frames - 2 * WINDOW, RUN_SECONDS / longest_seconds - 1
        )


@pytest.mark.parametrize("mode", ["ordered", "latest"])
def test_streams_that_are_alike_get_the_same(mode: str) -> None:
    cameras = run_virtually(run_together([Kind(mode, 0, 1, 3)] * 6, seconds=10))
    answered = [len(camera.taken) for camera in cameras]
    assert min(answered) >= 70
    # What is in flight at the end may differ by a window.
    assert max(answered) - min(answered) <= 0.05 * min(answered) + WINDOW


def test_a_quiet_stream_waits_only_for_what_was_there_before() -> None:
    quiet, greedy = Kind("ordered", 2, 1, 1), Kind("ordered", 0, 1, 12)
    beside, *others = run_virtually(run_together([quiet, *[greedy] * 4]))
    a_second = sum(len(other.taken) for other in others) / RUN_SECONDS
    assert len(beside.taken) >= 1
    assert max(beside.seconds_to_answer) <= 1.5 * 4 * WINDOW / a_second
