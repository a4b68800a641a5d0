"""Nobody waits in a ring and nothing is kept, in any mix of requests. In virtual time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from distilpose.model.pictures.source import EncodedImage
from distilpose.model.runtime.detector import Detections
from distilpose.model.runtime.engine import PoseArrays
from distilpose.service.batching.batcher import Batcher
from distilpose.service.batching.device import Device
from distilpose.service.domain import Options, PoseRequest
from distilpose.service.errors import DeadlineExceeded, Overloaded, TooLarge
from distilpose.service.pipeline.pipeline import Pipeline
from distilpose.service.pipeline.stages import DetectItem
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.words import Stage
from odd_images import encode
from pipelines import means
from virtual_time import VirtualThread, run_virtually

MOST_PEOPLE = 12
PHOTO = EncodedImage(encode(np.full((60, 40, 3), 255, np.uint8), "png"))
BROKEN = EncodedImage(b"no picture")
NEVER = float("inf")


@dataclass(frozen=True)
class Ask:
    """A request: when it comes, what it asks for, and when its caller leaves."""

    comes_at: float
    caller: str
    images: int
    broken: int
    boxes: int | None
    people: int
    flip_test: bool
    waits: bool
    seconds: float
    leaves_after: float


ASKS = st.builds(
    Ask,
    comes_at=st.sampled_from([0.0, 0.0, 0.3, 1.0]),
    caller=st.sampled_from(["greedy", "greedy", "greedy", "quiet", "other"]),
    images=st.integers(1, 5),
    broken=st.integers(0, 2),
    boxes=st.one_of(st.none(), st.integers(0, MOST_PEOPLE)),
    people=st.integers(0, MOST_PEOPLE),
    flip_test=st.booleans(),
    waits=st.booleans(),
    seconds=st.sampled_from([0.2, 1.0, 1000.0, 1000.0]),
    leaves_after=st.sampled_from([0.1, 0.5, NEVER, NEVER, NEVER]),
)


@dataclass(frozen=True)
class House:
    """The size of everything that requests compete for."""

    queue_capacity: int
    memory_mib: int
    decode_threads: int
    max_queue_seconds: float


HOUSES = st.builds(
    House,
    queue_capacity=st.integers(1, 6),
    memory_mib=st.sampled_from([1, 5, 9, 40]),
    decode_threads=st.integers(1, 3),
    max_queue_seconds=st.sampled_from([0.001, 0.05, 10.0]),
)


def find_people(items: Sequence[DetectItem]) -> list[Detections]:
    """As many people as the minimum score says, by which a test orders them."""
    counts = [round(item.min_box_score * 100) for item in items]
    boxes = [[[20.0 + i, 0, 40 + i, 60] for i in range(count)] for count in counts]
    return [
        Detections(np.array(each, np.float32).reshape(-1, 4), np.ones(len(each), np.float32))
        for each in boxes
    ]


def look(crops: Sequence[np.ndarray[Any, Any]]) -> list[PoseArrays]:
    points = np.zeros((17, 2), np.float32)
    return [PoseArrays(points, np.ones(17, np.float32), points) for _ in crops]


def pipeline(house: House) -> Pipeline:
    clock = asyncio.get_running_loop().time
    metrics = Metrics(CollectorRegistry())
    device = Device(executor=VirtualThread(lambda: 0.02), clock=clock)
    shared: dict[str, Any] = {
        "device": device,
        "observer": metrics,
        "clock": clock,
        "queue_capacity": house.queue_capacity,
    }
    pose = Batcher(look, stage=Stage.POSE, buckets=(1, 2, 4), **shared)
    made = means(
        device=device,
        detect=Batcher(
            find_people,
            stage=Stage.DETECT,
            buckets=(1, 2),
            held=lambda: pose.room.is_crowded,
            **shared,
        ),
        pose=pose,
        threads=VirtualThread(lambda: 0.05, threads=house.decode_threads),
        cut_thread=VirtualThread(lambda: 0.01),
        thread_count=house.decode_threads,
        memory_bytes=house.memory_mib << 20,
        max_queue_seconds=house.max_queue_seconds,
        metrics=metrics,
        clock=clock,
    )
    device.start()
    return Pipeline(made)


def request(ask: Ask, now: float) -> PoseRequest:
    box = np.array([[0, 0, 40, 60]], np.float32)
    images = [PHOTO] * ask.images + [BROKEN] * ask.broken
    boxes = None if ask.boxes is None else [np.repeat(box, ask.boxes, 0)] * len(images)
    options = Options(
        min_box_score=ask.people / 100,
        max_people=MOST_PEOPLE,
        min_keypoint_score=0.3,
        boxes=boxes,
        flip_test=ask.flip_test,
    )
    return PoseRequest(images, options, now + ask.seconds, ask.caller, waits_for_room=ask.waits)


async def outcome(pipeline: Pipeline, ask: Ask) -> str:
    await asyncio.sleep(ask.comes_at)
    now = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(None if ask.leaves_after == NEVER else ask.leaves_after):
            answer = await pipeline.estimate(request(ask, now))
    except Overloaded:
        return "refused"
    except DeadlineExceeded:
        return "late"
    except TimeoutError:
        return "left"
    errors = [image.error for image in answer.images[: ask.images]]
    assert all(error is None or isinstance(error, TooLarge | DeadlineExceeded) for error in errors)
    people = ask.people if ask.boxes is None else ask.boxes
    for image in answer.images[: ask.images]:
        assert image.error or len(image.poses) == people
    return "answered"


@settings(max_examples=150, deadline=None)
@given(house=HOUSES, asks=st.lists(ASKS, min_size=1, max_size=12))
def test_every_request_ends_and_everything_is_given_back(house: House, asks: list[Ask]) -> None:
    async def scenario() -> list[str]:
        made = pipeline(house)
        ended = await asyncio.gather(*(outcome(made, ask) for ask in asks))
        await asyncio.sleep(10)  # threads whose callers have left come to their end
        kept = made.means
        rooms = (kept.memory.room, kept.decode.room, kept.detect.room, kept.pose.room)
        assert [room.used for room in rooms] == [0, 0, 0, 0]
        assert (kept.decode.queued, kept.cut.queued, kept.admission.waiting) == (0, 0, 0)
        return list(ended)

    for ask, end in zip(asks, run_virtually(scenario()), strict=True):
        if ask.seconds == 1000 and ask.leaves_after == NEVER:
            assert end in {"answered", "refused"}
