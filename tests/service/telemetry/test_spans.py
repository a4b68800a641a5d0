"""Intervals of work and waiting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilpose.service.batching.outcomes import Outcome
from distilpose.service.telemetry.spans import Spans, covered_seconds
from distilpose.service.words import Stage


@pytest.mark.parametrize(
    ("intervals", "seconds"),
    [
        ([], 0),
        ([(0, 1), (2, 4)], 3),
        ([(0, 3), (1, 2)], 3),
        ([(1, 4), (0, 2)], 4),
        ([(5, 5)], 0),
    ],
)
def test_overlap_counts_once(intervals: list[tuple[float, float]], seconds: float) -> None:
    assert covered_seconds(intervals) == seconds


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)).map(sorted)))
def test_the_union_is_counted(intervals: list[list[int]]) -> None:
    seconds = {second for start, end in intervals for second in range(start, end)}
    assert covered_seconds([(a, b) for a, b in intervals]) == len(seconds)


def test_waiting_and_work_are_counted_apart() -> None:
    spans = Spans()
    spans.add_outcomes(Stage.DECODE, [Outcome(None, None, 0.0, 1.0, 3.0)])
    spans.add_outcomes(Stage.POSE, [Outcome(None, None, 3.0, 4.0, 6.0)] * 2)
    timing = spans.timing(total=7.0)
    assert (timing.decode, timing.detect, timing.pose) == (2.0, 0.0, 2.0)
    assert (timing.queue, timing.total) == (2.0, 7.0)
    assert spans.waits() == {"decode": 1.0, "pose": 1.0}
