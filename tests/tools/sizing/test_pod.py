"""A pod's queue, compared with a measured server."""

import numpy as np
import pytest

from sizing.autoscaler import SYNC_SECONDS
from sizing.day import Numbers
from sizing.days import MEASURED, PEOPLE
from sizing.pod import Pod, queue_seconds_at_most, waits_of


def numbers(*values: float) -> Numbers:
    return np.array(values, np.float64)


def test_photos_wait_for_those_before_them() -> None:
    waits = waits_of(numbers(0, 0.5, 5), numbers(1, 1, 1), free_at=0.25, most_seconds=9)
    assert waits.tolist() == [0.25, 0.75, 0]


def test_a_photo_that_does_not_fit_is_refused_and_delays_nobody() -> None:
    waits = waits_of(numbers(0, 1, 1.5, 2), numbers(3, 1, 1, 1), free_at=0, most_seconds=1.2)
    assert waits.tolist() == [0, np.inf, np.inf, 1]


def test_the_device_is_busy_for_as_long_as_it_works() -> None:
    pod = Pod(running_at=0, ready_at=0)
    pod.serve(numbers(1, 14), numbers(2, 4), now=15, most_seconds=9)
    pod.serve(numbers(), numbers(), now=30, most_seconds=9)
    assert pod.busy == [3, 3]
    assert pod.busy_share() == 6 / 120
    assert pod.busy_share(decode_seconds=1) == 6 / 120
    assert pod.busy_share(decode_seconds=6) == 12 / 120


def test_the_mean_wait_is_that_of_the_last_two_minutes() -> None:
    pod = Pod(running_at=0, ready_at=0)
    assert pod.queue_seconds() == 0
    pod.serve(numbers(0, 0), numbers(2, 2), now=15, most_seconds=9)
    assert pod.queue_seconds() == 1
    for step in range(2, 10):
        pod.serve(numbers(), numbers(), now=step * SYNC_SECONDS, most_seconds=9)
    assert pod.queue_seconds() == 0


def test_a_full_pod_answers_as_late_as_the_measured_server() -> None:
    # Photos at 150% of its capacity, over REST: a median of 5.33 s.
    each = MEASURED.device_seconds(PEOPLE)
    arrived_at = np.arange(0, 300, each / 1.5)
    work = np.full(len(arrived_at), each)
    waits = waits_of(arrived_at, work, free_at=0, most_seconds=queue_seconds_at_most(each))
    seconds = np.median(waits[np.isfinite(waits)]) + each
    assert seconds == pytest.approx(5.33, rel=0.1)
    assert np.isinf(waits).mean() == pytest.approx(1 / 3, abs=0.04)
