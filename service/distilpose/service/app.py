"""The composition root: the only file that constructs things and wires them."""

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry

from distilpose.model import container
from distilpose.model.arrays import ImageHWC
from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.files.cache import cache_at
from distilpose.model.load import Models, load_models
from distilpose.model.runtime.detector import Detections
from distilpose.model.runtime.engine import PoseArrays, PoseEngine, powers_of_two
from distilpose.model.runtime.trial import check_detector, check_student
from distilpose.model.skeleton import KEYPOINT_NAMES
from distilpose.service.batching.admission import Admission
from distilpose.service.batching.batcher import Batcher
from distilpose.service.batching.device import Device, DeviceLost
from distilpose.service.batching.room import Room, items_that_leave_in_time
from distilpose.service.batching.workers import Workers
from distilpose.service.domain import ModelDescription
from distilpose.service.errors import Draining, NotReady
from distilpose.service.heap import make_room
from distilpose.service.life import Life, State
from distilpose.service.pipeline.decoding import Decoding
from distilpose.service.pipeline.journey import Means
from distilpose.service.pipeline.memory import Memory
from distilpose.service.pipeline.pipeline import Pipeline
from distilpose.service.pipeline.stages import DetectItem, kind_of, run_detector, run_student
from distilpose.service.pipeline.traffic import Traffic
from distilpose.service.pipeline.watchdog import Watchdog
from distilpose.service.security.keys import ApiKeys
from distilpose.service.settings import MEBIBYTE, Settings, SettingsError
from distilpose.service.streams.tracking import assignment_solver
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.telemetry.traces import NoTraces, Traces
from distilpose.service.words import Pool, Stage

logger = logging.getLogger(__name__)

_DEAD_AFTER_SECONDS: Final = 60.0
_CPUS_PER_CUT_THREAD: Final = 4
_SHARE_OF_MEMORY: Final = 0.85
_LEAST_MEMORY_BYTES: Final = 512 * MEBIBYTE
_CPU_DETECT_BATCH: Final = 1
_GPU_DETECT_BATCH: Final = 32


class Service:
    """All that runs in one process: idle when built; `start()` loads and warms up the models."""

    def __init__(
        self, settings: Settings, registry: CollectorRegistry, traces: Traces | None = None
    ) -> None:
        self.settings = settings
        self.life = Life()
        self.metrics = Metrics(registry, buckets=_known_buckets(settings))
        self.traces = traces or NoTraces()
        self.keys = ApiKeys.from_settings(settings.security)
        self.device = Device()
        self._threads = _decode_threads(settings)
        self._decode = Workers(Pool.DECODE, self._threads, observer=self.metrics)
        self.drawing = Workers(Pool.DRAW, 1, observer=self.metrics)
        """The thread that draws answers."""
        self.memory = Memory(
            _memory_limit_bytes(settings, is_loaded=False), on_refusal=self.metrics.refused
        )
        self.metrics.watch_budget(self.memory)
        self._cut = Workers(Pool.CUT, _cut_threads(settings), observer=self.metrics)
        self.on_lost: Callable[[DeviceLost], None] = lambda _: None
        """Called once, when the device no longer computes."""
        self._pipeline: Pipeline | None = None
        self._watchdog: Watchdog | None = None
        self._model: ModelDescription | None = None

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline that every request goes through.

        Raises:
            NotReady: the models are not loaded.
        """
        if self._pipeline is None:
            raise NotReady("the models are loading", retry_after_seconds=5)
        return self._pipeline

    def expect_body(self, caller: str) -> None:
        """Refuse a request before its body is read, if an image like recent ones would not fit.

        Raises:
            Overloaded: the decode queue is full.
        """
        if self._pipeline is not None:
            self._pipeline.expect_body(caller)

    def refuse_if_full(self, caller: str) -> None:
        """Refuse a request while its body arrives, if an image like recent ones would not fit.

        Raises:
            Overloaded: the decode queue is full.
        """
        if self._pipeline is not None:
            self._pipeline.refuse_if_full(caller)

    @property
    def model(self) -> ModelDescription:
        """The description of the loaded student.

        Raises:
            NotReady: it is not loaded.
        """
        if self._model is None:
            raise NotReady("the models are loading", retry_after_seconds=5)
        return self._model

    @property
    def alive(self) -> bool:
        """Return False once the device has stopped taking work, or nothing has moved for a minute.

        True also before there is any work.
        """
        return self._pipeline is None or (
            self.device.alive and self._stalled_seconds < _DEAD_AFTER_SECONDS
        )

    @property
    def ready(self) -> bool:
        """Return True if new callers should be routed here.

        That is: loaded, not draining, the device well, and accepted work not stalled.
        """
        return self.life.ready and self.device.healthy and not self.stalled

    @property
    def stalled(self) -> bool:
        """Return True if accepted work waits while nothing works on it."""
        return self._stalled_seconds > 0

    @property
    def state(self) -> str:
        """The state of the process's life, or `stalled`."""
        return "stalled" if self.stalled else self.life.state

    @property
    def _stalled_seconds(self) -> float:
        return self._watchdog.stalled_seconds if self._watchdog else 0.0

    async def start(self) -> None:
        """Load and warm up on the device's thread, then be ready.

        Raises:
            ModelError: the weights or the device do not match the settings, or are damaged.
            Exception: the device failed while warming up.
        """
        began = time.monotonic()
        models = await self.device.call(self._load)
        self.life.advance(State.WARMING)
        speeds = await self.device.call(lambda: self._warm_up(models))
        await asyncio.to_thread(make_room, self.settings.grpc.most_message_bytes)
        self._pipeline = self._build_pipeline(models, *speeds)
        self._model = self._describe(models)
        self.device.start(canary=lambda: _check_networks(models), on_lost=self.on_lost)
        # Full collections skip what was loaded, hundreds of thousands of objects. So they come soon
        # after there is garbage, and stop the event loop for milliseconds only.
        gc.collect()
        gc.freeze()
        self.life.advance(State.READY)
        self.metrics.model_info.info(
            {
                "name": self._model.name,
                "version": self._model.version,
                "device": self._model.device,
                "dtype": self._model.dtype,
                "detector_dtype": self._model.detector_dtype,
                "engine": self._model.engine,
                "digest": self._model.sha256,
            }
        )
        logger.info(
            "ready",
            extra={
                "model": f"{self._model.name} {self._model.version}",
                "device": self._model.device,
                "dtype": self._model.dtype,
                "detector_dtype": self._model.detector_dtype,
                "engine": self._model.engine,
                "threads": self._threads,
                "seconds": round(time.monotonic() - began, 2),
            },
        )
        await asyncio.to_thread(assignment_solver)  # before a stream has to wait for it

    async def close(self) -> None:
        """Answer what is still queued with `draining`, and end all threads."""
        draining = Draining("the service is shutting down")
        await self.device.close(draining)
        for pool in (self._decode, self._cut, self.drawing):
            pool.close(draining)
        await asyncio.to_thread(self.traces.close)

    def _load(self) -> Models:
        model, detector, batching = (
            self.settings.model,
            self.settings.detector,
            self.settings.batching,
        )
        return load_models(
            weights=model.weights,
            sha256=model.weights_sha256,
            device=model.device,
            dtype=model.dtype,
            engine=model.engine,
            compile_network=model.compile,
            threads=self._threads,
            pose_max_batch=None if batching.pose_max_batch == "auto" else batching.pose_max_batch,
            buckets=None if batching.buckets == "auto" else batching.buckets,
            detector=detector.weights,
            detector_image_size_px=detector.image_size,
            detector_iou=detector.iou,
            calibrate=model.calibrate,
            cache=cache_at(model.cache),
        )

    def _warm_up(self, models: Models) -> tuple[float, float]:
        """Measure throughput (images and crops per second) while running every served shape.

        Raises:
            NotFinite: a network does not answer with finite numbers.
        """
        models.predictor.engine.restore()
        models.detector.restore()
        _check_networks(models)
        pose_seconds = models.predictor.engine.warm_up()
        detect_seconds = models.detector.warm_up(self._detect_buckets(models))
        return _items_per_second(detect_seconds), _items_per_second(pose_seconds)

    def _build_pipeline(
        self, models: Models, images_per_second: float, crops_per_second: float
    ) -> Pipeline:
        settings, engine = self.settings, models.predictor.engine
        traffic = Traffic(self.device.wake)
        pose = self._pose_stage(engine, traffic, crops_per_second)
        detect = self._detect_stage(models, traffic, pose.room, images_per_second)
        decode = Decoding(
            self._decode,
            max_queue_seconds=settings.batching.max_queue_seconds,
            observer=self.metrics,
        )
        self.memory.set_limit(_memory_limit_bytes(settings, is_loaded=True))
        for queue in (decode, detect, pose):
            self.metrics.watch(queue)
        for pool in (self._decode, self._cut, self.drawing):
            self.metrics.watch_pool(pool.pool, pool.threads)
        self.metrics.watch_pool(Pool.DEVICE, 1)
        self.metrics.watch_memory(engine.device.memory_bytes)
        means = Means(
            detect=detect,
            pose=pose,
            decode=decode,
            cut=self._cut,
            memory=self.memory,
            admission=Admission(
                [decode, detect, pose, self.memory],
                shares=self.memory.shares,
                on_refusal=self.metrics.refused,
            ),
            traffic=traffic,
            canvases=models.detector.canvases,
            max_pixels=settings.limits.max_pixels,
            scaled_decode=settings.batching.scaled_decode,
            metrics=self.metrics,
            calibration=models.predictor.calibration,
        )
        self._watchdog = Watchdog(
            (decode, self._cut, detect, pose), (self._decode, self._cut, self.device)
        )
        self.metrics.watch_stalled(lambda: self.stalled)
        return Pipeline(means)

    def _detect_stage(
        self, models: Models, traffic: Traffic, pose_room: Room, images_per_second: float
    ) -> Batcher[DetectItem, Detections]:
        buckets = self._detect_buckets(models)
        capacity_at = self._capacity_at(self.settings.http.max_images, buckets[-1])
        return Batcher(
            run_detector(models.detector, buckets),
            stage=Stage.DETECT,
            device=self.device,
            buckets=buckets,
            queue_capacity=capacity_at(1 / images_per_second),
            capacity_at=capacity_at,
            max_delay_seconds=self.settings.batching.max_delay_seconds,
            more_coming=lambda: traffic.coming[Stage.DETECT] > 0,
            held=lambda: pose_room.is_crowded,
            kind_of=kind_of,
            observer=self.metrics,
        )

    def _pose_stage(
        self, engine: PoseEngine, traffic: Traffic, crops_per_second: float
    ) -> Batcher[ImageHWC, PoseArrays]:
        capacity_at = self._capacity_at(self.settings.limits.max_people, engine.buckets[-1])
        return Batcher(
            run_student(engine),
            stage=Stage.POSE,
            device=self.device,
            buckets=engine.buckets,
            queue_capacity=capacity_at(1 / crops_per_second),
            capacity_at=capacity_at,
            max_delay_seconds=self.settings.batching.max_delay_seconds,
            more_coming=lambda: traffic.coming[Stage.POSE] > 0,
            kind_of=kind_of,
            observer=self.metrics,
        )

    def _capacity_at(self, largest_request: int, largest_batch: int) -> Callable[[float], int]:
        """Return a function from measured seconds per item to the queue's capacity in items."""
        fixed = self.settings.batching.queue_capacity
        if fixed != "auto":
            return lambda _: fixed
        return partial(
            items_that_leave_in_time,
            max_queue_seconds=self.settings.batching.max_queue_seconds,
            request_timeout_seconds=self.settings.limits.request_timeout_seconds,
            largest_request=largest_request,
            largest_batch=largest_batch,
        )

    def _detect_buckets(self, models: Models) -> tuple[int, ...]:
        largest = self.settings.batching.detect_max_batch
        on_cpu = models.detector.device.kind == "cpu"
        if largest == "auto":
            largest = _CPU_DETECT_BATCH if on_cpu else _GPU_DETECT_BATCH
        # A CPU pays for padding in full.
        return powers_of_two(largest, each_up_to=largest if on_cpu else 1)

    def _describe(self, models: Models) -> ModelDescription:
        engine = models.predictor.engine
        return ModelDescription(
            name=models.card.architecture,
            version=models.card.version,
            sha256=models.sha256,
            source=models.card.source,
            calibrated=models.predictor.calibration is not None,
            device=engine.device.describe(),
            dtype=engine.precision,
            engine=engine.runtime,
            input_size_hw=(CROP_HEIGHT, CROP_WIDTH),
            keypoints=KEYPOINT_NAMES,
            detector=models.detector.name,
            detector_dtype=models.detector.precision,
        )


def _known_buckets(settings: Settings) -> set[int]:
    """The batch sizes named by the settings."""
    batching = settings.batching
    named = [batching.detect_max_batch, batching.pose_max_batch]
    named += [] if batching.buckets == "auto" else batching.buckets
    return {size for size in named if size != "auto"}


def _decode_threads(settings: Settings) -> int:
    configured = settings.batching.decode_threads
    return container.usable_cpus() if configured == "auto" else configured


def _cut_threads(settings: Settings) -> int:
    configured = settings.batching.cut_threads
    return (
        max(1, container.usable_cpus() // _CPUS_PER_CUT_THREAD)
        if configured == "auto"
        else configured
    )


def _memory_limit_bytes(settings: Settings, *, is_loaded: bool) -> int:
    """The memory for requests; until the models are loaded, with what they will take.

    Raises:
        SettingsError: too little is left beside the loaded process.
    """
    configured = settings.limits.max_memory_bytes
    if configured != "auto":
        return configured
    limit = container.memory_limit_bytes() or container.machine_memory_bytes() // 2
    allowed = int(_SHARE_OF_MEMORY * limit)
    if not is_loaded:
        return allowed
    left = allowed - container.resident_bytes()
    if left < _LEAST_MEMORY_BYTES:
        raise SettingsError(
            f"limits.max_memory_bytes: of {allowed // MEBIBYTE} MiB that this process may use, the "
            f"loaded models leave {max(0, left) // MEBIBYTE} MiB for requests; at least "
            f"{_LEAST_MEMORY_BYTES // MEBIBYTE} MiB are needed"
        )
    return left


def _check_networks(models: Models) -> None:
    """Run both networks on a fixed picture; raises if one fails or its answer is not finite."""
    check_student(models.predictor.engine)
    check_detector(models.detector)


def _items_per_second(seconds: Mapping[int, float]) -> float:
    """The throughput of a busy stage, from its largest bucket."""
    largest = max(seconds)
    return largest / seconds[largest]
