"""The alerts: each fires when it should and only then, checked with the real promtool."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from charts import NAMESPACE
from monitoring import (
    NAME,
    POD,
    READY,
    RESTARTS,
    SCRAPED,
    STALLED,
    WANTED,
    Json,
    alerts,
    requests,
    rule_file,
)
from promtool import check_over, needs_promtool, promtool

MIB = 2**20
WHERE = {"namespace": NAMESPACE}
ON_POD = {"namespace": NAMESPACE, "pod": POD}


def slower_than(second: float, percent: int) -> dict[str, str]:
    """100 requests a minute, of which `percent` take longer, none over 2.5 s; probes take 0 s."""
    buckets = {}
    for method, faster, all_of_them in (("estimate_pose", 100 - percent, 100), ("other", 900, 900)):
        labels = f'{SCRAPED},transport="rest",method="{method}"'
        for edge, count in ((second, faster), (2.5, all_of_them), ("+Inf", all_of_them)):
            series = f'distilpose_request_duration_seconds_bucket{{{labels},le="{edge}"}}'
            buckets[series] = f"0+{count}x20"
    return buckets


def frames(
    *, ordered: int = 0, answered: int = 0, failed: int = 0, replaced: int = 0
) -> dict[str, str]:
    """Frames a minute: of ordered streams, all answered, and of latest ones by outcome."""
    growth = {
        'mode="ordered",outcome="answered"': ordered,
        'mode="latest",outcome="answered"': answered,
        'mode="latest",outcome="failed"': failed,
        'mode="latest",outcome="replaced"': replaced,
    }
    name = "distilpose_stream_frames_total"
    return {f"{name}{{{SCRAPED},{labels}}}": f"0+{count}x20" for labels, count in growth.items()}


def memory(values: str, *, started_at_seconds: int = 0) -> dict[str, str]:
    return {
        f"process_resident_memory_bytes{{{SCRAPED}}}": values,
        f"process_start_time_seconds{{{SCRAPED}}}": f"{started_at_seconds}x60",
    }


OK = {requests("200"): "0+100x20", requests("200", method="other"): "0+1000x20"}
"""Successful requests, and probes, which do not count as requests."""
MANY = {requests("200"): "0+1000x20"}
OLDEST = f'distilpose_queue_oldest_seconds{{{SCRAPED},stage="pose"}}'
FAULTS = f'distilpose_device_errors_total{{{SCRAPED},kind="oom"}}'


class Firing(NamedTuple):
    """A situation that must raise an alert."""

    alert: str
    series: dict[str, str]
    at: str
    labels: dict[str, str]
    description: str
    interval: str = "1m"


class Quiet(NamedTuple):
    """A situation that must not raise an alert, with the reason."""

    alert: str
    reason: str
    series: dict[str, str]
    at: str
    interval: str = "1m"


FIRING = [
    Firing(
        "NoReadyReplica",
        {READY: "1 0x10", WANTED: "1x10"},
        "4m",
        {
            "namespace": NAMESPACE,
            "deployment": NAME,
            "job": "kube-state-metrics",
            "container": "kube-state-metrics",
        },
        "Nobody gets an answer. Look at the pods' states and the ends of their logs.",
    ),
    Firing(
        "Errors",
        OK
        | {
            requests("504", "service"): "0+1x20",
            requests("INTERNAL", "service", transport="grpc", method="stream_pose"): "0+1x20",
        },
        "12m",
        WHERE,
        "Of all requests that callers made properly, 1.961% failed because of the service."
        " The dashboard shows the code, the logs show the reason.",
    ),
    Firing(
        "Refusals",
        OK
        | {
            requests("429", "refused"): "0+1x20",
            requests(
                "RESOURCE_EXHAUSTED", "refused", transport="grpc", method="stream_pose"
            ): "0+1x20",
        },
        "12m",
        WHERE,
        "Of all requests that callers made properly, 1.961% were refused because there was no room."
        " Add replicas, or reduce the load.",
    ),
    Firing(
        "QueueOld",
        {OLDEST: "0.2 1.5x5"},
        "4m",
        ON_POD | {"stage": "pose"},
        f"On {POD} the first item of the pose queue has waited for 1.5s.",
    ),
    Firing(
        "DeviceErrors",
        {FAULTS: "0 0 0 1x20"},
        "12m",
        ON_POD | {"kind": "oom"},
        f"Failures of kind oom on {POD}, 1 within 10 minutes.",
    ),
    Firing(
        "Slow",
        slower_than(1, percent=3),
        "12m",
        WHERE,
        "The 99th percentile is 2s. The dashboard shows the stage that takes the time.",
    ),
    Firing(
        "LatestStreamsStarve",
        frames(ordered=1800, answered=90, failed=10, replaced=1900),
        "15m",
        WHERE,
        "Of their frames, 95% were replaced by newer ones."
        " Add replicas, or reduce the number of streams or their frame rate.",
    ),
    Firing(
        "Stalled",
        {STALLED: "0 1x9"},
        "3m",
        ON_POD,
        f"On {POD} work is queued, but nothing runs or ends."
        " Delete the pod; its replacement takes over.",
    ),
    Firing(
        "MemoryGrows",
        memory(f"{2000 * MIB}+{10 * MIB}x60"),
        "8h",
        {"namespace": NAMESPACE, "pod": POD, "job": NAME, "container": "distilpose"},
        f"Pod {POD} has grown by 60MiB an hour for 6 hours and will reach its limit.",
        interval="10m",
    ),
    Firing(
        "Restarts",
        {RESTARTS: "0 1 2 3 3 4x20"},
        "10m",
        ON_POD,
        f"Pod {POD} has restarted 4 times within 15 minutes."
        " The last line of its previous log gives the reason.",
    ),
]

QUIET = [
    Quiet("NoReadyReplica", "one is ready", {READY: "1x10", WANTED: "2x10"}, "8m"),
    Quiet("NoReadyReplica", "none is wanted", {READY: "0x10", WANTED: "0x10"}, "8m"),
    Quiet("NoReadyReplica", "upgrade", {READY: "1 0 0 1x10", WANTED: "1x10"}, "2m"),
    Quiet("Errors", "the caller's fault", OK | {requests("422", "caller"): "0+50x20"}, "12m"),
    Quiet("Errors", "few", MANY | {requests("500", "service"): "0+9x20"}, "12m"),
    Quiet(
        "Errors",
        "one alone",
        {requests("200"): "0+1x20", requests("500", "service"): "0x5 1x15"},
        "10m",
    ),
    Quiet("Errors", "probes", OK | {requests("503", "service", method="other"): "0+50x20"}, "12m"),
    Quiet(
        "Errors",
        "old streams",
        OK
        | {requests("UNAVAILABLE", "refused", transport="grpc", method="stream_pose"): "0+50x20"},
        "12m",
    ),
    Quiet("Refusals", "few", MANY | {requests("429", "refused"): "0+9x20"}, "12m"),
    Quiet("Refusals", "a burst", OK | {requests("429", "refused"): "0 0 50x20"}, "6m"),
    Quiet("Refusals", "draining", OK | {requests("503", "refused"): "0+50x20"}, "12m"),
    Quiet("QueueOld", "not for long", {OLDEST: "0.2 1.5 1.5 0.2x9"}, "2m"),
    Quiet("QueueOld", "young", {OLDEST: "0.9x9"}, "8m"),
    Quiet("DeviceErrors", "long ago", {FAULTS: "0 3x20"}, "15m"),
    Quiet("Slow", "less than one in a hundred", slower_than(1, percent=1), "12m"),
    Quiet("Slow", "not for long", slower_than(1, percent=3), "4m"),
    Quiet("Slow", "nobody asks", dict.fromkeys(slower_than(1, percent=3), "5x20"), "12m"),
    Quiet("LatestStreamsStarve", "few", frames(answered=200, replaced=1600), "15m"),
    Quiet("LatestStreamsStarve", "not for long", frames(answered=10, replaced=1600), "10m"),
    Quiet("LatestStreamsStarve", "broken frames", frames(failed=1800), "15m"),
    Quiet("LatestStreamsStarve", "no such streams", frames(ordered=90), "15m"),
    Quiet("Stalled", "nothing is queued", {STALLED: "0x9"}, "8m"),
    Quiet("Stalled", "not for long", {STALLED: "0 1 0x9"}, "3m"),
    Quiet("MemoryGrows", "too little", memory(f"{2000 * MIB}+{5 * MIB}x60"), "8h", "10m"),
    Quiet("MemoryGrows", "starting", memory(f"{2000 * MIB}+{10 * MIB}x60"), "7h", "10m"),
    Quiet(
        "MemoryGrows",
        "new",
        memory(f"{2000 * MIB}+{10 * MIB}x60", started_at_seconds=7200),
        "8h",
        "10m",
    ),
    Quiet("MemoryGrows", "not for long", memory(f"{2000 * MIB}+{10 * MIB}x60"), "440m", "10m"),
    Quiet("MemoryGrows", "one step", memory(f"{2000 * MIB}x24 {2100 * MIB}x30"), "8h", "10m"),
    Quiet("Restarts", "now and then", {RESTARTS: "0 1 2x20"}, "10m"),
]


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The alerts of a release in a rule file."""
    return rule_file(tmp_path_factory.mktemp("rules"))


def check(rules: Path, case: Firing | Quiet, expected: list[Json], folder: Path) -> None:
    """Check with promtool that exactly these alerts fire."""
    fire = {"eval_time": case.at, "alertname": f"Distilpose{case.alert}", "exp_alerts": expected}
    check_over(case.series, folder, interval=case.interval, rules=rules, alert_rule_test=[fire])


def raised(case: Firing) -> Json:
    """The alert raised by the case, in promtool's format."""
    [rule] = [rule for rule in alerts() if rule["alert"] == f"Distilpose{case.alert}"]
    return {
        "exp_labels": case.labels | rule["labels"],
        "exp_annotations": rule["annotations"] | {"description": case.description},
    }


@needs_promtool
@pytest.mark.parametrize("case", FIRING, ids=lambda case: case.alert)
def test_an_alert_fires(rules: Path, case: Firing, tmp_path: Path) -> None:
    check(rules, case, [raised(case)], tmp_path)


@needs_promtool
@pytest.mark.parametrize("case", QUIET, ids=lambda case: f"{case.alert}-{case.reason}")
def test_an_alert_does_not_fire(rules: Path, case: Quiet, tmp_path: Path) -> None:
    check(rules, case, [], tmp_path)


@needs_promtool
@pytest.mark.parametrize("case", FIRING, ids=lambda case: case.alert)
def test_an_alert_is_about_its_release_alone(rules: Path, case: Firing, tmp_path: Path) -> None:
    quiet = next(quiet.series for quiet in QUIET if quiet.alert == case.alert)
    for elsewhere in (of_another_release, of_another_namespace):
        check(rules, case._replace(series=quiet | elsewhere(case.series)), [], tmp_path)
        both = case._replace(series=case.series | elsewhere(quiet))
        check(rules, both, [raised(case)], tmp_path)


def of_another_release(series: dict[str, str]) -> dict[str, str]:
    """The same series for a release whose name starts with this one's."""
    return {
        re.sub(f'"{NAME}(-[^"]+)?"', rf'"{NAME}-gpu\1"', name): values
        for name, values in series.items()
    }


def of_another_namespace(series: dict[str, str]) -> dict[str, str]:
    """The same series for a release in another namespace."""
    return {name.replace(NAMESPACE, "elsewhere"): values for name, values in series.items()}


@needs_promtool
def test_promtool_finds_nothing_to_say(rules: Path) -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", rules)


def test_every_alert_is_tested_both_ways() -> None:
    names = {rule["alert"].removeprefix("Distilpose") for rule in alerts()}
    assert names == {case.alert for case in FIRING} == {case.alert for case in QUIET}
