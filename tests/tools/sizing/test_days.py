"""The chart's own values through the synthetic day, and the purpose of each part of the rule."""

import pytest

from sizing.days import (
    LATE,
    MEASURED,
    PEOPLE,
    SOON,
    TEN_TIMES_FASTER,
    VALUES,
    answered_waits,
    lived,
)
from sizing.fleet import QUEUE, Start

TEN_MINUTES = 600
ALERTS = VALUES["prometheusRule"]
TARGET = VALUES["autoscaling"]["targetQueueSeconds"]


def test_the_shipped_target_is_for_devices_that_do_a_photo_in_half_of_it() -> None:
    assert 2 * TEN_TIMES_FASTER.device_seconds(PEOPLE) < TARGET
    assert 2 * MEASURED.device_seconds(PEOPLE) > TARGET


@pytest.mark.parametrize("start", [SOON, LATE])
def test_replicas_change_direction_once_in_ten_minutes_at_most(start: Start) -> None:
    record = lived(TEN_TIMES_FASTER, start=start)
    assert record.most_turns_within(TEN_MINUTES) <= 1
    assert (min(record.replicas), max(record.replicas)) == (1, 4)


@pytest.mark.parametrize("start", [SOON, LATE])
def test_refusals_stay_far_below_their_alert(start: Start) -> None:
    record = lived(TEN_TIMES_FASTER, start=start)
    assert 0 < record.refused_share < ALERTS["refusalRatio"] / 5


def test_the_queue_is_short_but_for_the_time_that_a_pod_takes_to_start() -> None:
    record = lived(TEN_TIMES_FASTER)
    # The alert on old queues fires after two minutes.
    assert record.longest_wait_above(ALERTS["queueSeconds"]) < 120
    waits = answered_waits(record)
    assert (waits <= TARGET).mean() > 0.95


def test_without_the_busy_share_pods_come_and_go_all_day() -> None:
    both, alone = lived(TEN_TIMES_FASTER), lived(TEN_TIMES_FASTER, signals=(QUEUE,))
    assert alone.most_turns_within(TEN_MINUTES) > 1
    assert len(alone.turns_at()) > 5 * len(both.turns_at())
    assert alone.refused_share > 10 * both.refused_share


def test_without_the_window_pods_go_too_soon() -> None:
    record = lived(TEN_TIMES_FASTER, window_seconds=60)
    assert record.most_turns_within(TEN_MINUTES) > 1


def test_a_slow_device_needs_a_target_of_twice_a_photos_time() -> None:
    shipped, raised = lived(MEASURED), lived(MEASURED, target_queue_seconds=0.5)
    assert shipped.most_turns_within(TEN_MINUTES) > 1
    assert raised.most_turns_within(TEN_MINUTES) <= 1
    assert raised.refused_share < ALERTS["refusalRatio"] / 5
