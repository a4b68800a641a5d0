"""The people of a stream, and when their boxes come from the detector."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilpose.model.arrays import FloatArray
from distilpose.model.pictures.source import EncodedImage
from distilpose.model.poses.pose import Pose
from distilpose.model.similarity import oks
from distilpose.service.domain import Frame, ImageAnswer, Options, PoseAnswer, StreamOptions
from distilpose.service.errors import InvalidOptions, UndecodableImage
from distilpose.service.streams.following import Follower
from moving_people import COAT

POSE = Options(min_box_score=0.25, max_people=5, min_keypoint_score=0.3)
SIZE_WH = (1000, 600)
STANDING_XY_PX = (COAT.keypoints_xy_px - COAT.outline_xy_px.min(0)).astype(np.float32)
PERSON_WH_PX = (COAT.outline_xy_px.max(0) - COAT.outline_xy_px.min(0)).astype(np.float32)


def person(x_px: float, *, y_px: float = 20, score: float = 0.8, size: float = 1.0) -> Pose:
    corner_px = np.array([x_px, y_px], np.float32)
    box = np.concatenate([corner_px, corner_px + size * PERSON_WH_PX]).astype(np.float32)
    keypoints = (corner_px + size * STANDING_XY_PX).astype(np.float32)
    scores = np.full(17, score, np.float32)
    return Pose(box, 0.7, keypoints, scores, scores, np.ones((17, 2), np.float32))


class Scene:
    """The people of each frame; the pipeline finds those whose box it is given."""

    def __init__(self, **options: Any) -> None:
        self.people: Sequence[Pose] = []
        self.size_wh = SIZE_WH
        self.error: Any = None
        self.asked: list[FloatArray | None] = []
        """The boxes of each request; None for the detector."""
        self.options = StreamOptions(pose=POSE, **options)
        self.follower = Follower(self._estimate, self.options)
        self._index = -1

    async def _estimate(self, _: Frame, options: Options) -> PoseAnswer:
        boxes = None if options.boxes is None else options.boxes[0]
        self.asked.append(boxes)
        if self.error:
            return PoseAnswer([ImageAnswer(None, error=self.error)])
        if boxes is None:
            found = list(self.people)
            answer = ImageAnswer(None, self.size_wh, found, people_found=len(found))
            return PoseAnswer([answer])
        if boxes.size and (boxes[:, :2] >= self.size_wh).any():
            error = InvalidOptions("boxes[0][0] does not touch the image")
            return PoseAnswer([ImageAnswer(None, error=error)])
        poses = [self._in_box(box) for box in boxes]
        return PoseAnswer([ImageAnswer(None, self.size_wh, poses)])

    def _in_box(self, box: FloatArray) -> Pose:
        near = [p for p in self.people if np.abs(p.box_xyxy_px - box).max() < 60]
        found = near[0] if near else person(float(box[0]), score=0.1)
        return replace(found, box_xyxy_px=box, box_score=1.0)

    async def frame(
        self, *people: Pose, timestamp_ms: float | None = None
    ) -> tuple[ImageAnswer, Sequence[int]]:
        """The next frame, with these people, by default 40 ms after the previous one."""
        self._index += 1
        self.people = people
        at_ms = 40.0 * self._index if timestamp_ms is None else timestamp_ms
        frame = Frame(self._index, at_ms, EncodedImage(b""), 0, 1e9)
        answer = await self.follower.estimate(frame)
        return self.follower.recognise(frame, answer.images[0])

    @property
    def detected(self) -> str:
        """For each request D if the detector was used, else the number of boxes."""
        return "".join("D" if boxes is None else str(len(boxes)) for boxes in self.asked)


async def test_a_plain_stream_is_answered_as_it_was() -> None:
    scene = Scene()
    image, track_ids = await scene.frame(person(0))
    assert (image.poses[0], track_ids) == (scene.people[0], ())


async def test_people_are_numbered_where_that_was_asked() -> None:
    scene = Scene(track=True, next_track_id=5)
    for _ in range(3):
        image, track_ids = await scene.frame(person(0), person(300))
        assert len(image.poses) == 2
        assert track_ids == [5, 6]


async def test_boxes_follow_between_every_fifth_frame() -> None:
    scene = Scene(track=True, detect_every=5)
    for index in range(12):
        there = person(10.0 * index), person(800 - 10.0 * index)
        image, track_ids = await scene.frame(*there)
        assert track_ids == [1, 2]
        for found, truth in zip(image.poses, there, strict=True):
            np.testing.assert_allclose(found.box_xyxy_px, truth.box_xyxy_px, atol=12)
            assert found.box_score == pytest.approx(0.7)
    assert scene.detected == "D2222D2222D2"


async def test_people_are_counted_in_the_frames_that_were_detected() -> None:
    scene = Scene(track=True, smooth=True, detect_every=2)
    counts = [(await scene.frame(person(0), person(300)))[0].people_found for _ in range(4)]
    assert (scene.detected, counts) == ("D2D2", [2, None, 2, None])


async def test_boxes_grow_with_who_comes_nearer() -> None:
    scene = Scene(detect_every=20)
    for index in range(15):
        there = person(400 - 2.0 * index, size=0.5 * 1.03**index)
        image, track_ids = await scene.frame(there)
        assert track_ids == ()
        np.testing.assert_allclose(image.poses[0].box_xyxy_px, there.box_xyxy_px, atol=12)
    assert scene.detected == "D" + "1" * 14


async def test_an_empty_scene_is_looked_at_every_fifth_frame() -> None:
    scene = Scene(detect_every=5)
    for _ in range(7):
        image, _ = await scene.frame()
        assert image.poses == []
    assert scene.detected == "D0000D0"


async def test_a_lost_person_brings_the_detector_back_at_once() -> None:
    scene = Scene(track=True, detect_every=10)
    for _ in range(3):
        await scene.frame(person(0), person(300))
    image, track_ids = await scene.frame(person(0))
    assert (len(image.poses), track_ids) == (1, [1])
    _, track_ids = await scene.frame(person(0), person(310))
    assert track_ids == [1, 2]
    await scene.frame(person(0), person(310))
    assert scene.detected == "D222D2"


async def test_keypoints_far_from_where_they_should_be_are_somebody_lost() -> None:
    scene = Scene(track=True, detect_every=10)
    await scene.frame(person(300))
    await scene.frame(person(300))
    elsewhere = replace(person(300), keypoints_xy_px=person(300).keypoints_xy_px + np.float32(55))
    image, _ = await scene.frame(elsewhere)
    assert oks(elsewhere.keypoints_xy_px, person(300).keypoints_xy_px, area_px2=3e4) < 0.3
    assert image.poses == []
    await scene.frame(person(310))
    assert scene.detected == "D11D"


async def test_two_boxes_on_one_person_are_one_person() -> None:
    scene = Scene(track=True, detect_every=10)
    await scene.frame(person(300), person(340))
    scene.people = [person(320)]
    image, track_ids = await scene.frame(person(320))
    assert (len(image.poses), len(track_ids)) == (1, 1)
    await scene.frame(person(320))
    assert scene.detected == "D2D"


async def test_a_person_whose_keypoints_were_never_sure_is_not_lost() -> None:
    scene = Scene(detect_every=5)
    for _ in range(4):
        image, _ = await scene.frame(person(300, score=0.05))
        assert len(image.poses) == 1
    assert scene.detected == "D111"


async def test_who_walks_out_of_the_picture_brings_the_detector_back() -> None:
    scene = Scene(detect_every=100)
    for index in range(40):
        x_px = 700 + 12.0 * index
        await scene.frame(*([person(x_px)] if x_px < SIZE_WH[0] else []))
    assert "D" in scene.detected[1:]
    assert scene.detected.endswith("0")


async def test_a_broken_frame_is_no_loss() -> None:
    scene = Scene(track=True, detect_every=5)
    await scene.frame(person(0))
    await scene.frame(person(10))
    scene.error = UndecodableImage("no image")
    image, track_ids = await scene.frame()
    assert (image.error, track_ids) == (scene.error, ())
    scene.error = None
    _, track_ids = await scene.frame(person(30))
    assert track_ids == [1]
    assert scene.detected == "D111"


@pytest.mark.parametrize("size_wh", [(2000, 1200), (200, 120)])
async def test_a_picture_of_another_size_is_detected_anew(size_wh: tuple[int, int]) -> None:
    scene = Scene(track=True, detect_every=5)
    await scene.frame(person(300))
    scene.size_wh = size_wh
    await scene.frame(person(5, y_px=5))
    assert scene.detected == "D1D"
    await scene.frame(person(5, y_px=5))
    assert scene.detected.startswith("D1D")


async def test_smoothing_leaves_the_first_numbers_and_the_boxes_alone() -> None:
    random, scene = np.random.default_rng(1), Scene(smooth=True, detect_every=5)
    still = person(300)
    for index in range(10):
        noise_px = random.normal(0, 2, (17, 2)).astype(np.float32)
        found = replace(still, keypoints_xy_px=still.keypoints_xy_px + noise_px)
        image, track_ids = await scene.frame(found)
        assert track_ids == ()
        same = np.array_equal(image.poses[0].keypoints_xy_px, found.keypoints_xy_px)
        assert same == (index == 0)


@pytest.mark.parametrize(
    ("pose", "words"),
    [
        (replace(POSE, whole_image=True), "detect_every and whole_image"),
        (replace(POSE, boxes=[np.zeros((0, 4), np.float32)]), "detect_every and boxes"),
    ],
)
def test_what_does_not_go_together_is_refused_by_both_names(pose: Options, words: str) -> None:
    with pytest.raises(InvalidOptions, match=words):
        StreamOptions(pose=pose, detect_every=5)
    StreamOptions(pose=pose, detect_every=1, track=True, smooth=True)


def test_numbers_that_would_run_out_are_refused() -> None:
    with pytest.raises(InvalidOptions, match=r"resume\.next_track_id: at most"):
        StreamOptions(pose=POSE, next_track_id=2**64 - 1)


ELAPSED_MS = st.floats(5e-324, 1e308) | st.sampled_from(
    [5e-324, 1e-300, 0.5, 1999.0, 2001.0, 1e308]
)


@given(started_at_ms=st.floats(-1e308, 1e308), elapsed_ms=st.lists(ELAPSED_MS, max_size=6))
@settings(deadline=None)
def test_frames_any_time_apart_are_answered(started_at_ms: float, elapsed_ms: list[float]) -> None:
    async def scenario() -> None:
        scene, timestamp_ms = Scene(track=True, smooth=True, detect_every=3), started_at_ms
        for index, elapsed in enumerate([0.0, *elapsed_ms]):
            timestamp_ms = max(timestamp_ms + elapsed, math.nextafter(timestamp_ms, math.inf))
            if not math.isfinite(timestamp_ms):
                return
            image, track_ids = await scene.frame(person(9.0 * index), timestamp_ms=timestamp_ms)
            assert image.error is None
            # After a speed that was as good as infinite, nobody is where they were expected; the
            # detector then runs for the next frame.
            assert len(track_ids) == len(image.poses) <= 1
            for pose in image.poses:
                assert np.isfinite(pose.keypoints_xy_px).all()
                assert np.abs(pose.keypoints_xy_px).max() < 2000

    asyncio.run(scenario())
