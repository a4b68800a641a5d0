"""What a request asks for and what it is answered, as both front ends see it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from distilpose.model.arrays import FloatArray, ImageHWC
from distilpose.model.predict import Pose
from distilpose.service.errors import ServiceError


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """One image as the caller sent it. `id` is the caller's own name for it."""

    content: bytes
    id: str | int | None = None


@dataclass(frozen=True, slots=True)
class RawFrame:
    """One picture as bare pixels. `format` is a key of `raw_frames.FORMATS`, checked there."""

    data: bytes
    format: str
    width: int
    height: int
    row_stride_bytes: int = 0
    """From one row of the first plane to the next; 0 means rows without padding."""
    id: str | int | None = None


Source: TypeAlias = EncodedImage | RawFrame


@dataclass(frozen=True, slots=True)
class Options:
    """How to answer; the same for all images of a request."""

    min_box_score: float
    max_people: int
    min_keypoint_score: float = 0.0
    boxes: Sequence[FloatArray] | None = None
    """For each image (N, 4) xyxy in image pixels; then the detector is skipped."""
    whole_image: bool = False
    flip_test: bool = False
    format: Literal["poses", "coco"] = "poses"

    @property
    def crops_per_person(self) -> int:
        """How many network inputs a person takes."""
        return 2 if self.flip_test else 1

    @property
    def skips_detector(self) -> bool:
        """Whether the boxes are known without looking for people."""
        return self.whole_image or self.boxes is not None


@dataclass(frozen=True, slots=True)
class PoseRequest:
    """One call: images, options, and when its answer is of no more use."""

    images: Sequence[Source]
    options: Options
    deadline: float
    """Instant of the monotonic clock, seconds."""
    keep_pixels: bool = False
    """Whether the answer carries the decoded images, to draw on."""
    waits_for_room: bool = False
    """Whether it waits until there is room, where others are refused as overload."""


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    """The poses of one image, or why there are none. Sizes are of the oriented image."""

    id: str | int | None
    size_wh: tuple[int, int] | None = None
    poses: Sequence[Pose] = ()
    error: ServiceError | None = None
    image: ImageHWC | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of a request went, seconds; overlapping work of a stage is counted once."""

    decode: float = 0.0
    detect: float = 0.0
    pose: float = 0.0
    queue: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class PoseAnswer:
    """One entry for each image, in the order of the request."""

    images: Sequence[ImageAnswer]
    timing: Timing = field(default_factory=Timing)

    @property
    def failure(self) -> ServiceError | None:
        """The first image's error when no image was answered: then the call fails with it."""
        return self.images[0].error if all(image.error for image in self.images) else None


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a stream. Instants are of the monotonic clock, seconds."""

    frame_id: int
    timestamp_ms: float
    source: Source
    arrived_at: float
    deadline: float
    error: ServiceError | None = None
    """Why it cannot be answered, where that is known before its pixels are looked at."""
    in_order: bool = True
    """Whether `frame_id` and `timestamp_ms` come after those of the frames before."""


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """The student that answers, and on what it runs."""

    name: str
    version: str
    sha256: str
    source: str
    """How the weights were made."""
    calibrated: bool
    """Whether scores are calibrated probabilities."""
    device: str
    dtype: str
    engine: str
    """What runs the networks: torch or openvino."""
    input_size_hw: tuple[int, int]
    """Of a crop, pixels."""
    keypoints: Sequence[str]
    detector: str
