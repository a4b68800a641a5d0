"""Find person boxes in images, whatever runs the network. Knows no poses and no queues.

On a CPU, every image is placed on the smallest of a few canvases that holds it and is run alone;
elsewhere all are placed in the same square. So its boxes do not depend on its batch.
One instance belongs to one thread.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt

from distilpose.model.arrays import FloatArray, ImageHWC, check_shape
from distilpose.model.errors import ConfigError, NotFinite, WeightsError
from distilpose.model.geometry import Reduction, boxes_from_reduced, clip_boxes
from distilpose.model.letterbox import Letterbox, letterbox, rectangles, square
from distilpose.model.runtime.devices import ComputeDevice
from distilpose.model.runtime.engine import time_buckets
from distilpose.model.runtime.precision import Precision

PACKAGED: Final = Path(__file__).parents[1] / "packaged" / "person-detector.safetensors"
MAX_BOXES: Final = 300
"""Maximum number of boxes for one image, as in ultralytics' own prediction."""
MAX_CANDIDATES: Final = 2000
"""Maximum number of candidates for suppression, best first: limits its time to 30 ms at low
thresholds."""
BFLOAT16_LARGEST_PX: Final = 1024
"""By torch. Cells of 8 pixels have their centres at n + 0.5, exact in bfloat16 up to n = 127."""


class Detections(NamedTuple):
    """The people of one image, best score first."""

    boxes_xyxy_px: FloatArray
    """Shape (N, 4)."""
    scores: FloatArray
    """Shape (N,), 0..1."""


@dataclass(frozen=True, slots=True)
class DetectorFacts:
    """The properties of a detection network that its file and its users have to agree on."""

    name: str
    sha256: str
    """The digest of its file, lower-case hexadecimal."""
    person_class: int
    """The index of the class person among its classes."""
    end2end: bool
    """True if the network suppresses overlapping boxes itself."""
    stride_px: int
    """The input's sides must be multiples of this."""


class PersonDetector(ABC):
    """A detection network on one device, ready to find people.

    Raises:
        ConfigError: the size or the overlap is not supported.
    """

    def __init__(
        self,
        facts: DetectorFacts,
        *,
        device: ComputeDevice,
        precision: Precision,
        image_size_px: int = 640,
        iou_threshold: float = 0.6,
    ) -> None:
        _check_options(facts, image_size_px, iou_threshold)
        self.name = facts.name
        self.sha256 = facts.sha256
        self.device = device
        self.precision = precision
        self.image_size_px = image_size_px
        self.canvases = (
            rectangles(image_size_px, multiple_of=facts.stride_px)
            if device.kind == "cpu"
            else square(image_size_px)
        )
        """Shapes of the canvases that `run` takes, the largest last."""
        self._facts = facts
        self._iou_threshold = iou_threshold

    def detect(self, images: Sequence[ImageHWC], *, min_box_score: float) -> list[Detections]:
        """Find the people in each image, in its pixels, with scores of at least `min_box_score`.

        Raises:
            ArrayError: an image is not uint8 of shape (H, W, 3), or is empty.
        """
        if not images:
            return []
        canvases, letterboxes = zip(
            *(letterbox(image, self.canvases) for image in images), strict=True
        )
        found = self.run(canvases, np.full(len(images), min_box_score, np.float32))
        return [to_image(*pair) for pair in zip(found, letterboxes, strict=True)]

    def run(self, canvases: Sequence[ImageHWC], min_box_scores: FloatArray) -> list[Detections]:
        """Find the people on B letterboxed canvases, boxes in a canvas's pixels.

        Each canvas has its own minimum score in `min_box_scores` (B,).

        Raises:
            ArrayError: a canvas or the scores have another shape.
            OutOfDeviceMemory: the batch does not fit into the device's memory.
            DeviceFault: the device no longer computes.
            NotFinite: the network's output has NaN or infinity.
        """
        for canvas in canvases:
            shape_hw = canvas.shape[:2] if canvas.shape[:2] in self.canvases else self.canvases[-1]
            check_shape(canvas, (*shape_hw, 3), name="canvas")
        check_shape(min_box_scores, (len(canvases),), name="min_box_scores")
        size = 1 if len(self.canvases) > 1 else max(1, len(canvases))
        found: list[Detections] = []
        for start in range(0, len(canvases), size):
            batch = slice(start, start + size)
            found += self._run_batch(canvases[batch], min_box_scores[batch])
        return found

    def restore(self) -> None:  # noqa: B027 - nothing is kept by most
        """Take all that earlier starts kept of the network."""

    def warm_up(self, buckets: Sequence[int] = (1,)) -> dict[int, float]:
        """Run canvases of every shape, and every bucket with the largest canvas.

        Returns the seconds of each bucket, as measured by `time_buckets`.
        """
        for shape_hw in self.canvases:
            self.run([np.zeros((*shape_hw, 3), np.uint8)], np.ones(1, np.float32))
        canvases = [np.zeros((*self.canvases[-1], 3), np.uint8)] * buckets[-1]
        scores = np.ones(buckets[-1], np.float32)
        return time_buckets(lambda n: self.run(canvases[:n], scores[:n]), buckets)

    def _run_batch(
        self, canvases: Sequence[ImageHWC], min_box_scores: FloatArray
    ) -> list[Detections]:
        rows = self._wanted(self._answer(np.stack(canvases)), min_box_scores)
        return [self._suppress(rows[rows[:, 0] == index, 1:]) for index in range(len(canvases))]

    @abstractmethod
    def _answer(self, canvases_BHWC: npt.NDArray[np.uint8]) -> FloatArray:
        """The network's output for canvases of one shape.

        One that suppresses overlapping boxes itself returns corners, score and class of its boxes
        (B, A, 6); any other one centre, size and score of each place's person (B, 5, A).
        """

    def _wanted(self, output: FloatArray, min_box_scores: FloatArray) -> FloatArray:
        """Rows of image index, corners and score: the candidates that reach the minimum score."""
        if self._facts.end2end:
            output = output.transpose(0, 2, 1)
            is_person = output[:, 5] == self._facts.person_class
            scores_BA = np.where(is_person, output[:, 4], np.float32(-1))
        else:
            scores_BA = output[:, 4]
        # A NaN score passes the threshold: it must be noticed, not lost.
        image, place = np.nonzero(~(scores_BA < min_box_scores[:, None]))
        boxes = output[image, :4, place]
        corners = boxes if self._facts.end2end else _corners(boxes)
        columns = (image[:, None], corners, scores_BA[image, place, None])
        return np.concatenate(columns, 1, dtype=np.float32)

    def _suppress(self, candidates: FloatArray) -> Detections:
        """The candidates (N, 5) of one image, best first, without those that overlap a better one.

        Raises:
            NotFinite: the network's output has NaN or infinity.
        """
        if not np.isfinite(candidates).all():
            raise NotFinite("the detector's output is not finite")
        boxes, scores = candidates[:, :4], candidates[:, 4]
        if self._facts.end2end:
            kept = np.argsort(-scores, kind="stable")
        else:
            boxes_xywh: Any = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
            kept = np.asarray(
                cv2.dnn.NMSBoxes(
                    boxes_xywh, cast("Any", scores), 0.0, self._iou_threshold, top_k=MAX_CANDIDATES
                ),
                np.intp,
            )
        return Detections(boxes[kept[:MAX_BOXES]], scores[kept[:MAX_BOXES]])


def _corners(boxes: FloatArray) -> FloatArray:
    """Centre and size (N, 4) -> corners (N, 4)."""
    halves = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - halves, boxes[:, :2] + halves], 1)


def check_path(path: Path) -> None:
    """Check that a detector's file is there.

    Raises:
        WeightsError: it is not.
    """
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such file; detector weights are given as the path of a file, because "
            "nothing is downloaded at run time"
        )


def to_image(found: Detections, placed: Letterbox) -> Detections:
    """Boxes in a canvas's pixels -> boxes in its image's, without those outside the image."""
    return _inside(placed.to_image(found.boxes_xyxy_px), found.scores)


def to_whole(found: Detections, reduction: Reduction, image_size_wh: tuple[int, int]) -> Detections:
    """Boxes in a reduced picture's pixels -> image pixels, without those wholly outside."""
    boxes_xyxy_px = boxes_from_reduced(found.boxes_xyxy_px, reduction)
    return _inside(clip_boxes(boxes_xyxy_px, image_size_wh), found.scores)


def _inside(clipped_xyxy_px: FloatArray, scores: FloatArray) -> Detections:
    """The boxes that are not empty after clipping to the image."""
    inside = (clipped_xyxy_px[:, 2:] > clipped_xyxy_px[:, :2]).all(1)
    return Detections(clipped_xyxy_px[inside], scores[inside])


def _check_options(facts: DetectorFacts, image_size_px: int, iou_threshold: float) -> None:
    if image_size_px < 1 or image_size_px % facts.stride_px:
        raise ConfigError(
            f"detector image size {image_size_px} is not a multiple of {facts.stride_px}"
        )
    if not 0 <= iou_threshold <= 1:
        raise ConfigError(f"detector iou {iou_threshold} is not within 0..1")
