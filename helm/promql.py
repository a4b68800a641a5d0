"""Queries of the dashboard in PromQL, always for the selected pods."""

import re
from typing import Final, NamedTuple

PODS: Final = 'namespace=~"$namespace",pod=~"$pod"'
QUANTILES: Final = (0.5, 0.95, 0.99)
CALLS: Final = 'method="estimate_pose"'
POSES: Final = 'method=~"estimate_pose|stream_pose"'


class Query(NamedTuple):
    """A query for one or several lines of a graph."""

    expr: str
    legend: str


def series(name: str, *matchers: str) -> str:
    """A metric of the selected pods."""
    return f"{name}{{{','.join((PODS, *matchers))}}}"


def rate(name: str, *matchers: str) -> str:
    """The increase of a counter per second."""
    return f"rate({series(name, *matchers)}[$__rate_interval])"


def each(labels: str, expr: str) -> Query:
    """One line for each value of these labels, summed over all others."""
    return Query(f"sum by ({labels}) ({expr})", re.sub(r"(\w+),?", r"{{\1}}", labels))


def ratio(part: str, whole: str, *, by: str = "") -> str:
    """A share, or a mean."""
    total = f"sum by ({by})" if by else "sum"
    return f"{total} ({part}) / {total} ({whole})"


def mean(histogram: str, *, by: str = "") -> str:
    """A histogram's mean."""
    return ratio(rate(f"{histogram}_sum"), rate(f"{histogram}_count"), by=by)


def share_of_calls(part: str, whole: str) -> str:
    """The share of the calls with one kind of ending among those with another."""
    calls = "distilpose_requests_total"
    return ratio(rate(calls, POSES, part), rate(calls, POSES, whole))


def busy_share(by: str) -> str:
    """The largest share of their time that the workers of a pool work."""
    busy = rate("distilpose_pool_busy_seconds_total")
    return f"max by ({by}) ({busy} / ({series('distilpose_pool_workers')} > 0))"


def quantiles(histogram: str, *matchers: str, by: str = "") -> tuple[Query, ...]:
    """A histogram's median, 95th and 99th percentile, optionally for each value of a label."""
    buckets = f"sum by ({f'le, {by}' if by else 'le'}) ({rate(f'{histogram}_bucket', *matchers)})"
    name = f"{{{{{by}}}}} " if by else ""
    return tuple(
        Query(f"histogram_quantile({q}, {buckets})", f"{name}p{q * 100:g}") for q in QUANTILES
    )


def part_of_request(histogram: str) -> str:
    """Seconds of each stage for one request or frame, since each starts with decoding."""
    begun = rate("distilpose_stage_duration_seconds_count", 'stage="decode"')
    return f"sum by (stage) ({rate(f'{histogram}_sum')}) / on () group_left () sum ({begun})"
