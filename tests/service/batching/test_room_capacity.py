"""The capacity of a queue, from the rate at which it clears."""

import pytest

from distilpose.service.batching.room import items_that_leave_in_time


def capacity(seconds_per_item: float, *, largest_batch: int = 4) -> int:
    return items_that_leave_in_time(
        seconds_per_item,
        max_queue_seconds=2,
        request_timeout_seconds=10,
        largest_request=32,
        largest_batch=largest_batch,
    )


def test_it_is_what_leaves_within_the_longest_wait() -> None:
    assert capacity(0.01) == 200


@pytest.mark.parametrize("seconds_per_item", [0.1, 0.15])
def test_a_whole_request_fits(seconds_per_item: float) -> None:
    assert capacity(seconds_per_item) == 32


def test_a_request_that_could_not_be_answered_in_time_is_no_reason_for_room() -> None:
    assert capacity(0.25) == 20


def test_two_batches_fit_always() -> None:
    assert capacity(60) == 8
    assert capacity(60, largest_batch=1) == 2
