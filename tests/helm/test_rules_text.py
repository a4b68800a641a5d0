"""The alerts' texts and limits, and the existence of the metrics that they query."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import helm_engine
from charts import render
from distilpose.service.errors import Overloaded
from distilpose.service.rest.errors import STATUSES
from distilpose.service.rest.middleware import ENDINGS as REST_ENDINGS
from distilpose.service.rpc.errors import CODES
from distilpose.service.rpc.interceptor import ENDINGS as RPC_ENDINGS
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.words import Blame
from monitoring import NAME, RELEASE, alerts, metrics_of

OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"


def test_every_alert_says_what_to_do() -> None:
    headings = re.findall("^## (.+)$", OPERATING.read_text("utf-8"), re.MULTILINE)
    assert headings == [rule["alert"] for rule in alerts(runbookUrl="x")]
    for rule in alerts(runbookUrl="https://docs.test/operating.md"):
        assert rule["labels"]["severity"] in ("critical", "warning")
        notes = rule["annotations"]
        assert set(notes) == {"summary", "description", "runbook_url"}
        assert notes["runbook_url"] == f"https://docs.test/operating.md#{rule['alert'].lower()}"


def test_the_runbook_says_each_alerts_severity() -> None:
    said = re.findall(r"^## (\w+)\n\n\*(\w+)\.\*", OPERATING.read_text("utf-8"), re.MULTILINE)
    assert [(alert, severity.lower()) for alert, severity in said] == [
        (rule["alert"], rule["labels"]["severity"]) for rule in alerts()
    ]


def test_limits_are_values() -> None:
    limits = {
        "noReadyReplicaFor": "9m",
        "errorRatio": 0.07,
        "refusalRatio": 0.125,
        "queueSeconds": 1.75,
        "latencySeconds": 0.25,
        "latestDroppedRatio": 0.625,
        "memoryGrowthMiBPerHour": 77,
    }
    rules = alerts(**limits)
    text = json.dumps(rules)
    for limit in (*limits.values(), "7%", "12.5%", "62.5%"):
        assert str(limit) in text
    by_name = {rule["alert"]: rule for rule in rules}
    assert by_name["DistilposeErrors"]["expr"].rstrip().endswith("> 0.07")
    assert by_name["DistilposeNoReadyReplica"]["for"] == "9m"


@pytest.mark.parametrize(
    "limit",
    [{"latencySeconds": 10}, {"errorRatio": 1}, {"latestDroppedRatio": 1}, {"queueSecs": 1}],
)
def test_a_limit_that_can_never_be_passed_is_refused(limit: dict[str, Any]) -> None:
    with pytest.raises(helm_engine.Refused, match=next(iter(limit))):
        alerts(**limit)


def test_the_rule_has_the_labels_that_its_operator_selects_by() -> None:
    values = {"prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}}}
    rule = render(values, release=RELEASE).objects["prometheusrule.yaml"]
    assert rule["kind"] == "PrometheusRule"
    assert rule["metadata"]["name"] == NAME
    assert rule["metadata"]["labels"]["release"] == "prometheus"


@pytest.mark.parametrize("template", ["prometheusrule.yaml", "dashboard.yaml"])
def test_should_not_render_when_disabled(template: str) -> None:
    assert template not in render().objects


def test_alerts_ask_for_metrics_that_exist() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    known = {name for family in registry.collect() for name in registry_names(family)}
    asked = set(itertools.chain(*(metrics_of(rule["expr"]) for rule in alerts())))
    assert {name for name in asked if name.startswith("distilpose_")} <= known


def registry_names(family: Any) -> list[str]:
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
    return [family.name + suffix for suffix in suffixes.get(family.type, ("",))]


def test_the_endings_that_alerts_ask_for_are_those_of_the_front_ends() -> None:
    by_name = {rule["alert"]: rule["expr"] for rule in alerts()}
    endings = {*REST_ENDINGS, *RPC_ENDINGS}
    blames = set(re.findall(r'blame!?=~?"(.*?)"', by_name["DistilposeErrors"]))
    assert blames == {Blame.SERVICE, f"{Blame.NONE}|{Blame.SERVICE}"}
    [codes] = re.findall('code=~"(.*?)"', by_name["DistilposeRefusals"])
    assert codes == f"{STATUSES[Overloaded]}|{CODES[Overloaded].name}"
    assert {(code, Blame.REFUSED) for code in codes.split("|")} < endings


def test_every_alert_says_when_it_must_and_must_not_fire() -> None:
    sections = re.split("^## ", OPERATING.read_text("utf-8"), flags=re.MULTILINE)[1:]
    assert len(sections) == len(alerts())
    for section in sections:
        assert re.search(r"^\*\*Fires\*\* ", section, re.MULTILINE), section
        assert re.search(r"^\*\*Does not fire\*\* ", section, re.MULTILINE), section
