"""Recognise people from frame to frame. Knows poses and times, but neither streams nor pipeline."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from distilpose.model import geometry
from distilpose.model.arrays import FloatArray
from distilpose.model.poses.pose import Pose
from distilpose.model.similarity import oks

Floats = npt.NDArray[np.floating[Any]]

FORGOTTEN_AFTER_MS: Final = 2000.0
"""A person unseen for longer returns as a new person."""
LEAST_ELAPSED_MS: Final = 1.0
"""Speeds use at least this time, since timestamps may be any amount apart."""
_LEAST_SIMILARITY: Final = 0.15
"""A pose with a lower similarity to every known person is a new person."""
_STEADY_FOR_MS: Final = 600.0
"""The time constant over which velocities are averaged: keypoints jitter, most of all just before a
person is hidden."""
_DOUBT_PER_MS: Final = 3 / 1000
"""The growth, per millisecond unseen, of the distance at which a person is still recognised."""


@cache
def assignment_solver() -> Callable[..., Any]:
    """SciPy's, imported when first asked for: that takes as long as the start of a server."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - see above

    return linear_sum_assignment  # type: ignore[no-any-return]  # scipy has no types


@dataclass(slots=True, eq=False)
class _Track:
    track_id: int
    pose: Pose
    seen_at_ms: float
    velocity_xy_px_per_ms: Floats
    steps: int = 0
    """The number of velocities averaged so far."""

    def shift_xy_px(self, timestamp_ms: float) -> Floats:
        """The distance the person has moved since then, at constant velocity."""
        return self.velocity_xy_px_per_ms * (timestamp_ms - self.seen_at_ms)

    def see(self, pose: Pose, timestamp_ms: float) -> None:
        weights = self.pose.keypoint_score * pose.keypoint_score + 1e-6
        moved_xy_px = pose.keypoints_xy_px - self.pose.keypoints_xy_px
        elapsed_ms = max(timestamp_ms - self.seen_at_ms, LEAST_ELAPSED_MS)
        velocity = np.average(moved_xy_px, axis=0, weights=weights) / elapsed_ms
        self.steps += 1
        gain = max(1 / self.steps, -math.expm1(-elapsed_ms / _STEADY_FOR_MS))
        self.velocity_xy_px_per_ms += gain * (velocity - self.velocity_xy_px_per_ms)
        self.pose, self.seen_at_ms = pose, timestamp_ms


class Tracker:
    """Gives each person a number that stays the same and is never reused."""

    def __init__(self, *, next_id: int = 1) -> None:
        self._next_id = next_id
        self._tracks: list[_Track] = []

    def update(self, poses: Sequence[Pose], timestamp_ms: float) -> list[int]:
        """The track id of each of a frame's poses; `timestamp_ms` must increase from call to call.

        Poses and known people are paired for the greatest total similarity: OKS of the keypoints
        and IoU of the boxes, both extrapolated at constant velocity.
        """
        self._tracks = [
            track for track in self._tracks if timestamp_ms - track.seen_at_ms <= FORGOTTEN_AFTER_MS
        ]
        known = self._pair(poses, timestamp_ms)
        return [self._see(pose, known.get(index), timestamp_ms) for index, pose in enumerate(poses)]

    def predict(self, track_id: int, timestamp_ms: float) -> FloatArray:
        """The expected keypoints (17, 2) of a person, in pixels.

        Raises:
            KeyError: nobody with that id was seen recently.
        """
        for track in self._tracks:
            unseen_ms = timestamp_ms - track.seen_at_ms
            if track.track_id == track_id and unseen_ms <= FORGOTTEN_AFTER_MS:
                moved = track.pose.keypoints_xy_px + track.shift_xy_px(timestamp_ms)
                return np.asarray(moved, np.float32)
        raise KeyError(track_id)

    def _pair(self, poses: Sequence[Pose], timestamp_ms: float) -> dict[int, _Track]:
        """The known people among the poses, by pose index."""
        if not (poses and self._tracks):
            return {}
        similarity = _similarity(self._tracks, poses, timestamp_ms)
        rows, columns = assignment_solver()(similarity, maximize=True)
        return {
            int(column): self._tracks[row]
            for row, column in zip(rows, columns, strict=True)
            if similarity[row, column] >= _LEAST_SIMILARITY
        }

    def _see(self, pose: Pose, track: _Track | None, timestamp_ms: float) -> int:
        if track:
            track.see(pose, timestamp_ms)
            return track.track_id
        self._tracks.append(_Track(self._next_id, pose, timestamp_ms, np.zeros(2)))
        self._next_id += 1
        return self._next_id - 1


def _similarity(tracks: Sequence[_Track], poses: Sequence[Pose], timestamp_ms: float) -> Floats:
    """The similarity of each track (row) and pose (column), 0..1: the mean of OKS and IoU.

    OKS uses the area of the crops, which changes less than the box's when somebody is half hidden;
    it grows with the time since the person was last seen.
    """
    shifts_xy_px = np.stack([track.shift_xy_px(timestamp_ms) for track in tracks])
    expected_xyxy_px = _boxes([track.pose for track in tracks]) + np.tile(shifts_xy_px, 2)
    expected_xy_px = _keypoints([track.pose for track in tracks]) + shifts_xy_px[:, None]
    boxes_xyxy_px = _boxes(poses)
    areas_px2 = (_crop_areas_px2(expected_xyxy_px)[:, None] + _crop_areas_px2(boxes_xyxy_px)) / 2
    unseen_ms = np.array([timestamp_ms - track.seen_at_ms for track in tracks])
    doubt = (1 + _DOUBT_PER_MS * unseen_ms[:, None]) ** 2
    by_keypoints = oks(_keypoints(poses)[None], expected_xy_px[:, None], area_px2=areas_px2 * doubt)
    return (by_keypoints + geometry.iou(expected_xyxy_px, boxes_xyxy_px)) / 2


def _boxes(poses: Sequence[Pose]) -> Floats:
    return np.stack([pose.box_xyxy_px for pose in poses])


def _keypoints(poses: Sequence[Pose]) -> Floats:
    return np.stack([pose.keypoints_xy_px for pose in poses])


def _crop_areas_px2(boxes_xyxy_px: Floats) -> Floats:
    regions = geometry.crop_regions(boxes_xyxy_px.astype(np.float32))
    return np.asarray(regions.sizes_wh_px.prod(-1))
