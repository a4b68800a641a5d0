"""Estimates of replicas."""

from dataclasses import replace

import pytest

from sizing import sizing
from sizing.sizing import StageTimes

TIMES = StageTimes(decode=0.003, detect=0.02, pose=0.01)


def test_stage_times_come_from_what_a_full_replica_does() -> None:
    times = StageTimes.measured(
        decode=0.003, decode_workers=2, photos_per_second=20, people=3, crops_per_second=100
    )
    assert (times.decode, times.detect, times.pose) == pytest.approx((0.003, 0.02, 0.01))


def test_a_photo_costs_one_detection_and_a_pose_for_each_person() -> None:
    assert TIMES.device_seconds(3) == pytest.approx(0.05)
    assert sizing.decode_cores(100, TIMES) == pytest.approx(0.3)


@pytest.mark.parametrize(("rate", "replicas"), [(0, 1), (14, 1), (15, 2), (140, 10), (141, 11)])
def test_replicas_for_photos(rate: float, replicas: int) -> None:
    assert sizing.replicas_for_photos(rate, 3, TIMES, busy_share=0.7) == replicas


def test_decoding_counts_where_it_keeps_its_workers_busier_than_the_device() -> None:
    slow = replace(TIMES, decode=0.4, decode_workers=2)
    assert slow.busiest_seconds(3) == pytest.approx(0.2)
    assert sizing.replicas_for_photos(14, 3, slow, busy_share=0.7) == 4
    assert sizing.frames_per_second(3, slow, busy_share=0.7) == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("streams", "fps", "replicas"), [(1, 7, 1), (2, 7, 1), (3, 7, 2), (3, 8, 3), (1, 15, None)]
)
def test_a_stream_stays_whole(streams: int, fps: float, replicas: int | None) -> None:
    answered_per_second = sizing.frames_per_second(3, TIMES, busy_share=0.7)
    found = sizing.replicas_for_streams(streams, fps, answered_per_second=answered_per_second)
    assert found == replicas


def test_between_detections_a_frame_costs_its_poses_alone() -> None:
    assert TIMES.device_seconds(3, detect_every=5) == pytest.approx(0.034)
    assert sizing.frames_per_second(3, TIMES, busy_share=0.7, detect_every=2) == pytest.approx(17.5)
