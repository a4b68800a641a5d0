"""Find person boxes in images. Knows no poses, no queues and, itself, no ultralytics.

On a CPU, every image is placed on the smallest of a few canvases that holds it and is run alone;
elsewhere all are placed in the same square. So its boxes do not depend on its batch.
One instance belongs to one thread.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch

from distilpose.model.arrays import FloatArray, ImageHWC, check_shape
from distilpose.model.errors import ConfigError, NotFinite
from distilpose.model.geometry import Reduction, boxes_from_reduced, clip_boxes
from distilpose.model.letterbox import Letterbox, letterbox, rectangles, square
from distilpose.model.runtime.devices import faults_as_errors, torch_dtype
from distilpose.model.runtime.engine import time_buckets
from distilpose.model.runtime.precision import Precision
from distilpose.model.runtime.yolo import DetectorNetwork, load_network

MAX_BOXES: Final = 300
"""Maximum number of boxes for one image, as in ultralytics' own prediction."""
MAX_CANDIDATES: Final = 2000
"""Maximum number of candidates for suppression, best first: limits its time to 30 ms at low
thresholds."""
BFLOAT16_LARGEST_PX: Final = 1024
"""By torch. Cells of 8 pixels have their centres at n + 0.5, exact in bfloat16 up to n = 127."""

logger = logging.getLogger(__name__)


class Detections(NamedTuple):
    """The people of one image, best score first."""

    boxes_xyxy_px: FloatArray
    """Shape (N, 4)."""
    scores: FloatArray
    """Shape (N,), 0..1."""


class PersonDetector:
    """A detection network on one device, ready to find people; takes ownership of the network.

    Raises:
        ConfigError: the size or the overlap is not supported, or not in this `precision`.
    """

    def __init__(
        self,
        network: DetectorNetwork,
        *,
        device: str | torch.device = "cpu",
        precision: Precision = "float32",
        image_size_px: int = 640,
        iou_threshold: float = 0.6,
    ) -> None:
        _check_options(network, precision, image_size_px, iou_threshold)
        self.name = network.name
        self.sha256 = network.sha256
        self.device = torch.device(device)
        self.precision = precision
        self.image_size_px = image_size_px
        on_cpu = self.device.type == "cpu"
        self.canvases = (
            rectangles(image_size_px, multiple_of=network.stride_px)
            if on_cpu
            else square(image_size_px)
        )
        """Shapes of the canvases that `run` takes, the largest last."""
        self._dtype = torch_dtype(precision)
        self._iou_threshold = iou_threshold
        self._person_class = network.person_class
        self._end2end = network.end2end
        self._module = _cast_for_inference(network, self.device, self._dtype)

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        *,
        device: str | torch.device = "cpu",
        precision: Precision = "float32",
        image_size_px: int = 640,
        iou_threshold: float = 0.6,
    ) -> "PersonDetector":
        """Load the detector from `path`, or the packaged one for None; its digest is logged.

        Raises:
            WeightsError: there is no such file, or it is not a detector of people.
            ConfigError: the size or the overlap is not supported, or not in this `precision`.
        """
        network = load_network(path)
        logger.info("detector %s, sha256 %s", network.name, network.sha256)
        return cls(
            network,
            device=device,
            precision=precision,
            image_size_px=image_size_px,
            iou_threshold=iou_threshold,
        )

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

    @torch.inference_mode()
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
        with faults_as_errors():
            rows = self._wanted(np.stack(canvases), torch.from_numpy(min_box_scores))
        return [self._suppress(rows[rows[:, 0] == index, 1:]) for index in range(len(canvases))]

    def _wanted(
        self, canvases_BHWC: npt.NDArray[np.uint8], min_box_scores: torch.Tensor
    ) -> FloatArray:
        """Rows of image index, corners and score: the candidates that reach the minimum score."""
        boxes_BA4, scores_BA = self._people(self._answer(canvases_BHWC))
        wanted = min_box_scores.to(self.device)[:, None]
        # A NaN score passes the threshold: it must be noticed, not lost.
        image, anchor = torch.nonzero(~(scores_BA < wanted), as_tuple=True)
        columns = (image[:, None], boxes_BA4[image, anchor], scores_BA[image, anchor, None])
        rows: FloatArray = torch.cat(columns, 1).cpu().numpy()
        return rows

    def _answer(self, canvases_BHWC: npt.NDArray[np.uint8]) -> torch.Tensor:
        """The network's output for canvases of one shape."""
        output: torch.Tensor = self._module(self.normalise(torch.from_numpy(canvases_BHWC)))[0]
        return output

    def normalise(self, canvases_BHWC: torch.Tensor) -> torch.Tensor:
        """uint8 RGB (B, H, W, 3) -> the network's input, RGB 0..1 (B, 3, H, W)."""
        canvases = canvases_BHWC.to(self.device, non_blocking=True)
        return canvases.permute(0, 3, 1, 2).to(self._dtype).div_(255)

    def _people(self, output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The network's output for people: boxes (B, A, 4) as corners, and scores (B, A)."""
        if self._end2end:  # (B, A, 6): corners, score, class
            is_person = output[..., 5] == self._person_class
            return output[..., :4], torch.where(is_person, output[..., 4], -1)
        # (B, 4 + classes, A): centre, size, a score for each class
        centers, sizes = output[:, :2].mT, output[:, 2:4].mT
        corners = torch.cat([centers - sizes / 2, centers + sizes / 2], -1)
        return corners, output[:, 4 + self._person_class]

    def _suppress(self, candidates: FloatArray) -> Detections:
        """The candidates (N, 5) of one image, best first, without those that overlap a better one.

        Raises:
            NotFinite: the network's output has NaN or infinity.
        """
        if not np.isfinite(candidates).all():
            raise NotFinite("the detector's output is not finite")
        boxes, scores = candidates[:, :4], candidates[:, 4]
        if self._end2end:
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


def _check_options(
    network: DetectorNetwork, precision: Precision, image_size_px: int, iou_threshold: float
) -> None:
    if image_size_px < 1 or image_size_px % network.stride_px:
        raise ConfigError(
            f"detector image size {image_size_px} is not a multiple of {network.stride_px}"
        )
    if precision == "bfloat16" and image_size_px > BFLOAT16_LARGEST_PX:
        raise ConfigError(
            f"detector image size {image_size_px} is over {BFLOAT16_LARGEST_PX}, "
            "the largest at which bfloat16 places boxes exactly"
        )
    if not 0 <= iou_threshold <= 1:
        raise ConfigError(f"detector iou {iou_threshold} is not within 0..1")


def _cast_for_inference(network: DetectorNetwork, device: torch.device, dtype: torch.dtype) -> Any:
    """The module on `device` in `dtype`, its last convolutions and the decoding in float32.

    In bfloat16 the coordinates of a box at 500 pixels would have a resolution of two pixels.
    """
    module: Any = network.module
    module.to(device=device, dtype=dtype, memory_format=torch.channels_last)
    head: Any = network.head
    branches = head.one2one if head.end2end else head.one2many
    last = [level[-1] for branch in branches.values() for level in branch]
    for layer in (*last, head.dfl):
        layer.float().register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
    return module
