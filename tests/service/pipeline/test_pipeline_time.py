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
from distilpose.service.pipeline.pipeline import Pipeline
from distilpose.service.pipeline.stages import DetectItem
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.words import Stage
from odd_images import encode
from pipelines import means
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

    def __init__(self) -> None:
        clock = asyncio.get_running_loop().time
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        self.device = Device(executor=VirtualThread(lambda: 0.25), clock=clock)
        shared: dict[str, Any] = {
            "device": self.device,
            "queue_capacity": 10,
            "observer": metrics,
            "clock": clock,
        }
        made = means(
            device=self.device,
            detect=Batcher(find_somebody, stage=Stage.DETECT, buckets=(1,), **shared),
            pose=Batcher(look, stage=Stage.POSE, buckets=(8,), **shared),
            threads=VirtualThread(lambda: 0.25, threads=2),
            cut_thread=VirtualThread(lambda: 0.25),
            metrics=metrics,
            clock=clock,
        )
        self.pipeline = Pipeline(made)
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
        assert timing.total >= 4 * 0.25  # decode and letterbox, detect, cut, pose
        parts = timing.decode + timing.detect + timing.pose + timing.queue
        assert parts == pytest.approx(timing.total)
        counted = bench.total("stage_duration_seconds") + bench.total("queue_wait_seconds")
        assert counted == pytest.approx(timing.total)

    run_virtually(scenario())


def test_a_wait_behind_others_is_counted_as_a_wait() -> None:
    async def scenario() -> None:
        bench = Bench()
        canvases = [DetectItem(np.zeros((64, 64, 3), np.uint8), 0.25)] * 5
        others = asyncio.create_task(
            bench.pipeline.means.detect.submit(canvases, deadline=float("inf"), accepted_at=-1.0)
        )
        await asyncio.sleep(0)
        timing = (await bench.ask()).timing
        await others
        # They take 1.25 s of the device, of which decoding and letterboxing cover 0.75 s.
        assert timing.queue >= 0.5
        parts = timing.decode + timing.detect + timing.pose + timing.queue
        assert parts == pytest.approx(timing.total)

    run_virtually(scenario())
