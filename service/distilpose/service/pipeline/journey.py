"""The journey of one request's images through decode, detect and pose."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from distilpose.model import crop, geometry, pictures, predict
from distilpose.model.arrays import CropsBHWC, FloatArray, ImageHWC
from distilpose.model.calibration import Calibration
from distilpose.model.errors import (
    BadRawFrame,
    NotAccepted,
    PictureError,
    TooManyPixels,
    Undecodable,
)
from distilpose.model.letterbox import letterbox
from distilpose.model.pictures import scaled
from distilpose.model.pictures.headers import ImageHeader, reduced_size_wh
from distilpose.model.pictures.source import Source
from distilpose.model.runtime.detector import Detections, to_image, to_whole
from distilpose.model.runtime.engine import PoseArrays
from distilpose.service.batching.batcher import Batcher
from distilpose.service.batching.outcomes import Outcome
from distilpose.service.batching.room import Places
from distilpose.service.domain import ImageAnswer, Options, PoseRequest
from distilpose.service.errors import (
    Internal,
    InvalidOptions,
    InvalidRequest,
    Overloaded,
    ServiceError,
    TooLarge,
    UndecodableImage,
    UnsupportedMediaType,
)
from distilpose.service.pipeline.budget import ByteBudget
from distilpose.service.pipeline.stages import DetectItem
from distilpose.service.pipeline.traffic import Traffic, Way
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.telemetry.spans import Spans
from distilpose.service.words import Stage

T = TypeVar("T")
logger = logging.getLogger(__name__)

KINDS_OF_PICTURES: Final[dict[type[PictureError], type[ServiceError]]] = {
    Undecodable: UndecodableImage,
    NotAccepted: UnsupportedMediaType,
    TooManyPixels: TooLarge,
    BadRawFrame: InvalidRequest,
}
"""The caller's error for each reason why a picture cannot be read."""
_NO_MEMORY: Final = "memory ran out while the image was read; try again, or send fewer at a time"


@dataclass(frozen=True, kw_only=True, eq=False)
class Means:
    """The resources that all requests share: both stages, the decode threads and the limits."""

    detect: Batcher[DetectItem, Detections]
    pose: Batcher[ImageHWC, PoseArrays]
    traffic: Traffic
    decode_pool: ThreadPoolExecutor
    decoded_bytes: ByteBudget
    image_size_px: int
    """Side of the detector's square input."""
    max_pixels: int
    metrics: Metrics
    scaled_decode: bool = False
    """True to allow decoding JPEGs at reduced size."""
    calibration: Calibration | None = None
    clock: Callable[[], float] = time.monotonic


class _View(NamedTuple):
    """An image as it was decoded."""

    image_HWC: ImageHWC
    reduction: geometry.Reduction


class _People(NamedTuple):
    """The people of one image, cut out of it."""

    found: Detections
    regions: geometry.CropRegions
    crops_BHWC: CropsBHWC
    whole_HWC: ImageHWC | None
    """The image itself, where the answer keeps it."""


class Journey:
    """The state that the images of one request share."""

    def __init__(
        self,
        means: Means,
        request: PoseRequest,
        accepted_at: float,
        places: Places,
        spans: Spans,
    ) -> None:
        self._spans = spans
        self._means = means
        self._request = request
        self._accepted_at = accepted_at
        self._places = places

    async def image(self, index: int) -> ImageAnswer:
        """One image's poses, or its error; a failure does not affect the other images."""
        source = self._request.images[index]
        try:
            with self._means.traffic.way() as way:
                return await self._answer(source, index, way)
        except PictureError as err:
            return ImageAnswer(source.id, error=KINDS_OF_PICTURES[type(err)](str(err)))
        except MemoryError:
            logger.exception("memory ran out while an image was read")
            return ImageAnswer(source.id, error=Overloaded(_NO_MEMORY, retry_after_seconds=1))
        except ServiceError as err:
            if isinstance(err, Internal):
                logger.exception("an image failed on the device")
            return ImageAnswer(source.id, error=err)
        except Exception:
            logger.exception("an image failed unexpectedly")
            return ImageAnswer(source.id, error=Internal("the image could not be processed"))

    async def _answer(self, source: Source, index: int, way: Way) -> ImageAnswer:
        means = self._means
        way.to(Stage.POSE if self._request.options.skips_detector else Stage.DETECT)
        header = await self._in_thread(
            Stage.DECODE, lambda: pictures.read_header(source, max_pixels=means.max_pixels)
        )
        people = await self._people(source, header, index, way)
        # The image's bytes are released first: a request that held bytes while waiting for places
        # could deadlock with one that holds places (its boxes were given) and waits for bytes.
        with await self._room_for(len(people.found.scores)) as places:
            way.to(None)
            arrays = await self._run_student(people.crops_BHWC, places)
        calibration = means.calibration
        poses = (
            predict.assemble(arrays, people.regions, *people.found, calibration=calibration)
            if arrays
            else []
        )
        return ImageAnswer(source.id, header.upright_size_wh, poses, image=people.whole_HWC)

    async def _people(self, source: Source, header: ImageHeader, index: int, way: Way) -> _People:
        """The people of an image."""
        given = _given_people(self._request.options, index, header.upright_size_wh)
        factor = self._factor(header, given)
        async with AsyncExitStack() as held:
            view = await self._decode(source, header, factor, held)
            self._means.metrics.decoded("full" if factor == 1 else "scaled")
            found = given or await self._detect(view, header, way)
            regions = geometry.crop_regions(found.boxes_xyxy_px)
            if not scaled.leaves_rows(regions, factor):
                # Released first: whoever held bytes while waiting for more could wait for ever.
                del view
                await held.aclose()
                view = await self._decode(source, header, 1, held)
                self._means.metrics.decoded("again")
            crops_BHWC = await self._cut(view, regions)
            whole_HWC = view.image_HWC if self._request.keep_pixels else None
        return _People(found, regions, crops_BHWC, whole_HWC)

    def _factor(self, header: ImageHeader, given: Detections | None) -> int:
        if not self._means.scaled_decode or self._request.keep_pixels:
            return 1
        if given is None:
            return scaled.factor_for_detector(header, self._means.image_size_px)
        return scaled.factor_for_crops(header, geometry.crop_regions(given.boxes_xyxy_px))

    async def _decode(
        self, source: Source, header: ImageHeader, factor: int, held: AsyncExitStack
    ) -> _View:
        """The decoded image; its bytes are counted until `held` is closed."""
        width, height = reduced_size_wh(header.size_wh, factor)
        await held.enter_async_context(self._means.decoded_bytes.hold(width * height * 3))
        image_HWC = await self._in_thread(
            Stage.DECODE, lambda: pictures.decode(source, header, factor=factor)
        )
        return _View(image_HWC, scaled.reduction_of(header, factor))

    async def _detect(self, view: _View, header: ImageHeader, way: Way) -> Detections:
        """The people to answer, in pixels of the whole image."""
        options, size_px = self._request.options, self._means.image_size_px
        square, placed = await self._in_thread(
            Stage.DETECT, lambda: letterbox(view.image_HWC, size_px)
        )
        item = DetectItem(square, options.min_box_score)
        way.to(None)  # in a queue it waits for the device itself, so no batch is held for it
        [outcome] = await self._means.detect.submit([item], places=self._places, **self._terms())
        way.to(Stage.POSE)
        self._spans.add_outcomes(Stage.DETECT, [outcome])
        seen = to_image(outcome.unwrap(), placed)
        found = to_whole(seen, view.reduction, header.upright_size_wh)
        return Detections(*(column[: options.max_people] for column in found))

    async def _room_for(self, people: int) -> Places:
        """The crops' places in the pose queue: reserved at admission, or waited for now."""
        options = self._request.options
        crops = people * options.crops_per_person
        if options.skips_detector:
            return Places(self._places.room, self._places.use(crops))
        asked_at = self._means.clock()
        places = await self._means.pose.room.wait_for(crops, accepted_at=self._accepted_at)
        self._spans.add_wait(Stage.POSE, asked_at, self._means.clock())
        return places

    async def _cut(self, view: _View, regions: geometry.CropRegions) -> CropsBHWC:
        flip_test = self._request.options.flip_test
        in_view = geometry.regions_in_reduced(regions, view.reduction)

        def cut() -> CropsBHWC:
            crops = crop.cut(view.image_HWC, in_view)
            return np.concatenate([crops, crop.mirror(crops)]) if flip_test else crops

        return await self._in_thread(Stage.POSE, cut)

    async def _run_student(self, crops: CropsBHWC, places: Places) -> PoseArrays | None:
        if not len(crops):
            return None
        outcomes = await self._means.pose.submit(list(crops), places=places, **self._terms())
        self._spans.add_outcomes(Stage.POSE, outcomes)
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

    async def _in_thread(self, stage: Stage, work: Callable[[], T]) -> T:
        clock = self._means.clock
        queued_at = clock()

        def timed() -> Outcome[T]:
            started_at = clock()
            return Outcome(work(), None, queued_at, started_at, clock())

        loop = asyncio.get_running_loop()
        outcome = await loop.run_in_executor(self._means.decode_pool, timed)
        self._spans.add_outcomes(stage, [outcome])
        return outcome.unwrap()


def _given_people(options: Options, index: int, size_wh: tuple[int, int]) -> Detections | None:
    """The people whose boxes the caller gave; None if the detector has to find them."""
    if not options.skips_detector:
        return None
    boxes_xyxy_px = (
        np.array([[0, 0, *size_wh]], np.float32)
        if options.boxes is None
        else _clipped(options.boxes[index], index, size_wh)
    )
    return Detections(boxes_xyxy_px, np.ones(len(boxes_xyxy_px), np.float32))


def _clipped(boxes_xyxy_px: FloatArray, index: int, size_wh: tuple[int, int]) -> FloatArray:
    boxes_xyxy_px = geometry.clip_boxes(boxes_xyxy_px, size_wh)
    inside = (boxes_xyxy_px[:, 2:] > boxes_xyxy_px[:, :2]).all(1)
    if not inside.all():
        outside = int(np.flatnonzero(~inside)[0])
        raise InvalidOptions(
            f"boxes[{index}][{outside}] does not touch the image of {size_wh[0]} x {size_wh[1]}"
        )
    return boxes_xyxy_px
