"""Outages, attacks and daily life: exactly the alerts that should fire, by the real promtool."""

from pathlib import Path
from typing import NamedTuple

import pytest

from charts import SCENARIOS, render
from monitoring import (
    READY,
    RELEASE,
    RESTARTS,
    SCRAPED,
    STALLED,
    WANTED,
    alerts,
    requests,
    rule_file,
)
from promtool import check_over, needs_promtool


def oldest(stage: str) -> str:
    return f'distilpose_queue_oldest_seconds{{{SCRAPED},stage="{stage}"}}'


def workers(pool: str) -> str:
    return f'distilpose_pool_workers{{{SCRAPED},pool="{pool}"}}'


def busy(pool: str) -> str:
    return f'distilpose_pool_busy_seconds_total{{{SCRAPED},pool="{pool}"}}'


def faults(kind: str) -> str:
    return f'distilpose_device_errors_total{{{SCRAPED},kind="{kind}"}}'


def took(*, fast: int, slow: int) -> dict[str, str]:
    """The durations a minute of requests that took 0.2 s, and of those that took 10 s."""
    series = {}
    for edge, count in ((0.25, fast), (5, fast), (10, fast + slow), ("+Inf", fast + slow)):
        labels = f'{SCRAPED},transport="rest",method="estimate_pose",le="{edge}"'
        series[f"distilpose_request_duration_seconds_bucket{{{labels}}}"] = f"0+{count}x30"
    return series


GRPC = {"transport": "grpc"}
WELL = {
    READY: "1x30",
    WANTED: "1x30",
    RESTARTS: "0x30",
    STALLED: "0x30",
    requests("200"): "0+100x30",
    requests("401", "caller"): "0x30",
    requests("429", "refused"): "0x30",
    requests("499", "caller"): "0x30",
    requests("500", "service"): "0x30",
    requests("503", "refused"): "0x30",
    requests("504", "caller"): "0x30",
    requests("504", "service"): "0x30",
    requests("OK", **GRPC): "0+100x30",
    requests("CANCELLED", "caller", **GRPC): "0x30",
    requests("DEADLINE_EXCEEDED", "caller", **GRPC): "0x30",
    requests("UNAVAILABLE", "refused", **GRPC): "0x30",
    **{oldest(stage): "0.02x30" for stage in ("decode", "detect", "pose")},
    **{workers(pool): "1x30" for pool in ("cut", "draw", "device")},
    **{busy(pool): "0+6x30" for pool in ("decode", "cut", "draw", "device")},
    workers("decode"): "4x30",
    faults("nan"): "0x30",
    **took(fast=200, slow=0),
}
"""A pod that answers 200 requests a minute, two minutes before anything happens."""


class Situation(NamedTuple):
    """The differences from a good day, and the alerts that fire after 20 minutes of them."""

    name: str
    series: dict[str, str]
    firing: frozenset[str] = frozenset()


NOTHING_ANSWERED = {requests("200"): "0x30", requests("OK", **GRPC): "0x30"}
SITUATIONS = [
    Situation("a good day", {}),
    Situation(
        "ring",  # all wait for each other, so that not one worker works
        NOTHING_ANSWERED
        | {
            requests("504", "service"): "0+10x30",
            STALLED: "0 0 1x30",
            READY: "1 1 0x30",
            oldest("pose"): "0 0 10x30",
            **{busy(pool): "0x30" for pool in ("decode", "cut", "draw", "device")},
            **took(fast=0, slow=10),
        },
        frozenset({"Stalled", "NoReadyReplica", "Errors", "QueueOld", "Slow"}),
    ),
    Situation(
        "decode outage",  # a few callers keep every decoder busy, and the device idles
        NOTHING_ANSWERED
        | {
            requests("504", "service"): "0+90x30",
            busy("decode"): "0+240x30",
            busy("device"): "0x30",
            oldest("decode"): "0 0 10x30",
            **took(fast=0, slow=90),
        },
        frozenset({"Errors", "QueueOld", "Slow"}),
    ),
    Situation("a stranger's 401s", {requests("401", "caller"): "0+100000x30"}),
    Situation(
        "a stranger's 401s beside failures",
        {requests("401", "caller"): "0+100000x30", requests("500", "service"): "0+10x30"},
        frozenset({"Errors"}),
    ),
    Situation(
        "1 ms deadlines",
        {
            requests("504", "caller"): "0+1000x30",
            requests("DEADLINE_EXCEEDED", "caller", **GRPC): "0+1000x30",
        },
    ),
    Situation(
        "half bodies",
        {requests("504", "caller"): "0+500x30", requests("499", "caller"): "0+500x30"},
    ),
    Situation(
        "callers who leave",
        {
            requests("499", "caller"): "0+500x30",
            requests("CANCELLED", "caller", **GRPC): "0+500x30",
        },
    ),
    Situation(
        "damaged weights at the start",
        {series: "0x30" for series in WELL if series.startswith("distilpose_requests_total")}
        | {READY: "0x30", RESTARTS: "0+1x30", workers("device"): "0x30", **took(fast=0, slow=0)},
        frozenset({"NoReadyReplica", "Restarts"}),
    ),
    Situation(
        "weights damaged in memory",
        {
            requests("500", "service"): "0+20x30",
            faults("nan"): "0+20x30",
        },
        frozenset({"DeviceErrors", "Errors"}),
    ),
    Situation(
        "overload",
        {
            requests("429", "refused"): "0+300x30",
            oldest("detect"): "0 0 1.8x30",
            busy("device"): "0+60x30",
        },
        frozenset({"Refusals", "QueueOld"}),
    ),
    Situation(
        "drain",
        {
            requests("503", "refused"): "0+200x30",
            requests("UNAVAILABLE", "refused", **GRPC): "0+200x30",
            requests("UNAVAILABLE", "refused", **GRPC, method="stream_pose"): "0+200x30",
        },
    ),
    Situation(
        "start of another pod",
        {
            requests("503", "refused"): "0+200x30",
            READY: "1x30",
            WANTED: "2x30",
            **{workers(pool): "0x2 4x30" for pool in ("decode", "device")},
        },
    ),
]


@needs_promtool
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_exactly_the_right_alerts_fire(situation: Situation, tmp_path: Path) -> None:
    samples = [
        {"labels": f'{{alertname="Distilpose{name}"}}', "value": 1} for name in situation.firing
    ]
    expected = {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": "22m",
        "exp_samples": samples,
    }
    series = WELL | situation.series
    check_over(series, tmp_path, rules=rule_file(tmp_path), promql_expr_test=[expected])


def test_every_alert_of_an_outage_exists() -> None:
    named = set().union(*(situation.firing for situation in SITUATIONS))
    assert named < {rule["alert"].removeprefix("Distilpose") for rule in alerts()}


@needs_promtool
@pytest.mark.parametrize(("name", "share"), [("a good day", 0.1), ("decode outage", 1)])
def test_the_busiest_pool_counts_for_the_autoscaler(
    name: str, share: float, tmp_path: Path
) -> None:
    [situation] = [situation for situation in SITUATIONS if situation.name == name]
    scaler = render(SCENARIOS["keda"], release=RELEASE).one("ScaledObject")
    [query] = [
        trigger["metadata"]["query"]
        for trigger in scaler["spec"]["triggers"]
        if trigger["name"] == "busy-share"
    ]
    expected = {
        "expr": query.replace("[2m]", "[5m]"),  # its samples are a minute apart
        "eval_time": "20m",
        "exp_samples": [{"labels": "{}", "value": share}],
    }
    check_over(WELL | situation.series, tmp_path, promql_expr_test=[expected])
