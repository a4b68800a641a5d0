"""What a request asks for and what it is answered, as both front ends see it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from distilpose.model.arrays import BoolArray, FloatArray, ImageHWC
from distilpose.model.pictures.source import Source
from distilpose.model.poses.pose import Pose
from distilpose.service.errors import InvalidOptions, ServiceError

MOST_TRACK_ID: Final = 2**63
"""Largest first track id that a client may ask for."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to answer; the same for all images of a request."""

    min_box_score: float
    max_people: int
    min_keypoint_score: float
    boxes: Sequence[FloatArray] | None = None
    """For each image (N, 4) xyxy in image pixels; then the detector is skipped."""
    whole_image: bool = False
    flip_test: bool = False
    format: Literal["poses", "coco"] = "poses"
    draw_sigma: bool = False
    """Whether a drawn answer has sigma ellipses."""

    @property
    def crops_per_person(self) -> int:
        """How many network inputs a person takes."""
        return 2 if self.flip_test else 1

    @property
    def skips_detector(self) -> bool:
        """Whether the boxes are known without looking for people."""
        return self.whole_image or self.boxes is not None

    def visible(self, pose: Pose) -> BoolArray:
        """(17,): the keypoints whose score is at least `min_keypoint_score`."""
        # In float32, as the score: 0.7 from JSON and 0.7 from a protobuf float are one threshold.
        return pose.keypoint_score >= np.float32(self.min_keypoint_score)


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
    """Whether it waits until there is room, where others are refused as overload. Its time to
    `deadline` begins anew then: what waits is as good as not read yet."""


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
    timeout_seconds: float
    """In which it is of use, from when it is asked for: before, it is as good as not read yet."""
    error: ServiceError | None = None
    """Why it cannot be answered, where that is known before its pixels are looked at."""
    in_order: bool = True
    """Whether `frame_id` and `timestamp_ms` come after those of the frames before."""


@dataclass(frozen=True, slots=True)
class FrameAnswer:
    """The people of one frame, or its error, and what became of frames before it."""

    frame: Frame
    image: ImageAnswer
    timing: Timing = field(default_factory=Timing)
    track_ids: Sequence[int] = ()
    """Who the poses are, one for one; empty in streams that do not say it."""
    dropped_frame_ids: Sequence[int] = ()
    """Of frames that newer ones have replaced since the answer before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """How to answer a stream; the same for all its frames.

    Raises:
        InvalidOptions: two of them do not go together, or one is out of range.
    """

    pose: Options
    mode: Literal["ordered", "latest"] = "ordered"
    track: bool = False
    detect_every: int = 1
    """The detector looks at every Nth frame."""
    smooth: bool = False
    last_frame_id: int | None = None
    """Of the stream that this one goes on from: frames come after it."""
    next_track_id: int = 1

    def __post_init__(self) -> None:
        if self.follows and self.pose.skips_detector:
            given = "whole_image" if self.pose.whole_image else "boxes"
            raise InvalidOptions(f"detect_every and {given}: give one or the other")
        if self.next_track_id > MOST_TRACK_ID:
            raise InvalidOptions(
                f"resume.next_track_id: at most {MOST_TRACK_ID}, got {self.next_track_id}"
            )

    @property
    def follows(self) -> bool:
        """Whether boxes follow people, so that a frame needs the answer of the one before."""
        return self.detect_every > 1

    @property
    def knows_people(self) -> bool:
        """Whether people are told from each other over frames."""
        return self.track or self.smooth or self.follows


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
