"""A run's progress, and the values that depend on it."""

from pathlib import Path

import pytest

from distilpose.model.train.schedule import (
    Progress,
    augment_strength,
    helper_fade,
    input_size_hw,
    learning_rate,
)
from distilpose.model.train.settings import (
    DataSettings,
    LossSettings,
    OptimiserSettings,
    RunSettings,
    SizeSettings,
    TrainSettings,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_progress_by_steps_ignores_the_clock() -> None:
    clock = Clock()
    progress = Progress(RunSettings(steps=10), 3, clock)
    clock.now += 1e6
    progress.step = 5
    assert progress.share == 0.5


def test_epochs_are_steps_over_the_people() -> None:
    progress = Progress(RunSettings(epochs=2.5), 4, Clock())
    assert progress.total_steps == 10


def test_crops_are_full_steps_of_all_processes() -> None:
    assert Progress(RunSettings(crops=100), 4, Clock(), crops_per_step=48).total_steps == 3


def test_a_budget_counts_wall_time_and_earlier_starts() -> None:
    clock = Clock()
    progress = Progress(RunSettings(budget_seconds=100), 4, clock, spent_seconds=30)
    clock.now += 20
    assert progress.total_steps is None
    assert progress.share == pytest.approx(0.5)
    clock.now += 1000
    assert progress.share == 1


def test_the_published_schedule_falls_to_a_tenth_twice() -> None:
    settings = OptimiserSettings(schedule="steps", learning_rate=1.0, warmup_steps=0)
    shares = (0.0, 0.6, 0.7, 0.9, 1.0)
    rates = [learning_rate(settings, share, 999) for share in shares]
    assert rates == pytest.approx([1, 1, 0.1, 0.01, 0.01])


def test_the_rate_rises_linearly_and_then_falls_along_a_cosine() -> None:
    settings = OptimiserSettings(learning_rate=1.0, warmup_steps=10, flat=0.5, final=0.0)
    assert learning_rate(settings, 0.0, 0) == pytest.approx(0.1)
    assert learning_rate(settings, 0.3, 999) == pytest.approx(1.0)
    assert learning_rate(settings, 0.75, 999) == pytest.approx(0.5)
    assert learning_rate(settings, 1.0, 999) == pytest.approx(0.0)


def test_a_small_input_comes_first_where_it_is_asked_for() -> None:
    run = RunSettings(steps=1, small_first=SizeSettings(until=0.5))
    assert input_size_hw(run, 0.49) == (128, 96)
    assert input_size_hw(run, 0.5) == (256, 192)
    assert input_size_hw(RunSettings(steps=1), 0.0) == (256, 192)


def test_a_run_that_is_small_to_its_end_is_measured_small() -> None:
    run = RunSettings(steps=1, small_first=SizeSettings(until=1, height=64))
    assert input_size_hw(run, 1.0) == (64, 48)


def test_the_end_of_a_run_is_calmer() -> None:
    data = DataSettings(people=Path("a"), cache=Path("b"))
    settings = TrainSettings(
        network="tokenpose-s", data=data, run=RunSettings(steps=1), augment_strength=0.4, calm=0.2
    )
    assert augment_strength(settings, 0.5) == pytest.approx(0.4)
    assert augment_strength(settings, 0.9) == pytest.approx(0.2)


def test_a_helper_fades_out_over_its_share_of_the_run_or_stays() -> None:
    fading = LossSettings(cross_entropy_until=0.5)
    assert [helper_fade(fading, share) for share in (0, 0.25, 0.5, 1)] == [1, 0.5, 0, 0]
    assert helper_fade(LossSettings(), 0.9) == 1
