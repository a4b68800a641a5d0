"""The times of a request's stages and waits, and the order of requests, in virtual time."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from distilpose.model.pictures.source import EncodedImage
from distilpose.model.runtime.detector import Detections
from distilpose.model.runtime.engine import PoseArrays
from distilpose.service.batching.batcher import Batcher
from distilpose.service.batching.device import Device
from distilpose.service.domain import Options, PoseAnswer, PoseRequest
from distilpose.service.pipeline.budget import ByteBudget
from distilpose.service.pipeline.journey import Means
from distilpose.service.pipeline.pipeline import Pipeline
from distilpose.service.pipeline.stages import DetectItem
from distilpose.service.pipeline.traffic import Traffic
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.words import Stage
from odd_images import encode
from virtual_time import VirtualThread, run_virtually

PHOTO = encode(np.full((100, 200, 3), 255, np.uint8), "png")


def find_somebody(items: Sequence[DetectItem]) -> list[Detections]:
    box = np.array([[0, 20, 32, 44]], np.float32)
    return [Detections(box, np.ones(1, np.float32)) for _ in items]


def look(crops: Sequence[np.ndarray[Any, Any]]) -> list[PoseArrays]:
    points = np.zeros((17, 2), np.float32)
    return [PoseArrays(points, np.ones(17, np.float32), points) for _ in crops]


class Bench:
    """A pipeline whose every computation takes 0.25 s."""

    def __init__(self, *, queue_capacity: int = 10, decoded_bytes: int = 1_000_000) -> None:
        clock = asyncio.get_running_loop().time
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        self.device = Device(executor=VirtualThread(lambda: 0.25), clock=clock)
        shared: dict[str, Any] = {
            "device": self.device,
            "queue_capacity": queue_capacity,
            "observer": metrics,
            "clock": clock,
        }
        means = Means(
            detect=Batcher(find_somebody, stage=Stage.DETECT, buckets=(1,), **shared),
            pose=Batcher(look, stage=Stage.POSE, buckets=(8,), **shared),
            traffic=Traffic(self.device.wake),
            decode_pool=VirtualThread(lambda: 0.25, threads=2),  # type: ignore[arg-type]  # an executor as well
            decoded_bytes=ByteBudget(decoded_bytes),
            image_size_px=64,
            max_pixels=50_000,
            metrics=metrics,
            clock=clock,
        )
        self.pipeline = Pipeline(means)
        self.device.start()

    async def ask(self, *boxes: Sequence[float]) -> PoseAnswer:
        given = [np.array(boxes, np.float32)] if boxes else None
        options = Options(min_box_score=0.25, max_people=50, min_keypoint_score=0.3, boxes=given)
        return await self.pipeline.estimate(
            PoseRequest([EncodedImage(PHOTO)], options, deadline=float("inf"))
        )

    def total(self, name: str) -> float:
        """A histogram's sum over all stages."""
        values = (
            self.registry.get_sample_value(f"distilpose_{name}_sum", {"stage": stage})
            for stage in Stage
        )
        return sum(value or 0.0 for value in values)


def test_stages_and_waits_make_up_a_one_image_request() -> None:
    async def scenario() -> None:
        bench = Bench()
        await asyncio.sleep(1)
        timing = (await bench.ask()).timing
        assert timing.total >= 5 * 0.25  # decode, letterbox, detect, cut, pose
        parts = timing.decode + timing.detect + timing.pose + timing.queue
        assert parts == pytest.approx(timing.total)
        counted = bench.total("stage_duration_seconds") + bench.total("queue_wait_seconds")
        assert counted == pytest.approx(timing.total)

    run_virtually(scenario())


def test_a_wait_behind_others_is_counted_as_a_wait() -> None:
    async def scenario() -> None:
        bench = Bench()
        squares = [DetectItem(np.zeros((64, 64, 3), np.uint8), 0.25)] * 5
        others = asyncio.create_task(
            bench.pipeline.means.detect.submit(squares, deadline=float("inf"), accepted_at=-1.0)
        )
        await asyncio.sleep(0)
        timing = (await bench.ask()).timing
        await others
        # They take 1.25 s of the device, of which decoding and letterboxing cover 0.75 s.
        assert timing.queue >= 0.5
        parts = timing.decode + timing.detect + timing.pose + timing.queue
        assert parts == pytest.approx(timing.total)

    run_virtually(scenario())


def test_who_holds_pixels_does_not_wait_for_who_holds_places() -> None:
    async def scenario() -> None:
        bench = Bench(queue_capacity=2, decoded_bytes=200 * 100 * 3)
        found = asyncio.create_task(bench.ask())
        await asyncio.sleep(0.6)  # decoded: all bytes are held
        given = asyncio.create_task(bench.ask((0, 0, 50, 50), (50, 0, 99, 50)))
        async with asyncio.timeout(60):
            answers = await asyncio.gather(found, given)
        assert [len(answer.images[0].poses) for answer in answers] == [1, 2]

    run_virtually(scenario())
