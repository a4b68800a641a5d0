"""A pipeline's shared resources, for tests that give it their own computations."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from distilpose.model.letterbox import ShapeHW, square
from distilpose.service.batching.admission import Admission
from distilpose.service.batching.batcher import Batcher
from distilpose.service.batching.device import Device
from distilpose.service.batching.workers import Workers
from distilpose.service.pipeline.decoding import Decoding
from distilpose.service.pipeline.journey import Means
from distilpose.service.pipeline.memory import Memory
from distilpose.service.pipeline.traffic import Traffic
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.words import Pool

ROOMY_BYTES = 1 << 30


def means(
    *,
    device: Device,
    detect: Batcher[Any, Any],
    pose: Batcher[Any, Any],
    metrics: Metrics,
    threads: Executor | None = None,
    cut_thread: Executor | None = None,
    thread_count: int = 2,
    memory_bytes: int = ROOMY_BYTES,
    max_queue_seconds: float = 1e6,
    clock: Callable[[], float] = time.monotonic,
    canvases: Sequence[ShapeHW] = square(64),
    max_pixels: int = 50_000,
    **others: Any,
) -> Means:
    """The resources around two stages; `threads` decode, and `cut_thread` cuts."""
    decode = Decoding(
        Workers(Pool.DECODE, thread_count, observer=metrics, executor=threads, clock=clock),
        max_queue_seconds=max_queue_seconds,
        observer=metrics,
    )
    memory = Memory(memory_bytes, clock=clock)
    return Means(
        decode=decode,
        detect=detect,
        pose=pose,
        cut=Workers(Pool.CUT, 1, observer=metrics, executor=cut_thread, clock=clock),
        memory=memory,
        admission=Admission(
            [decode, detect, pose, memory], shares=memory.shares, on_refusal=metrics.refused
        ),
        traffic=Traffic(device.wake),
        canvases=canvases,
        max_pixels=max_pixels,
        metrics=metrics,
        clock=clock,
        **others,
    )
