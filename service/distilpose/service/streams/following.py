"""Follow a stream's people across frames: their track ids, and boxes predicted from the last frame.

Knows no transport and no order of frames: `Stream` asks for one after the other.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from distilpose.model import geometry
from distilpose.model.arrays import FloatArray
from distilpose.model.poses.pose import Pose
from distilpose.model.similarity import oks, suppress_duplicates
from distilpose.service.domain import Frame, ImageAnswer, Options, PoseAnswer, StreamOptions
from distilpose.service.errors import InvalidOptions
from distilpose.service.streams.smoothing import Smoother
from distilpose.service.streams.tracking import Tracker

Estimate = Callable[[Frame, Options], Awaitable[PoseAnswer]]

_LEAST_SCORE_LEFT: Final = 0.5
"""A person counts as lost when the mean keypoint score falls below this share of its value at
detection. The threshold is relative because some people's keypoints never score high."""
_LEAST_OKS: Final = 0.3
"""A person counts as lost when the OKS between the pose found and the pose expected is lower."""
_SURE_SCORE: Final = 0.3
"""Keypoints with a higher score are kept within the box."""


@dataclass(frozen=True, slots=True)
class _Followed:
    """A person as last detected."""

    detected: Pose

    def box_xyxy_px(self, keypoints_xy_px: FloatArray) -> FloatArray:
        """The box (4,) for keypoints (17, 2), moved and scaled with them since the detection.

        It keeps its shape, unless keypoints with a high score would be outside.
        """
        weights = self.detected.keypoint_score + np.float32(1e-6)
        before, now = (
            _Cloud.of(xy_px, weights) for xy_px in (self.detected.keypoints_xy_px, keypoints_xy_px)
        )
        corners_xy_px = self.detected.box_xyxy_px.reshape(2, 2) - before.centre_xy_px
        corners_xy_px = now.centre_xy_px + corners_xy_px * (now.spread_px / before.spread_px)
        sure = keypoints_xy_px[self.detected.keypoint_score > _SURE_SCORE]
        points_xy_px = np.concatenate([corners_xy_px, sure])
        return np.concatenate([points_xy_px.min(0), points_xy_px.max(0)]).astype(np.float32)

    def is_lost(self, pose: Pose, expected_xy_px: FloatArray) -> bool:
        """Return True if the pose found is not this person's."""
        if pose.keypoint_score.mean() < _LEAST_SCORE_LEFT * self.detected.keypoint_score.mean():
            return True
        similarity = oks(pose.keypoints_xy_px, expected_xy_px, area_px2=_area_px2(pose))
        return bool(similarity < _LEAST_OKS)


class _Cloud(NamedTuple):
    """The centre of a set of points, and their spread."""

    centre_xy_px: npt.NDArray[Any]
    spread_px: float

    @classmethod
    def of(cls, xy_px: FloatArray, weights: FloatArray) -> "_Cloud":
        centre_xy_px = np.average(xy_px, axis=0, weights=weights)
        squared_px2 = ((xy_px - centre_xy_px) ** 2).sum(1)
        return cls(centre_xy_px, float(np.sqrt(np.average(squared_px2, weights=weights))) + 1e-6)


class _Expected(NamedTuple):
    """A person expected in the next frame."""

    person: _Followed
    keypoints_xy_px: FloatArray
    box_xyxy_px: FloatArray


class Follower:
    """Requests each frame's people from the pipeline and recognises them."""

    def __init__(self, estimate: Estimate, options: StreamOptions) -> None:
        self._estimate = estimate
        self._options = options
        self._tracker = Tracker(next_id=options.next_track_id)
        self._smoother = Smoother()
        self._people: dict[int, _Followed] = {}
        """The people of the last answered frame."""
        self._size_wh: tuple[int, int] | None = None
        """Size of that frame; None if the next frame needs the detector."""
        self._frames_since_detected = 0
        self._expected: list[_Expected] | None = None
        """The people whose boxes the frame was requested with; None if the detector ran."""

    async def estimate(self, frame: Frame) -> PoseAnswer:
        """Run the pipeline on the frame, with boxes predicted from earlier frames where possible.

        Raises:
            ServiceError: what the pipeline raises.
        """
        self._expected = None
        expected = self._expect(frame.timestamp_ms) if self._options.follows else None
        if expected is not None:
            boxes_xyxy_px = [person.box_xyxy_px for person in expected]
            boxes = [np.array(boxes_xyxy_px, np.float32).reshape(-1, 4)]
            answer = await self._estimate(frame, replace(self._options.pose, boxes=boxes))
            if not self._is_of_another_size(answer.images[0]):
                self._expected = expected
                return answer
        return await self._estimate(frame, self._options.pose)

    def recognise(self, frame: Frame, image: ImageAnswer) -> tuple[ImageAnswer, Sequence[int]]:
        """The frame's answer for the caller, and its poses' track ids. Call it in frame order."""
        if image.error or not self._options.knows_people:
            return image, ()
        if self._expected is None:
            poses = list(image.poses)
            people = [_Followed(pose) for pose in poses]
            self._frames_since_detected = 0
        else:
            poses, people = _still_there(image.poses, self._expected)
        self._frames_since_detected += 1
        track_ids = self._tracker.update(poses, frame.timestamp_ms)
        is_complete = self._people.keys() <= set(track_ids)
        self._size_wh = image.size_wh if is_complete else None
        self._people = dict(zip(track_ids, people, strict=True))
        if self._options.smooth:
            poses = self._smoother.smooth(poses, track_ids, frame.timestamp_ms)
        return replace(image, poses=poses), track_ids if self._options.track else ()

    def _expect(self, timestamp_ms: float) -> list[_Expected] | None:
        """The people expected in the next frame; None if the detector has to run."""
        if self._size_wh is None or self._frames_since_detected >= self._options.detect_every:
            return None
        expected = []
        for track_id, person in self._people.items():
            try:
                keypoints_xy_px = self._tracker.predict(track_id, timestamp_ms)
            except KeyError:
                return None  # too long ago
            box_xyxy_px = geometry.clip_boxes(
                person.box_xyxy_px(keypoints_xy_px)[None], self._size_wh
            )[0]
            if (box_xyxy_px[2:] <= box_xyxy_px[:2]).any():
                return None  # somebody has left the picture
            expected.append(_Expected(person, keypoints_xy_px, box_xyxy_px))
        return expected

    def _is_of_another_size(self, image: ImageAnswer) -> bool:
        """Return True if the boxes were predicted for an image of another size."""
        if image.error:
            return isinstance(image.error, InvalidOptions)
        return image.size_wh != self._size_wh


def _still_there(
    poses: Sequence[Pose], expected: Sequence[_Expected]
) -> tuple[list[Pose], list[_Followed]]:
    """The poses of the people who were not lost, with their boxes' scores, and their tracks."""
    found = [
        (replace(pose, box_score=each.person.detected.box_score), each.person)
        for pose, each in zip(poses, expected, strict=True)
        if not each.person.is_lost(pose, each.keypoints_xy_px)
    ]
    if not found:
        return [], []
    keypoints_xy_px = np.stack([pose.keypoints_xy_px for pose, _ in found])
    scores = np.array([pose.score for pose, _ in found])
    areas_px2 = np.array([_area_px2(pose) for pose, _ in found])
    kept = [
        found[index] for index in sorted(suppress_duplicates(keypoints_xy_px, scores, areas_px2))
    ]
    return [pose for pose, _ in kept], [person for _, person in kept]


def _area_px2(pose: Pose) -> float:
    return float((pose.box_xyxy_px[2:] - pose.box_xyxy_px[:2]).prod())
