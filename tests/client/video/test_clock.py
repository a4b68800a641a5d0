"""The times of frames, and when they are due."""

import pytest

from distilpose.client.video.clock import Clock, Pace


def ticks(*file_times_ms: float | None) -> list[float]:
    clock = Clock(40)
    return [clock.tick(time_ms) for time_ms in file_times_ms]


def test_times_that_rise_are_the_files_own() -> None:
    assert ticks(0, 33, 70, 1000, 1000.5) == [0, 33, 70, 1000, 1000.5]


def test_the_first_time_stays_however_late() -> None:
    assert ticks(7_200_000, 7_200_040) == [7_200_000, 7_200_040]


def test_times_below_zero_stay_where_they_rise() -> None:
    assert ticks(-80, -40, 0, 40) == [-80, -40, 0, 40]


def test_equal_times_are_the_nominal_interval_apart() -> None:
    assert ticks(5, 5, 5, 5) == [5, 45, 85, 125]


def test_times_that_start_again_go_on() -> None:
    assert ticks(0, 30, 60, 0, 30, 60) == [0, 30, 60, 100, 130, 160]


def test_times_that_fall_go_on() -> None:
    assert ticks(0, 80, 40, 120, 100) == [0, 80, 120, 200, 240]


def test_absent_times_are_filled_without_delaying_those_that_are_there() -> None:
    assert ticks(0, None, 80, None, None, 200) == [0, 40, 80, 120, 160, 200]


def test_a_file_without_times_is_counted_from_zero() -> None:
    assert ticks(None, None, None) == [0, 40, 80]


def test_the_first_time_that_is_there_does_not_jump() -> None:
    assert ticks(None, None, 5000, 5033) == [0, 40, 80, 113]


def test_a_time_within_what_was_filled_goes_on() -> None:
    assert ticks(0, None, None, 60, 100) == [0, 40, 80, 120, 160]


def test_the_shift_to_the_files_time_is_known() -> None:
    clock = Clock(40)
    assert clock.shift_ms is None
    clock.tick(500)
    assert clock.shift_ms == 0
    clock.tick(0)
    assert clock.shift_ms == 540


class Wall:
    """A clock that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


@pytest.mark.parametrize("first_ms", [0, -200, 3_600_000])
def test_frames_are_due_by_their_distance_from_the_first(first_ms: float) -> None:
    wall = Wall()
    pace = Pace(wall.now, wall.sleep)
    for time_ms in (0, 40, 1000):
        pace.wait_until(first_ms + time_ms)
    assert wall.slept == pytest.approx([0, 0.04, 0.96])


def test_a_frame_that_is_late_is_not_waited_for_and_the_next_is_on_time() -> None:
    wall = Wall()
    pace = Pace(wall.now, wall.sleep)
    pace.wait_until(0)
    wall.seconds += 0.5
    pace.wait_until(40)
    pace.wait_until(600)
    assert wall.slept == pytest.approx([0, 0, 0.1])


def test_a_gap_of_hours_is_not_slept_through() -> None:
    wall = Wall()
    pace = Pace(wall.now, wall.sleep)
    for time_ms in (0, 9_000, 36_000_000, 36_000_040):
        pace.wait_until(time_ms)
    assert wall.slept == pytest.approx([0, 9, 0, 0.04])
