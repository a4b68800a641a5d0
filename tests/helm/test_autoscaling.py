"""The two autoscalers: their signals, their limits, and that only one of them acts."""

import re
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from charts import CHART, NAMESPACE, SCENARIOS, refusal, render
from distilpose.service.telemetry.metrics import Metrics

ADAPTER = yaml.safe_load((CHART / "examples" / "prometheus-adapter-values.yaml").read_text("utf-8"))
RULES = {rule["name"]["as"]: rule for rule in ADAPTER["rules"]["custom"]}
HPA = "autoscaling.hpa.enabled=true"


def keda_triggers() -> dict[str, Any]:
    spec = render(SCENARIOS["keda"]).one("ScaledObject")["spec"]
    return {trigger["name"]: trigger for trigger in spec["triggers"]}


def hpa_metrics(*changes: Any) -> dict[str, Any]:
    spec = render(HPA, *changes).one("HorizontalPodAutoscaler")["spec"]
    return {m["pods"]["metric"]["name"]: m["pods"]["target"] for m in spec["metrics"]}


def exposed() -> set[str]:
    """The names of the service's series."""
    registry = CollectorRegistry()
    Metrics(registry)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {sample.name for family in families for sample in family.samples}


def test_the_hpa_follows_waiting_and_the_busy_share() -> None:
    given = "autoscaling={targetQueueSeconds: 0.2, targetBusyShare: 0.6}"
    assert hpa_metrics(given) == {
        "distilpose_queue_wait_seconds_mean": {"type": "AverageValue", "averageValue": "0.2"},
        "distilpose_busy_share": {"type": "AverageValue", "averageValue": "0.6"},
    }


def test_keda_follows_waiting_and_the_busy_share() -> None:
    waiting, busy = keda_triggers().values()
    assert (waiting["metricType"], waiting["metadata"]["threshold"]) == ("Value", "0.1")
    assert (busy["metricType"], busy["metadata"]["threshold"]) == ("AverageValue", "0.7")


@pytest.mark.parametrize("kind", ["HorizontalPodAutoscaler", "ScaledObject"])
def test_scale_in_waits_for_ten_minutes(kind: str) -> None:
    spec = render(SCENARIOS["gke" if kind == "HorizontalPodAutoscaler" else "keda"]).one(kind)[
        "spec"
    ]
    if kind == "ScaledObject":
        spec = spec["advanced"]["horizontalPodAutoscalerConfig"]
    down = spec["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] == 600
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 120}]


def test_no_signal_is_utilisation() -> None:
    queries = [rule["metricsQuery"] for rule in RULES.values()]
    queries += [trigger["metadata"]["query"] for trigger in keda_triggers().values()]
    assert not re.search(r"util|DCGM|cpu|memory", " ".join(queries))


def test_the_metrics_of_the_hpa_are_those_of_the_adapters_rules() -> None:
    assert set(hpa_metrics()) == set(RULES)


def test_all_queries_are_over_metrics_that_the_service_has() -> None:
    queries = [rule[key] for rule in RULES.values() for key in ("metricsQuery", "seriesQuery")]
    queries += [trigger["metadata"]["query"] for trigger in keda_triggers().values()]
    named = set(re.findall(r"distilpose_\w+", " ".join(queries)))
    assert named == {
        "distilpose_queue_wait_seconds_sum",
        "distilpose_queue_wait_seconds_count",
        "distilpose_pool_busy_seconds_total",
        "distilpose_pool_workers",
    }
    assert named <= exposed()


def test_keda_asks_for_the_releases_own_pods() -> None:
    for trigger in keda_triggers().values():
        series = re.findall(r"\{(.*?)\}", trigger["metadata"]["query"])
        assert series
        for matchers in series:
            namespace, pods = re.fullmatch(r'namespace="(.*)",pod=~"(.*)"', matchers).groups()  # type: ignore[union-attr] # fails without a match
            assert namespace == NAMESPACE
            assert re.fullmatch(pods, "distilpose-6d5f8c7b9d-x2v4q")
            assert not re.fullmatch(pods, "distilpose-other-6d5f8c7b9d-x2v4q")
            assert not re.fullmatch(pods, "distilpose-train-0123abcd-x2v4q")


def test_the_adapter_asks_for_whatever_pods_it_is_asked_of() -> None:
    assert RULES
    for rule in RULES.values():
        series = len(re.findall(r"distilpose_\w+", rule["metricsQuery"]))
        assert rule["metricsQuery"].count("<<.LabelMatchers>>") == series > 0
        assert "by (<<.GroupBy>>)" in rule["metricsQuery"]


def test_limits_reach_both() -> None:
    hpa = render(HPA, "autoscaling={minReplicas: 2, maxReplicas: 9}").one("HorizontalPodAutoscaler")
    assert (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]) == (2, 9)
    assert hpa["spec"]["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "distilpose",
    }
    keda = render(SCENARIOS["keda"]).one("ScaledObject")["spec"]
    assert (keda["minReplicaCount"], keda["maxReplicaCount"]) == (2, 8)
    assert keda["scaleTargetRef"] == {"name": "distilpose"}


def test_an_hpa_and_keda_together_are_refused() -> None:
    assert "two would conflict" in refusal(SCENARIOS["keda"], HPA)


def test_values_that_cannot_scale_are_refused() -> None:
    assert "autoscaling.keda.serverAddress is not set" in refusal("autoscaling.keda.enabled=true")
    assert "minReplicas is above" in refusal("autoscaling={minReplicas: 5, maxReplicas: 4}")


def test_keda_can_identify_itself_to_prometheus() -> None:
    spec = render(SCENARIOS["keda"], "autoscaling.keda.authenticationRef={name: prometheus}").one(
        "ScaledObject"
    )["spec"]
    assert [t["authenticationRef"] for t in spec["triggers"]] == 2 * [{"name": "prometheus"}]
