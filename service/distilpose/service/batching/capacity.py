"""How much may wait: what leaves a queue in time, at the pace at which it really leaves."""


def items_that_leave_in_time(
    seconds_per_item: float,
    *,
    max_queue_seconds: float,
    request_timeout_seconds: float,
    largest_request: int,
    largest_batch: int,
) -> int:
    """Items that `max_queue_seconds` clear, and at least two batches.

    A whole request fits as well, as far as half of its timeout clears it: with more waiting, what
    is accepted would be answered too late.
    """
    in_time = int(max_queue_seconds / seconds_per_item)
    of_one_request = int(request_timeout_seconds / 2 / seconds_per_item)
    return max(in_time, min(largest_request, of_one_request), 2 * largest_batch)
