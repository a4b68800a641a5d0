"""The synthetic day is the same at every run, and requires scaling."""

import numpy as np

from sizing.day import DAY_SECONDS, made_load, photos


def test_the_day_has_a_quiet_night_a_busy_noon_and_bursts() -> None:
    load = [made_load()(at) for at in np.arange(0, DAY_SECONDS, 60)]
    assert min(load) < 0.3
    assert max(load) > 2.5
    assert max(np.diff(load)) > 0.5  # within a minute


def test_the_day_is_the_same_at_every_run() -> None:
    first, second = (
        next(
            photos(made_load(), seconds_a_photo=0.01, people_a_photo=2, step_seconds=15),
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.arrived_at, second.arrived_at)
    np.testing.assert_array_equal(first.people, second.people)
    assert len(first.arrived_at) > 100
