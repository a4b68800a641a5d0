"""Requests and answers as both front ends see them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import numpy as np

from distilpose.model.arrays import BoolArray, FloatArray, ImageHWC
from distilpose.model.pictures.source import Source
from distilpose.model.poses.pose import Pose
from distilpose.service.errors import InvalidOptions, ServiceError

MOST_TRACK_ID: Final = 2**63
"""Largest first track id that a client may ask for."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a request; the same for all its images."""

    min_box_score: float
    max_people: int
    min_keypoint_score: float
    boxes: Sequence[FloatArray] | None = None
    """For each image (N, 4) xyxy in image pixels; the detector is then skipped."""
    whole_image: bool = False
    flip_test: bool = False
    format: Literal["poses", "coco"] = "poses"
    draw_sigma: bool = False
    """True to draw sigma ellipses on a drawn answer."""

    @property
    def crops_per_person(self) -> int:
        """The number of network inputs (crops) per person."""
        return 2 if self.flip_test else 1

    @property
    def skips_detector(self) -> bool:
        """Return True if the boxes are known without running the detector."""
        return self.whole_image or self.boxes is not None

    def visible(self, pose: Pose) -> BoolArray:
        """(17,): the keypoints whose score is at least `min_keypoint_score`."""
        # In float32, like the score: 0.7 from JSON and 0.7 from a protobuf float are one threshold.
        return pose.keypoint_score >= np.float32(self.min_keypoint_score)


@dataclass(frozen=True, slots=True)
class PoseRequest:
    """One call: images, options and a deadline."""

    images: Sequence[Source]
    options: Options
    deadline: float
    """Instant of the monotonic clock, seconds."""
    caller: str = ""
    """The caller, as `callers.caller_of` names it; shares are counted by it."""
    keep_pixels: bool = False
    """True to return the decoded images with the answer, so that they can be drawn on."""
    waits_for_room: bool = False
    """True to wait for room instead of being refused as overload. The time to `deadline` then
    restarts when there is room, since a waiting frame is as good as not read yet."""


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    """The poses of one image, or the error. Sizes are those of the oriented image."""

    id: str | int | None
    size_wh: tuple[int, int] | None = None
    poses: Sequence[Pose] = ()
    error: ServiceError | None = None
    image: ImageHWC | None = None
    people_found: int | None = None
    """Number of people that the detector found, of whom `max_people` are answered; None where it
    did not run."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Time spent on a request, in seconds; overlapping work of a stage is counted once."""

    decode: float = 0.0
    detect: float = 0.0
    pose: float = 0.0
    queue: float = 0.0
    total: float = 0.0


class Held(Protocol):
    """A resource with several holders; the last one to let go returns it."""

    def hold(self) -> None:
        """Add a holder."""

    def let_go(self) -> None:
        """Remove a holder."""


@dataclass(frozen=True, slots=True)
class PoseAnswer:
    """One entry for each image, in the order of the request."""

    images: Sequence[ImageAnswer]
    timing: Timing = field(default_factory=Timing)
    memory: Held | None = None
    """The request's memory if pixels are kept; whoever draws on them lets it go at last."""

    @property
    def failure(self) -> ServiceError | None:
        """The error the whole call fails with: the first image's, if no image was answered."""
        return self.images[0].error if all(image.error for image in self.images) else None


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a stream. Instants are on the monotonic clock, in seconds."""

    frame_id: int
    timestamp_ms: float
    source: Source
    arrived_at: float
    timeout_seconds: float
    """The time in which an answer is useful, counted from when the pipeline takes the frame: before
    that, the frame is as good as not read yet."""
    error: ServiceError | None = None
    """The error, if the frame is already known to be broken before its pixels are read."""
    in_order: bool = True
    """False if `frame_id` or `timestamp_ms` does not come after those of earlier frames."""


@dataclass(frozen=True, slots=True)
class FrameAnswer:
    """The people of one frame or its error, and the frames dropped since the previous answer."""

    frame: Frame
    image: ImageAnswer
    timing: Timing = field(default_factory=Timing)
    track_ids: Sequence[int] = ()
    """The track id of each pose; empty in streams without tracking."""
    dropped_frame_ids: Sequence[int] = ()
    """Ids of the frames that newer ones replaced since the previous answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """The options of a stream; the same for all its frames.

    Raises:
        InvalidOptions: two of them exclude each other, or one is out of range.
    """

    pose: Options
    mode: Literal["ordered", "latest"] = "ordered"
    track: bool = False
    detect_every: int = 1
    """Run the detector on every Nth frame."""
    smooth: bool = False
    last_frame_id: int | None = None
    """The last frame id of the stream that this one resumes: frames come after it."""
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
        """Return True if boxes follow people, so that a frame needs the previous frame's answer."""
        return self.detect_every > 1

    @property
    def knows_people(self) -> bool:
        """Return True if people are told apart across frames."""
        return self.track or self.smooth or self.follows


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """The student that answers, and the device and runtime it uses."""

    name: str
    version: str
    sha256: str
    source: str
    """Origin of the weights, in words."""
    calibrated: bool
    """True if scores are calibrated probabilities."""
    device: str
    dtype: str
    """Precision of the student, such as float32."""
    engine: str
    """Runtime of the networks: torch or openvino."""
    input_size_hw: tuple[int, int]
    """Size of a crop, in pixels."""
    keypoints: Sequence[str]
    detector: str
    detector_dtype: str
    """Precision of the detector."""
