"""The way of one request's images through decode, detect and pose."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from distilpose.model import crop, geometry, predict
from distilpose.model.arrays import CropsBHWC, FloatArray, ImageHWC
from distilpose.model.calibration import Calibration
from distilpose.model.detector import Detections, to_image
from distilpose.model.engine import PoseArrays
from distilpose.model.letterbox import letterbox
from distilpose.service import sources
from distilpose.service.batcher import Batcher
from distilpose.service.budget import ByteBudget
from distilpose.service.domain import ImageAnswer, Options, PoseRequest, Source
from distilpose.service.errors import Internal, InvalidOptions, ServiceError
from distilpose.service.outcomes import Outcome
from distilpose.service.room import Places
from distilpose.service.spans import Spans
from distilpose.service.stages import DetectItem
from distilpose.service.traffic import Traffic, Way

T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Means:
    """What all requests share: both stages, the decode threads, and the limits."""

    detect: Batcher[DetectItem, Detections]
    pose: Batcher[ImageHWC, PoseArrays]
    traffic: Traffic
    decode_pool: ThreadPoolExecutor
    decoded_bytes: ByteBudget
    image_size_px: int
    """Side of the detector's square."""
    max_pixels: int
    calibration: Calibration | None = None
    clock: Callable[[], float] = time.monotonic


class Journey:
    """What the images of one request share on their way."""

    def __init__(
        self,
        means: Means,
        request: PoseRequest,
        accepted_at: float,
        places: Places,
        spans: Spans,
    ) -> None:
        self.spans = spans
        self._means = means
        self._request = request
        self._accepted_at = accepted_at
        self._places = places

    async def image(self, index: int) -> ImageAnswer:
        """One image's poses, or its error: nothing of it concerns the other images."""
        source = self._request.images[index]
        try:
            with self._means.traffic.way() as way:
                return await self._answer(source, index, way)
        except ServiceError as err:
            if isinstance(err, Internal):
                logger.exception("an image failed on the device")
            return ImageAnswer(source.id, error=err)
        except Exception:
            logger.exception("an image failed unexpectedly")
            return ImageAnswer(source.id, error=Internal("the image could not be processed"))

    async def _answer(self, source: Source, index: int, way: Way) -> ImageAnswer:
        means = self._means
        way.to("pose" if self._request.options.skips_detector else "detect")
        header = await self._in_thread(
            "decode", lambda: sources.read_header(source, max_pixels=means.max_pixels)
        )
        with ExitStack() as kept:
            async with means.decoded_bytes.hold(header.pixels * 3):
                image = await self._in_thread("decode", lambda: sources.decode(source, header))
                boxes_xyxy_px, box_scores = await self._boxes(image, index, way)
                regions = geometry.crop_regions(boxes_xyxy_px)
                places = kept.enter_context(await self._room_for(len(boxes_xyxy_px)))
                crops = await self._cut(image, regions)
            way.to(None)
            arrays = await self._run_student(crops, places)
        calibration = means.calibration
        poses = (
            predict.assemble(arrays, regions, boxes_xyxy_px, box_scores, calibration=calibration)
            if arrays
            else []
        )
        pixels = image if self._request.keep_pixels else None
        return ImageAnswer(source.id, _size_wh(image), poses, image=pixels)

    async def _boxes(self, image: ImageHWC, index: int, way: Way) -> tuple[FloatArray, FloatArray]:
        options = self._request.options
        if options.skips_detector:
            boxes_xyxy_px = _given_boxes(options, index, _size_wh(image))
            return boxes_xyxy_px, np.ones(len(boxes_xyxy_px), np.float32)
        size_px = self._means.image_size_px
        square, placed = await self._in_thread("detect", lambda: letterbox(image, size_px))
        item = DetectItem(square, options.min_box_score)
        way.to("pose")
        [outcome] = await self._means.detect.submit([item], places=self._places, **self._terms())
        self.spans.add_outcomes("detect", [outcome])
        boxes_xyxy_px, box_scores = to_image(outcome.unwrap(), placed)
        return boxes_xyxy_px[: options.max_people], box_scores[: options.max_people]

    async def _room_for(self, people: int) -> Places:
        """The crops' places in the pose queue: held since admission, or waited for now."""
        options = self._request.options
        crops = people * options.crops_per_person
        if options.skips_detector:
            return Places(self._places.room, self._places.use(crops))
        asked_at = self._means.clock()
        places = await self._means.pose.room.wait_for(crops, accepted_at=self._accepted_at)
        self.spans.add_wait("pose", asked_at, self._means.clock())
        return places

    async def _cut(self, image: ImageHWC, regions: geometry.CropRegions) -> CropsBHWC:
        flip_test = self._request.options.flip_test

        def cut() -> CropsBHWC:
            crops = crop.cut(image, regions)
            return np.concatenate([crops, crop.mirror(crops)]) if flip_test else crops

        return await self._in_thread("pose", cut)

    async def _run_student(self, crops: CropsBHWC, places: Places) -> PoseArrays | None:
        if not len(crops):
            return None
        outcomes = await self._means.pose.submit(list(crops), places=places, **self._terms())
        self.spans.add_outcomes("pose", outcomes)
        rows = [outcome.unwrap() for outcome in outcomes]
        arrays = PoseArrays(*(np.stack(column) for column in zip(*rows, strict=True)))
        if not self._request.options.flip_test:
            return arrays
        people = len(crops) // 2
        plain, mirrored = (
            PoseArrays(*(column[part] for column in arrays))
            for part in (slice(people), slice(people, None))
        )
        return predict.merge_mirrored(plain, mirrored)

    def _terms(self) -> dict[str, Any]:
        return {"deadline": self._request.deadline, "accepted_at": self._accepted_at}

    async def _in_thread(self, stage: str, work: Callable[[], T]) -> T:
        clock = self._means.clock
        queued_at = clock()

        def timed() -> Outcome[T]:
            started_at = clock()
            return Outcome(work(), None, queued_at, started_at, clock())

        loop = asyncio.get_running_loop()
        outcome = await loop.run_in_executor(self._means.decode_pool, timed)
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
