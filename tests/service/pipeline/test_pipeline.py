"""One request's journey over real queues and threads; the device's computation is arithmetic."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from calibrations import constant_calibration
from distilpose.model import pictures
from distilpose.model.calibration import Calibration
from distilpose.model.errors import PictureError
from distilpose.model.pictures.source import EncodedImage
from distilpose.model.runtime.detector import Detections
from distilpose.model.runtime.engine import PoseArrays
from distilpose.service.batching.batcher import Batcher
from distilpose.service.batching.device import Device
from distilpose.service.domain import Options, PoseAnswer, PoseRequest
from distilpose.service.errors import (
    DeadlineExceeded,
    Draining,
    Internal,
    InvalidOptions,
    Overloaded,
    TooLarge,
    UndecodableImage,
)
from distilpose.service.pipeline.journey import KINDS_OF_PICTURES
from distilpose.service.pipeline.pipeline import Pipeline
from distilpose.service.pipeline.stages import DetectItem
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.words import Stage
from odd_images import encode
from pipelines import means

WHITE = encode(np.full((100, 200, 3), 255, np.uint8), "png")
RED = encode(np.full((100, 200, 3), (255, 0, 0), np.uint8), "png")
TWO_BOXES = np.array([[0, 20, 32, 44], [32, 20, 64, 44]], np.float32)


def find_two_people(items: Sequence[DetectItem]) -> list[Detections]:
    """Two people in each square of 64 pixels, with the scores 0.9 and 0.3."""
    scores = np.array([0.9, 0.3], np.float32)
    kept = [scores >= item.min_box_score for item in items]
    return [Detections(TWO_BOXES[each], scores[each]) for each in kept]


def look_at_the_middle(crops: Sequence[np.ndarray]) -> list[PoseArrays]:
    """Every keypoint in the crop's middle, scored by its red value; green breaks the device."""
    if any(crop[128, 96].tolist() == [0, 255, 0] for crop in crops):
        raise RuntimeError("/secret/path: green")
    middle = np.full((17, 2), 0.5, np.float32)
    return [
        PoseArrays(middle, np.full(17, crop[128, 96, 0] / 255, np.float32), middle)
        for crop in crops
    ]


class Bench:
    def __init__(
        self,
        *,
        queue_capacity: int = 100,
        device_seconds: float = 0.0,
        calibration: Calibration | None = None,
    ) -> None:
        self.device = Device()
        self.registry = CollectorRegistry()
        self.batches: list[int] = []
        self.detected = 0
        metrics = Metrics(self.registry)

        def pose_run(crops: Sequence[np.ndarray]) -> list[PoseArrays]:
            time.sleep(device_seconds)
            self.batches.append(len(crops))
            return look_at_the_middle(crops)

        def detect_run(items: Sequence[DetectItem]) -> list[Detections]:
            self.detected += len(items)
            return find_two_people(items)

        shared: dict[str, Any] = {
            "device": self.device,
            "queue_capacity": queue_capacity,
            "observer": metrics,
        }
        made = means(
            device=self.device,
            detect=Batcher(
                detect_run,
                stage=Stage.DETECT,
                buckets=(1,),
                held=lambda: self.pipeline.means.pose.room.is_crowded,
                **shared,
            ),
            pose=Batcher(pose_run, stage=Stage.POSE, buckets=(8,), **shared),
            metrics=metrics,
            calibration=calibration,
        )
        self.pipeline = Pipeline(made)

    async def ask(
        self,
        *contents: bytes,
        options: Options | None = None,
        seconds: float = 30,
        waits_for_room: bool = False,
    ) -> PoseAnswer:
        request = PoseRequest(
            [EncodedImage(content, index) for index, content in enumerate(contents)],
            options or Options(min_box_score=0.25, max_people=50, min_keypoint_score=0.3),
            deadline=time.monotonic() + seconds,
            waits_for_room=waits_for_room,
        )
        return await self.pipeline.estimate(request)

    def dropped(self, stage: str, reason: str) -> float | None:
        labels = {"stage": stage, "reason": reason}
        return self.registry.get_sample_value("distilpose_dropped_items_total", labels)

    async def close(self) -> None:
        await self.device.close(Draining("the test is over"))
        for pool in (self.pipeline.means.decode.workers, self.pipeline.means.cut):
            pool.close(Draining("the test is over"))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    made.device.start()
    yield made
    await made.close()


async def moment() -> None:
    """Let requests come as far as they can."""
    for _ in range(5):
        await asyncio.sleep(0)


def boxes_option(*boxes: Sequence[float], flip_test: bool = False) -> Options:
    of_image = np.array(boxes, np.float32).reshape(-1, 4)
    return Options(
        min_box_score=0.25,
        max_people=50,
        min_keypoint_score=0.3,
        boxes=[of_image],
        flip_test=flip_test,
    )


async def test_boxes_and_keypoints_come_back_in_image_pixels(bench: Bench) -> None:
    [image] = (await bench.ask(RED)).images
    assert image.size_wh == (200, 100)
    left, right = image.poses
    # The 200 x 100 image lies in the 64-pixel square as 64 x 32, 16 pixels from the top.
    np.testing.assert_allclose(left.box_xyxy_px, [0, 12.5, 100, 87.5], atol=0.01)
    np.testing.assert_allclose(left.keypoints_xy_px[0], [50, 50], atol=0.01)
    np.testing.assert_allclose(right.keypoints_xy_px[0], [150, 50], atol=0.01)
    assert left.box_score == pytest.approx(0.9)


async def test_who_brings_an_image_like_recent_ones_is_refused_before_its_body_if_it_cannot_fit(
    bench: Bench,
) -> None:
    decode = bench.pipeline.means.decode
    decode.room.capacity = 10 * decode.usual_places
    with decode.room.take(9 * decode.usual_places + 1):
        with pytest.raises(Overloaded):
            bench.pipeline.expect_body("somebody")
        with pytest.raises(Overloaded):
            bench.pipeline.refuse_if_full("somebody")
    assert bench.dropped("decode", "overloaded") == 2


async def test_bodies_that_began_to_arrive_count_for_a_moment(bench: Bench) -> None:
    decode = bench.pipeline.means.decode
    decode.room.capacity = 10 * decode.usual_places
    with decode.room.take(8 * decode.usual_places):
        bench.pipeline.expect_body("somebody")
        bench.pipeline.expect_body("somebody")
        with pytest.raises(Overloaded):
            bench.pipeline.expect_body("somebody")
        bench.pipeline.refuse_if_full("somebody")
        await asyncio.sleep(0.11)
        bench.pipeline.expect_body("somebody")


async def test_a_calibration_answers_in_place_of_raw_scores() -> None:
    bench = Bench(calibration=constant_calibration(score=0.75, sigma_cell=2.0))
    bench.device.start()
    [image] = (await bench.ask(RED, options=boxes_option([0, 0, 75, 100]))).images
    np.testing.assert_allclose(image.poses[0].keypoint_score, 0.75)
    np.testing.assert_allclose(image.poses[0].sigma_px, 2 * 1.25 * 75 / 48, rtol=1e-6)
    await bench.close()


async def test_the_best_people_are_kept(bench: Bench) -> None:
    [image] = (
        await bench.ask(
            RED, options=Options(min_box_score=0.25, max_people=1, min_keypoint_score=0.3)
        )
    ).images
    assert [pose.box_score for pose in image.poses] == [pytest.approx(0.9)]
    assert image.people_found == 2


async def test_people_are_counted_where_the_detector_found_them(bench: Bench) -> None:
    nobody = Options(min_box_score=0.95, max_people=50, min_keypoint_score=0.3)
    whole = Options(min_box_score=0.25, max_people=50, min_keypoint_score=0.3, whole_image=True)
    answers = [
        await bench.ask(RED),
        await bench.ask(RED, options=nobody),
        await bench.ask(RED, options=boxes_option([0, 0, 75, 100])),
        await bench.ask(RED, options=boxes_option()),
        await bench.ask(RED, options=whole),
    ]
    assert [answer.images[0].people_found for answer in answers] == [2, 0, None, None, None]


async def test_images_keep_their_order_and_fail_alone(bench: Bench) -> None:
    large = encode(np.zeros((300, 300, 3), np.uint8), "png")
    answer = await bench.ask(RED, b"rubbish", WHITE, large)
    assert [image.id for image in answer.images] == [0, 1, 2, 3]
    kinds = [type(image.error) for image in answer.images]
    assert kinds == [type(None), UndecodableImage, type(None), TooLarge]
    assert [len(image.poses) for image in answer.images] == [2, 0, 2, 0]


async def test_a_device_fault_concerns_one_image_and_leaks_nothing(bench: Bench) -> None:
    green = encode(np.full((100, 200, 3), (0, 255, 0), np.uint8), "png")
    answer = await bench.ask(RED, green, RED)
    failed = answer.images[1].error
    assert isinstance(failed, Internal)
    assert "secret" not in failed.detail
    assert [image.error for image in answer.images[::2]] == [None, None]
    value = bench.registry.get_sample_value("distilpose_device_errors_total", {"kind": "fault"})
    assert value is not None
    assert value >= 1


async def test_given_boxes_skip_the_detector_and_are_clipped(bench: Bench) -> None:
    [image] = (await bench.ask(RED, options=boxes_option([-50, 0, 50, 400]))).images
    np.testing.assert_array_equal(image.poses[0].box_xyxy_px, [0, 0, 50, 100])
    name = "distilpose_stage_duration_seconds_count"
    assert bench.registry.get_sample_value(name, {"stage": "detect"}) == 0


async def test_a_box_beside_the_image_is_refused_by_its_place(bench: Bench) -> None:
    [image] = (await bench.ask(RED, options=boxes_option([0, 0, 9, 9], [300, 0, 309, 9]))).images
    assert isinstance(image.error, InvalidOptions)
    assert image.error.detail == "boxes[0][1] does not touch the image of 200 x 100"


async def test_no_boxes_are_no_poses(bench: Bench) -> None:
    [image] = (await bench.ask(RED, options=boxes_option())).images
    assert (image.error, image.poses) == (None, [])


async def test_the_flip_test_averages_both_ways_round(bench: Bench) -> None:
    [image] = (await bench.ask(RED, options=boxes_option([0, 0, 75, 100], flip_test=True))).images
    assert sum(bench.batches) == 2
    # The mirror of a pixel in the middle is one pixel of 192 to the left of it.
    crop_px = 1.25 * 75 / 192
    shift_px = image.poses[0].keypoints_xy_px[0, 0] - 37.5
    assert shift_px == pytest.approx(-crop_px / 2, abs=0.01)


async def test_a_request_that_does_not_fit_is_refused_before_decoding() -> None:
    bench = Bench(queue_capacity=2)
    first = asyncio.create_task(bench.ask(RED, RED))
    await moment()
    with pytest.raises(Overloaded, match="the detect queue holds 2 of 2 items, no room for 1 more"):
        await bench.ask(RED)
    bench.device.start()
    assert len((await first).images) == 2
    await bench.close()


async def test_a_lack_of_memory_is_a_refusal_and_not_the_pictures_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pictures, "decode", no_memory)
    bench = Bench()
    bench.device.start()
    failure = (await bench.ask(RED)).failure
    assert isinstance(failure, Overloaded)
    assert failure.retry_after_seconds == 1
    assert "memory" in failure.detail
    assert (
        bench.registry.get_sample_value("distilpose_images_total", {"outcome": "overloaded"}) == 1
    )
    reason = {"reason": "memory"}
    assert bench.registry.get_sample_value("distilpose_refusals_total", reason) == 1
    await bench.close()


async def test_the_images_of_requests_that_fail_as_a_whole_are_counted() -> None:
    bench = Bench(queue_capacity=2, device_seconds=0.3)
    first = asyncio.create_task(bench.ask(RED, RED))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await bench.ask(RED, RED, RED)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    bench.device.start()
    with pytest.raises(DeadlineExceeded):
        await bench.ask(RED, seconds=0.1)
    counted = {
        outcome: bench.registry.get_sample_value("distilpose_images_total", {"outcome": outcome})
        for outcome in ("overloaded", "cancelled", "deadline-exceeded", "answered")
    }
    assert counted == {"overloaded": 3, "cancelled": 2, "deadline-exceeded": 1, "answered": 0}
    await bench.close()


async def test_crops_are_counted_when_boxes_are_given() -> None:
    bench = Bench(queue_capacity=3)
    bench.device.start()
    two = boxes_option([0, 0, 9, 9], [0, 0, 9, 9], flip_test=True)
    with (
        bench.pipeline.means.pose.room.take(1),
        pytest.raises(Overloaded, match="no room for 4 more"),
    ):
        await bench.ask(RED, options=two)
    await bench.close()


async def test_what_may_wait_is_answered_where_others_are_refused() -> None:
    bench = Bench(queue_capacity=2)
    first = asyncio.create_task(bench.ask(RED, RED))
    await moment()
    waiting = [asyncio.create_task(bench.ask(RED, waits_for_room=True)) for _ in range(5)]
    await moment()
    with pytest.raises(Overloaded):
        await bench.ask(RED)
    bench.device.start()
    assert [len((await each).images) for each in (first, *waiting)] == [2] + [1] * 5
    assert bench.dropped("detect", "overloaded") == 1
    assert bench.pipeline.means.detect.room.used == 0
    await bench.close()


async def test_what_waits_leaves_a_quarter_of_the_queue_to_who_asks_once() -> None:
    bench = Bench(queue_capacity=8)
    streams = [asyncio.create_task(bench.ask(RED, waits_for_room=True)) for _ in range(20)]
    await moment()
    assert bench.pipeline.means.detect.room.used == 6
    once = [asyncio.create_task(bench.ask(RED)) for _ in range(2)]
    await moment()
    with pytest.raises(Overloaded, match="the detect queue holds 8 of 8"):
        await bench.ask(RED)
    bench.device.start()
    await asyncio.gather(*streams, *once)
    await bench.close()


async def test_waiting_for_room_takes_nothing_of_a_frames_time() -> None:
    bench = Bench(queue_capacity=2)
    first = asyncio.create_task(bench.ask(RED, RED))
    await moment()
    waiting = asyncio.create_task(bench.ask(RED, seconds=1, waits_for_room=True))
    await asyncio.sleep(1.1)
    bench.device.start()
    await first
    assert len((await waiting).images) == 1
    await bench.close()


async def test_what_has_waited_for_room_still_has_a_deadline() -> None:
    bench = Bench(device_seconds=0.3)
    bench.device.start()
    with pytest.raises(DeadlineExceeded):
        await bench.ask(RED, seconds=0.1, waits_for_room=True)
    assert bench.pipeline.means.detect.room.used == bench.pipeline.means.pose.room.used == 0
    await bench.close()


async def test_who_leaves_waits_for_room_no_longer() -> None:
    bench = Bench(queue_capacity=2)
    first = asyncio.create_task(bench.ask(RED, RED))
    await moment()
    waiting = asyncio.create_task(bench.ask(RED, waits_for_room=True))
    await moment()
    waiting.cancel()
    await asyncio.wait([waiting])
    bench.device.start()
    await first
    assert bench.pipeline.means.detect.room.used == 0
    await bench.close()


async def test_waiting_for_room_counts_as_waiting_for_the_stage() -> None:
    bench = Bench(queue_capacity=2)
    first = asyncio.create_task(bench.ask(RED, RED))
    await moment()
    waiting = asyncio.create_task(bench.ask(RED, waits_for_room=True))
    await asyncio.sleep(0.2)  # some of it passes before the request waits
    bench.device.start()
    await first
    assert (await waiting).timing.queue >= 0.1
    await bench.close()


async def test_a_request_that_takes_too_long_fails_and_its_work_is_withdrawn() -> None:
    bench = Bench(device_seconds=0.3)
    bench.device.start()
    slow = asyncio.create_task(bench.ask(RED))
    await asyncio.sleep(0.1)
    with pytest.raises(DeadlineExceeded):
        await bench.ask(RED, seconds=0.05)
    await slow
    assert sum(bench.batches) == 2
    assert bench.pipeline.means.detect.room.used == bench.pipeline.means.pose.room.used == 0
    await bench.close()


@pytest.mark.soak
async def test_stages_and_waits_make_up_the_whole() -> None:
    bench = Bench(device_seconds=0.2)
    bench.device.start()
    timing = (await bench.ask(RED)).timing
    parts = timing.decode + timing.detect + timing.pose + timing.queue
    assert timing.pose >= 0.2
    assert parts == pytest.approx(timing.total, rel=0.05)
    await bench.close()


async def test_crops_wait_for_a_place_and_no_detect_batch_starts_while_they_do() -> None:
    bench = Bench(queue_capacity=2)
    bench.device.start()
    places = bench.pipeline.means.pose.room.take(1)
    asked = [asyncio.create_task(bench.ask(RED))]
    while not bench.pipeline.means.pose.room.is_crowded:  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0.01)
    asked.append(asyncio.create_task(bench.ask(RED)))
    while not bench.pipeline.means.detect.queued:  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert bench.detected == 1
    assert bench.batches == []
    with places:
        pass
    answers = await asyncio.gather(*asked)
    assert [len(answer.images[0].poses) for answer in answers] == [2, 2]
    assert bench.pipeline.means.pose.room.used == 0
    await bench.close()


async def test_a_picture_with_nobody_in_it_waits_for_no_place() -> None:
    bench = Bench(queue_capacity=2)
    bench.device.start()
    nobody = Options(min_box_score=0.95, max_people=50, min_keypoint_score=0.3)
    with bench.pipeline.means.pose.room.take(2):
        waiting = asyncio.create_task(bench.pipeline.means.pose.room.wait_for(1, accepted_at=0))
        answered = asyncio.create_task(bench.ask(RED, options=nobody, seconds=5))
        bench.pipeline.means.detect._held = lambda: False
        assert (await answered).images[0].poses == []
        waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await bench.close()


@pytest.mark.parametrize("images", [1, 3])
async def test_who_leaves_before_a_thread_is_free_is_never_decoded(
    bench: Bench, images: int
) -> None:
    free = threading.Event()
    workers = bench.pipeline.means.decode.workers
    terms: Any = {"accepted_at": 0.0, "deadline": float("inf")}
    busy = [asyncio.create_task(workers.run(free.wait, **terms)) for _ in range(2)]
    asked = asyncio.create_task(bench.ask(*[RED] * images))
    await asyncio.sleep(0.05)
    asked.cancel()
    await asyncio.wait([asked])
    free.set()
    await asyncio.gather(*busy, workers.run(int, **terms))
    assert (bench.detected, bench.batches) == (0, [])
    assert bench.registry.get_sample_value("distilpose_decodes_total", {"size": "full"}) == 0
    assert bench.dropped("decode", "cancelled") == images
    means_of_all = bench.pipeline.means
    rooms = (means_of_all.detect.room, means_of_all.decode.room, means_of_all.memory.room)
    assert [room.used for room in rooms] == [0, 0, 0]


async def test_who_leaves_the_detect_queue_is_never_detected() -> None:
    bench = Bench()
    asked = asyncio.create_task(bench.ask(RED))
    while not bench.pipeline.means.detect.queued:  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0.01)
    asked.cancel()
    await asyncio.wait([asked])
    bench.device.start()
    await asyncio.sleep(0.05)
    assert bench.detected == 0
    assert bench.dropped("detect", "cancelled") == 1
    await bench.close()


async def test_nothing_is_waited_for_once_a_request_is_over() -> None:
    bench = Bench()
    bench.device.start()
    await bench.ask(RED, b"rubbish", options=Options(0.25, 50, 0.3, whole_image=True))
    await bench.ask(RED, WHITE, b"rubbish")
    assert bench.pipeline.means.traffic.coming == {"detect": 0, "pose": 0}
    await bench.close()


def test_every_reason_why_a_picture_is_not_read_has_its_error() -> None:
    assert set(KINDS_OF_PICTURES) == set(PictureError.__subclasses__())
