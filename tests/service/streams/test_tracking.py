"""Tracking across crossings, gaps and noise, with people whose movements are known."""

from typing import Any

import numpy as np
import pytest

from distilpose.model.arrays import FloatArray
from distilpose.model.poses.pose import Pose
from distilpose.service.streams.tracking import FORGOTTEN_AFTER_MS, Tracker
from moving_people import COAT, WALKS, Clip, Person, timestamp_ms

STANDING_XY_PX = (COAT.keypoints_xy_px - COAT.outline_xy_px.min(0)).astype(np.float32)
SIZE_PX = (COAT.outline_xy_px.max(0) - COAT.outline_xy_px.min(0)).astype(np.float32)


def person(x_px: float, y_px: float = 0, *, keypoints: FloatArray = STANDING_XY_PX) -> Pose:
    """A person whose box has its corner there."""
    corner_px = np.array([x_px, y_px], np.float32)
    return pose(np.concatenate([corner_px, corner_px + SIZE_PX]), keypoints + corner_px)


def pose(box_xyxy_px: FloatArray, keypoints_xy_px: FloatArray, scores: Any = 0.9) -> Pose:
    scores = np.broadcast_to(np.float32(scores), 17)
    ones = np.ones((17, 2), np.float32)
    return Pose(box_xyxy_px, 0.9, keypoints_xy_px, scores, scores, ones)


def test_people_are_numbered_from_one_in_their_order() -> None:
    assert Tracker().update([person(0), person(300), person(600)], 0) == [1, 2, 3]


def test_numbers_go_on_where_another_stream_ended() -> None:
    assert Tracker(next_id=42).update([person(0), person(300)], 0) == [42, 43]


def test_nobody_is_no_trouble() -> None:
    tracker = Tracker()
    assert tracker.update([], 0) == []
    assert tracker.update([person(0)], 40) == [1]
    assert tracker.update([], 80) == []


def test_the_order_of_the_poses_does_not_matter() -> None:
    tracker = Tracker()
    tracker.update([person(0), person(300)], 0)
    assert tracker.update([person(305), person(5)], 40) == [2, 1]


def test_who_walks_keeps_the_number() -> None:
    tracker = Tracker()
    assert {tracker.update([person(12.0 * i)], 40.0 * i)[0] for i in range(100)} == {1}


def test_two_who_cross_keep_their_numbers() -> None:
    tracker = Tracker()
    for i in range(40):
        found = tracker.update([person(15.0 * i), person(600 - 15.0 * i)], 40.0 * i)
        assert found == [1, 2]


def test_who_was_hidden_while_walking_is_known_again() -> None:
    tracker = Tracker()
    walked = [tracker.update([person(10.0 * i)], 40.0 * i) for i in range(15)]
    hidden = [tracker.update([], 40.0 * i) for i in range(15, 30)]
    again = [tracker.update([person(10.0 * i)], 40.0 * i) for i in range(30, 40)]
    assert walked + again == [[1]] * 25
    assert hidden == [[]] * 15


def test_a_gap_between_frames_is_bridged_by_their_times() -> None:
    tracker = Tracker()
    for i in range(15):
        tracker.update([person(10.0 * i)], 40.0 * i)
    assert tracker.update([person(10.0 * 34)], 40.0 * 34) == [1]


def test_who_comes_back_late_is_somebody_new() -> None:
    tracker = Tracker()
    tracker.update([person(0)], 0)
    assert tracker.update([person(0)], FORGOTTEN_AFTER_MS) == [1]
    assert tracker.update([person(0)], 2 * FORGOTTEN_AFTER_MS + 1) == [2]


def test_who_appears_elsewhere_is_somebody_new() -> None:
    tracker = Tracker()
    tracker.update([person(0)], 0)
    assert tracker.update([person(900, 600)], 40) == [2]


def test_one_place_is_given_to_one_person() -> None:
    tracker = Tracker()
    tracker.update([person(0)], 0)
    assert sorted(tracker.update([person(2), person(3)], 40)) == [1, 2]


def test_keypoints_tell_people_of_the_same_box_apart() -> None:
    turned = STANDING_XY_PX.copy()
    turned[:, 0] = SIZE_PX[0] - turned[:, 0]
    tracker = Tracker()
    tracker.update([person(0), person(0, keypoints=turned)], 0)
    assert tracker.update([person(0, keypoints=turned), person(0)], 40) == [2, 1]


def test_the_next_keypoints_are_foretold_at_constant_velocity() -> None:
    tracker = Tracker()
    for i in range(20):
        tracker.update([person(10.0 * i)], 40.0 * i)
    np.testing.assert_allclose(
        tracker.predict(1, 40.0 * 20), person(200).keypoints_xy_px, atol=0.01
    )
    with pytest.raises(KeyError):
        tracker.predict(2, 800)


def test_people_of_the_past_are_forgotten() -> None:
    tracker = Tracker()
    for i in range(1000):
        tracker.update([person(500.0 * i)], 1000.0 * i)
    assert len(tracker._tracks) <= 3


def found(of: Person, random: np.random.Generator) -> Pose:
    """The person as found by a model: off by a few pixels, and by many for hidden keypoints."""
    height_px = of.box_xyxy_px[3] - of.box_xyxy_px[1]
    noise_px = height_px * np.where(of.is_seen, 0.01, 0.05)[:, None]
    keypoints = of.keypoints_xy_px + random.normal(0, 1, (17, 2)) * noise_px
    box = of.box_xyxy_px + random.normal(0, 0.01, 4) * height_px
    scores = np.where(of.is_seen, 0.8, 0.4)
    return pose(box.astype(np.float32), keypoints.astype(np.float32), scores)


@pytest.mark.parametrize("every", [1, 2, 5])
def test_a_clip_of_crossings_and_hidings_has_no_switch(every: int) -> None:
    clip, random, tracker = Clip(), np.random.default_rng(1), Tracker()
    numbers: dict[int, set[int]] = {index: set() for index in range(len(WALKS))}
    for index in range(0, 250, every):
        people = [each for each in clip.people(index) if random.random() > 0.05]
        track_ids = tracker.update([found(each, random) for each in people], timestamp_ms(index))
        for each, track_id in zip(people, track_ids, strict=True):
            numbers[each.number].add(track_id)
    assert [len(found) for found in numbers.values()] == [1] * len(WALKS)
