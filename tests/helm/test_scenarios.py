"""Every values file and a matrix of options: rendered, linted, validated by published schemas."""

import itertools
import json
from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor
from kubernetes_validate import utils as kubernetes
from pydantic import BaseModel

import helm_engine
from charts import CHART, MINIMAL, SCENARIOS, SUFFIX, merged, render, templates

CUSTOM: dict[str, type[BaseModel]] = {
    "PrometheusRule": PrometheusRule,
    "ScaledObject": ScaledObject,
    "ServiceMonitor": ServiceMonitor,
}
NO_PUBLISHED_SCHEMA = {"GRPCRoute", "HTTPRoute"}  # tests/helm/test_network.py has their shape
NEWEST_THREE = sorted(
    {kubernetes.major_minor(v) for v in kubernetes.all_versions()},
    key=lambda version: [int(part) for part in version.split(".")],
)[-3:]
ALWAYS = {"configmap.yaml", "deployment.yaml", "service.yaml", "service-headless.yaml"}
ON_BY_DEFAULT: dict[str, Any] = {
    "networkpolicy.yaml": "networkPolicy.enabled=false",
    "pdb.yaml": "podDisruptionBudget.enabled=false",
    "serviceaccount.yaml": "serviceAccount.create=false",
    "tests/smoke.yaml": {"tls": {"existingSecret": "s", "requireClientCertificate": True}},
}
OFF_BY_DEFAULT: dict[str, Any] = {
    "dashboard.yaml": "dashboard.enabled=true",
    "grpcroute.yaml": {"grpcRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}},
    "hpa.yaml": "autoscaling.hpa.enabled=true",
    "httproute.yaml": {"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}},
    "ingress.yaml": {"ingress": {"enabled": True, "host": "h"}},
    "prometheusrule.yaml": "prometheusRule.enabled=true",
    "scaledobject.yaml": {"autoscaling": {"keda": {"enabled": True, "serverAddress": "http://p"}}},
    "secret-api-keys.yaml": "apiKeys.keys=[k]",
    "secret-tls.yaml": {"tls": {"certificate": "-----BEGIN C", "key": "-----BEGIN K"}},
    "servicemonitor.yaml": "serviceMonitor.enabled=true",
    "training-config.yaml": {"training": SCENARIOS["everything"]["training"]},
    "training-job.yaml": {"training": SCENARIOS["everything"]["training"]},
}
MATRIX = [
    list(itertools.chain(*changes))
    for changes in itertools.product(
        (["gpu.count=0"], ["gpu.resource=nvidia.com/mig-1g.10gb"]),
        ([], ["autoscaling.hpa.enabled=true"], [OFF_BY_DEFAULT["scaledobject.yaml"]]),
        ([], ["tls.existingSecret=s", "apiKeys.existingSecret=k"], ["probes.grpc=true"]),
        (
            [],
            [
                f"weights={{sha256: {64 * 'a'}, volume: {{image: {{reference: r}}}}}}",
                *("service.type=LoadBalancer", "networkPolicy.enabled=false", "preStopSeconds=0"),
            ],
        ),
    )
]


def check(objects: Iterable[dict[str, Any]], version: str) -> None:
    """Fail on fields that the Kubernetes version, or a resource's own schema, does not define."""
    for value in objects:
        check_once(json.dumps(value, sort_keys=True), version)


@cache
def check_once(text: str, version: str) -> None:
    value = json.loads(text)
    if model := CUSTOM.get(value["kind"]):
        known = model.model_validate(value).model_dump(
            mode="json", by_alias=True, exclude_unset=True
        )
        assert known == value  # the models drop unknown fields
    elif value["kind"] not in NO_PUBLISHED_SCHEMA:
        kubernetes.validate(value, version, strict=True)


@pytest.fixture(autouse=True)
def _schemas_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "schema_contents", schema_contents)


schema_contents = cache(kubernetes.schema_contents)


def test_every_scenario_is_picked_up() -> None:
    assert {path.name for path in (CHART / "ci").iterdir()} == {f"{n}{SUFFIX}" for n in SCENARIOS}
    assert set(SCENARIOS) == {
        *("gke", "eks", "aks", "cpu", "minimal", "mig", "tls", "keda", "gateway", "everything")
    }


@pytest.mark.parametrize("name", SCENARIOS)
def test_lint_is_clean(name: str) -> None:
    report = helm_engine.lint(CHART, SCENARIOS[name], kube_version="v1.30.0")
    assert report["errors"] == []
    assert [m["error"] for m in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", NEWEST_THREE)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_object_is_known_to_the_three_newest_minors(name: str, version: str) -> None:
    check(render(SCENARIOS[name]).objects.values(), version)


def test_every_mixture_of_options_is_valid() -> None:
    for changes in MATRIX:
        check(render(*changes).objects.values(), NEWEST_THREE[-1])
    assert len(MATRIX) == 36


def test_what_a_schema_does_not_know_is_noticed() -> None:
    keda = render(SCENARIOS["keda"])
    with pytest.raises(AssertionError):
        check([merged(keda.one("ScaledObject"), "spec.polingInterval=3")], NEWEST_THREE[0])
    with pytest.raises(kubernetes.ValidationError):
        check([merged(keda.one("Deployment"), "spec.replica=3")], NEWEST_THREE[0])


def test_these_are_the_templates() -> None:
    assert templates() == ALWAYS | set(ON_BY_DEFAULT) | set(OFF_BY_DEFAULT)


def test_only_these_are_always_there() -> None:
    assert set(render().objects) == ALWAYS | set(ON_BY_DEFAULT)


@pytest.mark.parametrize("template", sorted(templates()))
def test_some_values_file_renders_each_template(template: str) -> None:
    assert any(template in render(values).objects for values in SCENARIOS.values())


@pytest.mark.parametrize("template", ON_BY_DEFAULT)
def test_should_not_render_when_disabled(template: str) -> None:
    assert template not in render(ON_BY_DEFAULT[template]).objects


@pytest.mark.parametrize("template", OFF_BY_DEFAULT)
def test_should_not_render_unless_enabled(template: str) -> None:
    assert template not in render().objects
    assert template in render(OFF_BY_DEFAULT[template]).objects


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_object_has_the_labels_of_the_release(name: str) -> None:
    objects = render(SCENARIOS[name]).objects
    assert {"deployment.yaml", "service.yaml"} <= objects.keys()
    for value in objects.values():
        assert value["metadata"]["labels"]["app.kubernetes.io/instance"] == "distilpose"
        assert value["metadata"]["labels"]["helm.sh/chart"] == "distilpose-0.1.0"


def test_a_release_of_another_name_carries_it() -> None:
    made = render(release="blue")
    assert made.one("Deployment")["metadata"]["name"] == "blue-distilpose"
    assert render(release="x" * 53).one("Deployment")["metadata"]["name"] == "x" * 40


def test_names_can_be_given() -> None:
    assert (
        render("nameOverride=pose", release="a").one("Deployment")["metadata"]["name"] == "a-pose"
    )
    assert render("fullnameOverride=p").one("Deployment")["metadata"]["name"] == "p"


def test_minimal_values_name_the_image_and_nothing_else() -> None:
    assert MINIMAL == {"image": {"repository": "registry.example.com/distilpose-cuda"}}
