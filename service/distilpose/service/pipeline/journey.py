"""The journey of one request's images through decode, detect and pose."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

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
from distilpose.model.letterbox import Letterbox, ShapeHW, letterbox
from distilpose.model.pictures import scaled
from distilpose.model.pictures.headers import ImageHeader
from distilpose.model.pictures.source import Source
from distilpose.model.poses.pose import Pose
from distilpose.model.runtime.detector import Detections, to_image, to_whole
from distilpose.model.runtime.engine import PoseArrays, merge_mirrored
from distilpose.service.batching.admission import Admission
from distilpose.service.batching.batcher import Batcher
from distilpose.service.batching.room import Places
from distilpose.service.batching.workers import Workers
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
from distilpose.service.pipeline.decoding import Decoding
from distilpose.service.pipeline.memory import Memory
from distilpose.service.pipeline.needs import Accepted, Needs
from distilpose.service.pipeline.stages import DetectItem
from distilpose.service.pipeline.traffic import Traffic, Way
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.telemetry.spans import Spans
from distilpose.service.words import RefusalReason, Stage

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
    """The resources that all requests share: stages, threads, memory and limits."""

    decode: Decoding
    detect: Batcher[DetectItem, Detections]
    pose: Batcher[ImageHWC, PoseArrays]
    cut: Workers
    memory: Memory
    admission: Admission
    traffic: Traffic
    canvases: Sequence[ShapeHW]
    """Shapes of the detector's input, the largest last."""
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


class _Decoded(NamedTuple):
    """A decoded image, scaled for the detector where that is to see it, and when it was decoded."""

    view: _View
    item: DetectItem | None
    placed: Letterbox | None
    decoded_at: float


class _Detected(NamedTuple):
    """The people to answer, in pixels of the whole image."""

    people: Detections
    people_found: int | None
    """Number of people before the cut to `max_people`; None where the caller gave the boxes."""


class _People(NamedTuple):
    """The people of one image, cut out of it."""

    found: Detections
    people_found: int | None
    regions: geometry.CropRegions
    crops_BHWC: CropsBHWC
    whole_HWC: ImageHWC | None
    """The image itself, where the answer keeps it."""


class Journey:
    """The state that the images of one request share.

    Resources are taken in one order: at admission memory, decode time and the places of the first
    queue, all at once; afterwards a decode thread, the detector, places in the pose queue, a cut
    thread, the student. Nothing waits for something that comes earlier in this list, so nobody can
    wait in a ring.
    """

    def __init__(
        self, means: Means, request: PoseRequest, accepted: Accepted, spans: Spans
    ) -> None:
        self._spans = spans
        self._means = means
        self._request = request
        self._accepted = accepted

    async def image(self, index: int, header: ImageHeader, needs: Needs) -> ImageAnswer:
        """One image's poses, or its error; a failure does not affect the other images."""
        source = self._request.images[index]
        try:
            with await self._accepted.turn(needs), self._means.traffic.way() as way:
                return await self._answer(source, header, index, way, needs)
        except PictureError as err:
            return ImageAnswer(source.id, error=error_of_picture(err))
        except MemoryError:
            logger.exception("memory ran out while an image was read")
            self._means.metrics.refused(RefusalReason.MEMORY)
            return ImageAnswer(source.id, error=Overloaded(_NO_MEMORY, retry_after_seconds=1))
        except ServiceError as err:
            if isinstance(err, Internal):
                logger.exception("an image failed on the device")
            return ImageAnswer(source.id, error=err)
        except Exception:
            logger.exception("an image failed unexpectedly")
            return ImageAnswer(source.id, error=Internal("the image could not be processed"))

    async def _answer(
        self, source: Source, header: ImageHeader, index: int, way: Way, needs: Needs
    ) -> ImageAnswer:
        means = self._means
        way.to(Stage.POSE if self._request.options.skips_detector else Stage.DETECT)
        people = await self._people(source, header, index, way, needs)
        poses: list[Pose] = []
        if len(people.crops_BHWC):
            with await self._room_for(len(people.crops_BHWC)) as places:
                way.to(None)
                arrays = await self._run_student(people.crops_BHWC, places)
            poses = predict.assemble(
                arrays, people.regions, *people.found, calibration=means.calibration
            )
        return ImageAnswer(
            source.id,
            header.upright_size_wh,
            poses,
            image=people.whole_HWC,
            people_found=people.people_found,
        )

    async def _people(
        self, source: Source, header: ImageHeader, index: int, way: Way, needs: Needs
    ) -> _People:
        """The people of an image."""
        given = _given_people(self._request.options, index, header.upright_size_wh)
        factor = self._factor(header, given)
        decoded = await self._decode(source, header, factor, needs, sees=given is None)
        self._means.metrics.decoded("full" if factor == 1 else "scaled")
        found, people_found = (
            _Detected(given, None) if given else await self._detect(decoded, header, way)
        )
        view = decoded.view
        del decoded
        regions = geometry.crop_regions(found.boxes_xyxy_px)
        if not scaled.leaves_rows(regions, factor):
            del view  # first: the request's memory has room for one picture
            view = (await self._decode(source, header, 1, needs, sees=False)).view
            self._means.metrics.decoded("again")
        crops_BHWC = await self._cut(view, regions)
        whole_HWC = view.image_HWC if self._request.keep_pixels else None
        return _People(found, people_found, regions, crops_BHWC, whole_HWC)

    def _factor(self, header: ImageHeader, given: Detections | None) -> int:
        if not self._means.scaled_decode or self._request.keep_pixels:
            return 1
        if given is None:
            return scaled.factor_for_detector(header, max(self._means.canvases[-1]))
        return scaled.factor_for_crops(header, geometry.crop_regions(given.boxes_xyxy_px))

    async def _decode(
        self, source: Source, header: ImageHeader, factor: int, needs: Needs, *, sees: bool
    ) -> _Decoded:
        """Decode an image, and scale it for the detector if that `sees` it, in one visit."""
        clock, canvases = self._means.clock, self._means.canvases
        min_box_score = self._request.options.min_box_score

        def work() -> _Decoded:
            image_HWC = pictures.decode(source, header, factor=factor)
            view, decoded_at = _View(image_HWC, scaled.reduction_of(header, factor)), clock()
            if not sees:
                return _Decoded(view, None, None, decoded_at)
            canvas, placed = letterbox(image_HWC, canvases)
            return _Decoded(view, DetectItem(canvas, min_box_score), placed, decoded_at)

        self._accepted.memory.hold()
        with self._spans.interrupted_wait(Stage.DECODE, clock):
            outcome = await self._means.decode.run(
                work,
                places=self._accepted.decode.use(needs.decode_places),
                on_end=self._accepted.memory.let_go,
                **self._terms(),
            )
        decoded = outcome.unwrap()
        self._spans.add_outcomes(Stage.DECODE, [replace(outcome, finished_at=decoded.decoded_at)])
        if sees:
            at = decoded.decoded_at
            self._spans.add_outcomes(Stage.DETECT, [replace(outcome, queued_at=at, started_at=at)])
        return decoded

    async def _detect(self, decoded: _Decoded, header: ImageHeader, way: Way) -> _Detected:
        assert decoded.item is not None  # noqa: S101 - it was made for the detector
        assert decoded.placed is not None  # noqa: S101 - the same
        way.to(None)  # in a queue it waits for the device itself, so no batch is held for it
        with self._spans.interrupted_wait(Stage.DETECT, self._means.clock):
            [outcome] = await self._means.detect.submit(
                [decoded.item], places=self._accepted.first, **self._terms()
            )
        way.to(Stage.POSE)
        self._spans.add_outcomes(Stage.DETECT, [outcome])
        seen = to_image(outcome.unwrap(), decoded.placed)
        found = to_whole(seen, decoded.view.reduction, header.upright_size_wh)
        answered = Detections(*(column[: self._request.options.max_people] for column in found))
        return _Detected(answered, len(found.scores))

    async def _room_for(self, crops: int) -> Places:
        """The crops' places in the pose queue: reserved at admission, or waited for now."""
        if self._request.options.skips_detector:
            first = self._accepted.first
            return Places(first.room, first.use(crops))
        asked_at = self._means.clock()
        try:
            return await self._means.pose.room.wait_for(crops, accepted_at=self._accepted.at)
        finally:
            self._spans.add_wait(Stage.POSE, asked_at, self._means.clock())

    async def _cut(self, view: _View, regions: geometry.CropRegions) -> CropsBHWC:
        flip_test = self._request.options.flip_test
        in_view = geometry.regions_in_reduced(regions, view.reduction)

        def cut() -> CropsBHWC:
            crops = crop.cut(view.image_HWC, in_view)
            return np.concatenate([crops, crop.mirror(crops)]) if flip_test else crops

        self._accepted.memory.hold()
        with self._spans.interrupted_wait(Stage.POSE, self._means.clock):
            outcome = await self._means.cut.run(
                cut, on_end=self._accepted.memory.let_go, **self._terms()
            )
        self._spans.add_outcomes(Stage.POSE, [outcome])
        return outcome.unwrap()

    async def _run_student(self, crops: CropsBHWC, places: Places) -> PoseArrays:
        with self._spans.interrupted_wait(Stage.POSE, self._means.clock):
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
        return merge_mirrored(plain, mirrored)

    def _terms(self) -> dict[str, float]:
        return {"deadline": self._request.deadline, "accepted_at": self._accepted.at}


def error_of_picture(err: PictureError) -> ServiceError:
    """The caller's error for a picture that cannot be read."""
    return KINDS_OF_PICTURES[type(err)](str(err))


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
