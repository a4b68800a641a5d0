"""Keypoints at rest jitter less, and moving keypoints do not lag behind."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from distilpose.model.poses.pose import Pose
from distilpose.service.streams.smoothing import Smoother

FRAME_MS = 40.0
STANDING_XY_PX = np.random.default_rng(2).uniform(100, 300, (17, 2)).astype(np.float32)


def pose(keypoints_xy_px: npt.NDArray[Any]) -> Pose:
    box = np.array([100, 100, 200, 400], np.float32)
    scores = np.full(17, 0.9, np.float32)
    return Pose(box, 0.9, keypoints_xy_px.astype(np.float32), scores, scores, STANDING_XY_PX)


def test_the_first_time_nothing_changes() -> None:
    first = pose(STANDING_XY_PX)
    [smoothed] = Smoother().smooth([first], [7], 0)
    np.testing.assert_array_equal(smoothed.keypoints_xy_px, first.keypoints_xy_px)


def test_who_stands_still_trembles_less() -> None:
    random, smoother = np.random.default_rng(1), Smoother()
    found, smoothed = [], []
    for index in range(200):
        seen = pose(STANDING_XY_PX + random.normal(0, 2, (17, 2)))
        found.append(seen.keypoints_xy_px)
        smoothed += [smoother.smooth([seen], [1], FRAME_MS * index)[0].keypoints_xy_px]
    trembling = [np.diff(np.array(each), axis=0).std() for each in (found, smoothed)]
    assert trembling[1] < 0.4 * trembling[0]
    np.testing.assert_allclose(np.mean(smoothed, axis=0), STANDING_XY_PX, atol=0.5)


@pytest.mark.parametrize("speed_px", [50, 400])
def test_who_moves_is_followed_within_a_few_pixels(speed_px: float) -> None:
    smoother = Smoother()
    for index in range(100):
        moved = STANDING_XY_PX + np.float32(speed_px * index * FRAME_MS / 1000)
        [smoothed] = smoother.smooth([pose(moved)], [1], FRAME_MS * index)
    lag_px = np.abs(smoothed.keypoints_xy_px - moved).max()
    assert lag_px < 6.5


def test_it_is_the_times_that_count_and_not_the_frames() -> None:
    at_first, later = pose(STANDING_XY_PX), pose(STANDING_XY_PX + np.float32(10))
    moved = []
    for elapsed_ms in (10.0, 1000.0):
        smoother = Smoother()
        smoother.smooth([at_first], [1], 0)
        [smoothed] = smoother.smooth([later], [1], elapsed_ms)
        moved.append(float((smoothed.keypoints_xy_px - STANDING_XY_PX).mean()))
    assert moved[0] < moved[1]
    assert moved[1] == pytest.approx(10, abs=1)


def test_a_person_has_nothing_of_another_one() -> None:
    some, others = pose(STANDING_XY_PX), pose(STANDING_XY_PX + np.float32(500))
    smoother = Smoother()
    smoother.smooth([some, others], [1, 2], 0)
    smoothed = smoother.smooth([others, some], [2, 1], 40)
    np.testing.assert_allclose(smoothed[0].keypoints_xy_px, others.keypoints_xy_px, atol=1e-3)
    np.testing.assert_allclose(smoothed[1].keypoints_xy_px, some.keypoints_xy_px, atol=1e-3)


def test_only_keypoints_change() -> None:
    smoother = Smoother()
    smoother.smooth([pose(STANDING_XY_PX)], [1], 0)
    found = pose(STANDING_XY_PX + np.float32(3))
    [smoothed] = smoother.smooth([found], [1], 40)
    assert smoothed == replace(found, keypoints_xy_px=smoothed.keypoints_xy_px)
    assert smoothed.keypoints_xy_px.dtype == np.float32


def test_who_is_gone_is_forgotten() -> None:
    smoother = Smoother()
    for number in range(100):
        smoother.smooth([pose(STANDING_XY_PX)], [number], 1000.0 * number)
    assert len(smoother._people) <= 3
