"""The composition root: the only file that constructs things and wires them."""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from prometheus_client import CollectorRegistry

from distilpose.model import devices
from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.detector import PersonDetector
from distilpose.model.load import Models, load_models
from distilpose.model.skeleton import KEYPOINT_NAMES
from distilpose.service.auth import ApiKeys
from distilpose.service.batcher import Batcher
from distilpose.service.budget import ByteBudget
from distilpose.service.cpus import usable_cpus
from distilpose.service.device import Device
from distilpose.service.errors import Draining, NotReady
from distilpose.service.life import Life, State
from distilpose.service.metrics import Metrics
from distilpose.service.pipeline import Pipeline, run_detector, run_student
from distilpose.service.schemas_answer import ModelCardOut
from distilpose.service.settings import Settings

logger = logging.getLogger(__name__)

_CPU_DETECT_BATCH: Final = 1
_GPU_DETECT_BATCH: Final = 32


class Service:
    """Everything that runs in one process: built idle, `start()` loads and warms it."""

    def __init__(self, settings: Settings, registry: CollectorRegistry) -> None:
        self.settings = settings
        self.life = Life()
        self.metrics = Metrics(registry)
        self.keys = ApiKeys.from_settings(settings.security)
        self.device = Device()
        self._threads = _decode_threads(settings)
        self._decode_pool = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")
        self._pipeline: Pipeline | None = None
        self._model: ModelCardOut | None = None

    @property
    def pipeline(self) -> Pipeline:
        """The way of a request.

        Raises:
            NotReady: the models are not loaded.
        """
        if self._pipeline is None:
            raise NotReady("the models are loading", retry_after_seconds=5)
        return self._pipeline

    @property
    def model(self) -> ModelCardOut:
        """The student that answers.

        Raises:
            NotReady: it is not loaded.
        """
        if self._model is None:
            raise NotReady("the models are loading", retry_after_seconds=5)
        return self._model

    @property
    def alive(self) -> bool:
        """Whether the device still takes work; true as well before there is any."""
        return self._pipeline is None or self.device.alive

    async def start(self) -> None:
        """Load and warm up on the device's thread, then be ready.

        Raises:
            ModelError: weights or device are not as the settings say.
            Exception: the device failed while warming up.
        """
        began = time.monotonic()
        models = await self.device.call(self._load)
        self.life.advance(State.WARMING)
        speeds = await self.device.call(lambda: self._warm_up(models))
        self._pipeline = self._build_pipeline(models, *speeds)
        self._model = self._describe(models)
        self.device.start()
        self.life.advance(State.READY)
        self.metrics.model_info.info(
            {
                "name": self._model.name,
                "version": self._model.version,
                "device": self._model.device,
                "dtype": self._model.dtype,
                "digest": self._model.sha256,
            }
        )
        logger.info(
            "ready",
            extra={
                "model": f"{self._model.name} {self._model.version}",
                "device": self._model.device,
                "dtype": self._model.dtype,
                "threads": self._threads,
                "seconds": round(time.monotonic() - began, 2),
            },
        )

    async def close(self) -> None:
        """Answer what is still queued with `draining`, and end all threads."""
        await self.device.close(Draining("the service is shutting down"))
        self._decode_pool.shutdown(wait=False, cancel_futures=True)

    def _load(self) -> Models:
        model, detector, batching = (
            self.settings.model,
            self.settings.detector,
            self.settings.batching,
        )
        devices.use_threads(self._threads)
        return load_models(
            weights=model.weights,
            sha256=model.weights_sha256,
            device=model.device,
            dtype=model.dtype,
            compile_network=model.compile,
            pose_max_batch=None if batching.pose_max_batch == "auto" else batching.pose_max_batch,
            buckets=None if batching.buckets == "auto" else batching.buckets,
            detector=detector.weights,
            detector_image_size_px=detector.image_size,
            detector_iou=detector.iou,
            calibrate=model.calibrate,
        )

    def _warm_up(self, models: Models) -> tuple[float, float]:
        """Images and crops a second, measured while every shape that will be served runs."""
        pose_seconds = models.predictor.engine.warm_up()
        largest = max(pose_seconds)
        detect_batch = self._detect_max_batch(models)
        seconds = _warm_up_detector(models.detector, sorted({1, detect_batch}))
        return detect_batch / seconds, largest / pose_seconds[largest]

    def _build_pipeline(
        self, models: Models, images_per_second: float, crops_per_second: float
    ) -> Pipeline:
        limits = self.settings.limits
        pose_max_batch = models.predictor.engine.buckets[-1]
        detect = Batcher(
            run_detector(models.detector),
            stage="detect",
            device=self.device,
            max_batch=self._detect_max_batch(models),
            queue_capacity=self._capacity(
                images_per_second, 2 * self._detect_max_batch(models), self.settings.http.max_images
            ),
            observer=self.metrics,
        )
        pose = Batcher(
            run_student(models.predictor.engine),
            stage="pose",
            device=self.device,
            max_batch=pose_max_batch,
            queue_capacity=self._capacity(crops_per_second, 2 * pose_max_batch, limits.max_people),
            observer=self.metrics,
        )
        self.metrics.watch(detect)
        self.metrics.watch(pose)
        return Pipeline(
            detect=detect,
            pose=pose,
            decode_pool=self._decode_pool,
            decoded_bytes=ByteBudget(limits.max_decoded_bytes),
            image_size_px=self.settings.detector.image_size,
            max_pixels=limits.max_pixels,
            metrics=self.metrics,
            calibration=models.predictor.calibration,
        )

    def _detect_max_batch(self, models: Models) -> int:
        configured = self.settings.batching.detect_max_batch
        if configured != "auto":
            return configured
        return (
            _CPU_DETECT_BATCH if models.predictor.engine.device.type == "cpu" else _GPU_DETECT_BATCH
        )

    def _capacity(self, items_per_second: float, *at_least: int) -> int:
        batching = self.settings.batching
        if batching.queue_capacity != "auto":
            return batching.queue_capacity
        return max(int(items_per_second * batching.max_queue_seconds), *at_least)

    def _describe(self, models: Models) -> ModelCardOut:
        engine = models.predictor.engine
        return ModelCardOut(
            name=models.card.architecture,
            version=models.card.version,
            sha256=models.sha256,
            source=models.card.source,
            calibrated=models.predictor.calibration is not None,
            device=devices.describe(engine.device),
            dtype=str(engine.dtype).removeprefix("torch."),
            input_size=[CROP_HEIGHT, CROP_WIDTH],
            keypoints=list(KEYPOINT_NAMES),
            detector=models.detector.name,
        )


def _decode_threads(settings: Settings) -> int:
    configured = settings.batching.decode_threads
    return usable_cpus() if configured == "auto" else configured


def _warm_up_detector(detector: PersonDetector, batch_sizes: Sequence[int]) -> float:
    """Run each batch size twice; returns the seconds of the last run."""
    seconds = 0.0
    for batch in batch_sizes:
        side = detector.image_size_px
        squares_BHWC = np.zeros((batch, side, side, 3), np.uint8)
        for _ in range(2):
            began = time.perf_counter()
            detector.run(squares_BHWC, np.ones(batch, np.float32))
            seconds = time.perf_counter() - began
    return seconds
