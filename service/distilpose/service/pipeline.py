"""One request's journey: decode, detect, cut, pose, assemble. Knows no transport."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from distilpose.model import crop, geometry, predict
from distilpose.model.arrays import CropsBHWC, FloatArray, ImageHWC
from distilpose.model.calibration import Calibration
from distilpose.model.detector import Detections, PersonDetector, to_image
from distilpose.model.engine import PoseArrays, PoseEngine
from distilpose.model.letterbox import letterbox
from distilpose.service import images
from distilpose.service.batcher import Batcher, Outcome, Places
from distilpose.service.budget import ByteBudget
from distilpose.service.domain import EncodedImage, ImageAnswer, Options, PoseAnswer, PoseRequest
from distilpose.service.errors import DeadlineExceeded, Internal, InvalidOptions, ServiceError
from distilpose.service.metrics import Metrics
from distilpose.service.spans import Spans

T = TypeVar("T")
logger = logging.getLogger(__name__)


class DetectItem(NamedTuple):
    """A letterboxed image, and the score below which its boxes are of no interest."""

    square: npt.NDArray[np.uint8]
    min_box_score: float


def run_detector(detector: PersonDetector) -> Callable[[Sequence[DetectItem]], list[Detections]]:
    """The detect stage's function for its batcher."""

    def run(items: Sequence[DetectItem]) -> list[Detections]:
        squares_BHWC = np.stack([item.square for item in items])
        return detector.run(squares_BHWC, np.array([i.min_box_score for i in items], np.float32))

    return run


def run_student(engine: PoseEngine) -> Callable[[Sequence[ImageHWC]], list[PoseArrays]]:
    """The pose stage's function for its batcher."""

    def run(crops: Sequence[ImageHWC]) -> list[PoseArrays]:
        arrays = engine.run(np.stack(crops))
        return [PoseArrays(*row) for row in zip(*arrays, strict=True)]

    return run


class Pipeline:
    """Both stages, the decode threads and the limits that requests share."""

    def __init__(
        self,
        *,
        detect: Batcher[DetectItem, Detections],
        pose: Batcher[ImageHWC, PoseArrays],
        decode_pool: ThreadPoolExecutor,
        decoded_bytes: ByteBudget,
        image_size_px: int,
        max_pixels: int,
        metrics: Metrics,
        calibration: Calibration | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._detect = detect
        self._pose = pose
        self._decode_pool = decode_pool
        self._decoded_bytes = decoded_bytes
        self._image_size_px = image_size_px
        self._max_pixels = max_pixels
        self._metrics = metrics
        self._calibration = calibration
        self._clock = clock

    async def estimate(self, request: PoseRequest) -> PoseAnswer:
        """Poses or an error for each image, in their order.

        Raises:
            Overloaded: the request does not fit the queue it would wait in.
            DeadlineExceeded: not everything was answered in time.
        """
        accepted_at = self._clock()
        with self._admit(request) as places:
            journey = _Journey(self, request, accepted_at, places)
            try:
                async with asyncio.timeout(request.deadline - accepted_at):
                    async with asyncio.TaskGroup() as group:
                        tasks = [
                            group.create_task(journey.image(index))
                            for index in range(len(request.images))
                        ]
            except TimeoutError as err:
                raise DeadlineExceeded("the request's deadline passed") from err
        timing = journey.spans.timing(total=self._clock() - accepted_at)
        answer = PoseAnswer([task.result() for task in tasks], timing)
        self._metrics.answered(answer, waits=journey.spans.waits())
        return answer

    def _admit(self, request: PoseRequest) -> Places:
        options = request.options
        if not options.skips_detector:
            return self._detect.reserve(len(request.images))
        boxes = options.boxes
        people = sum(map(len, boxes)) if boxes is not None else len(request.images)
        return self._pose.reserve(people * (2 if options.flip_test else 1))


class _Journey:
    """What the images of one request share on their way."""

    def __init__(
        self, pipeline: Pipeline, request: PoseRequest, accepted_at: float, places: Places
    ) -> None:
        self.pipeline = pipeline
        self.request = request
        self.accepted_at = accepted_at
        self.places = places
        self.spans = Spans()

    async def image(self, index: int) -> ImageAnswer:
        """One image's poses, or its error: nothing of it concerns the other images."""
        source = self.request.images[index]
        try:
            return await self._answer(source, index)
        except ServiceError as err:
            if isinstance(err, Internal):
                logger.exception("an image failed on the device")
            return ImageAnswer(source.id, error=err)
        except Exception:
            logger.exception("an image failed unexpectedly")
            return ImageAnswer(source.id, error=Internal("the image could not be processed"))

    async def _answer(self, source: EncodedImage, index: int) -> ImageAnswer:
        limit = self.pipeline._max_pixels
        header = await self._in_thread(
            "decode", lambda: images.read_header(source.content, max_pixels=limit)
        )
        async with self.pipeline._decoded_bytes.hold(header.pixels * 3):
            image = await self._in_thread("decode", lambda: images.decode(source.content, header))
            boxes_xyxy_px, box_scores = await self._boxes(image, index)
            regions = geometry.crop_regions(boxes_xyxy_px)
            crops = await self._cut(image, regions)
        arrays = await self._run_student(crops)
        calibration = self.pipeline._calibration
        poses = (
            predict.assemble(arrays, regions, boxes_xyxy_px, box_scores, calibration=calibration)
            if arrays
            else []
        )
        pixels = image if self.request.keep_pixels else None
        return ImageAnswer(source.id, _size_wh(image), poses, image=pixels)

    async def _boxes(self, image: ImageHWC, index: int) -> tuple[FloatArray, FloatArray]:
        options = self.request.options
        if options.skips_detector:
            boxes_xyxy_px = _given_boxes(options, index, _size_wh(image))
            return boxes_xyxy_px, np.ones(len(boxes_xyxy_px), np.float32)
        size_px = self.pipeline._image_size_px
        square, placed = await self._in_thread("detect", lambda: letterbox(image, size_px))
        item = DetectItem(square, options.min_box_score)
        [outcome] = await self.pipeline._detect.submit([item], **self._terms())
        self.spans.add_outcomes("detect", [outcome])
        boxes_xyxy_px, box_scores = to_image(outcome.unwrap(), placed)
        return boxes_xyxy_px[: options.max_people], box_scores[: options.max_people]

    async def _cut(self, image: ImageHWC, regions: geometry.CropRegions) -> CropsBHWC:
        flip_test = self.request.options.flip_test

        def cut() -> CropsBHWC:
            crops = crop.cut(image, regions)
            return np.concatenate([crops, crop.mirror(crops)]) if flip_test else crops

        return await self._in_thread("pose", cut)

    async def _run_student(self, crops: CropsBHWC) -> PoseArrays | None:
        if not len(crops):
            return None
        outcomes = await self.pipeline._pose.submit(list(crops), **self._terms())
        self.spans.add_outcomes("pose", outcomes)
        rows = [outcome.unwrap() for outcome in outcomes]
        arrays = PoseArrays(*(np.stack(column) for column in zip(*rows, strict=True)))
        if not self.request.options.flip_test:
            return arrays
        people = len(crops) // 2
        plain, mirrored = (
            PoseArrays(*(column[part] for column in arrays))
            for part in (slice(people), slice(people, None))
        )
        return predict.merge_mirrored(plain, mirrored)

    def _terms(self) -> dict[str, Any]:
        return {
            "deadline": self.request.deadline,
            "accepted_at": self.accepted_at,
            "places": self.places,
        }

    async def _in_thread(self, stage: str, work: Callable[[], T]) -> T:
        clock = self.pipeline._clock
        queued_at = clock()

        def timed() -> Outcome[T]:
            started_at = clock()
            return Outcome(work(), None, queued_at, started_at, clock())

        loop = asyncio.get_running_loop()
        outcome = await loop.run_in_executor(self.pipeline._decode_pool, timed)
        self.spans.add_outcomes(stage, [outcome])
        return outcome.unwrap()


def _size_wh(image: ImageHWC) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _given_boxes(options: Options, index: int, size_wh: tuple[int, int]) -> FloatArray:
    if options.boxes is None:
        return np.array([[0, 0, *size_wh]], np.float32)
    boxes_xyxy_px = geometry.clip_boxes(options.boxes[index], size_wh)
    inside = (boxes_xyxy_px[:, 2:] > boxes_xyxy_px[:, :2]).all(1)
    if not inside.all():
        outside = int(np.flatnonzero(~inside)[0])
        raise InvalidOptions(
            f"boxes[{index}][{outside}] does not touch the image of {size_wh[0]} x {size_wh[1]}"
        )
    return boxes_xyxy_px
