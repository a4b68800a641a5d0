"""Services, Ingress, routes and the connections that the NetworkPolicy allows."""

from typing import Any

import pytest

from charts import SCENARIOS, Rendered, refusal, render

DNS = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


def ports(made: Rendered, template: str = "service.yaml") -> dict[str, int]:
    return {p["name"]: p["port"] for p in made.objects[template]["spec"]["ports"]}


def test_the_service_has_http_grpc_and_metrics() -> None:
    made = render()
    assert ports(made) == {"http": 8000, "grpc": 9000, "metrics": 9090}
    containers = {p["name"]: p["containerPort"] for p in made.server()["ports"]}
    assert containers == ports(made)


def test_ports_follow_the_settings() -> None:
    made = render("config={http: {port: 8080}, grpc: {port: 9001}}")
    assert ports(made) == {"http": 8080, "grpc": 9001, "metrics": 9090}


@pytest.mark.parametrize(
    "config", ["{http: {port: 9090}}", "{grpc: {port: 8000}}", "{http: {port: 0}}"]
)
def test_ports_that_meet_are_refused(config: str) -> None:
    assert "must differ" in refusal(f"config={config}")


@pytest.mark.parametrize("kind", ["NodePort", "LoadBalancer"])
def test_the_metrics_port_never_leaves_the_cluster(kind: str) -> None:
    made = render(f"service.type={kind}")
    assert ports(made) == {"http": 8000, "grpc": 9000}
    assert ports(made, "service-headless.yaml")["metrics"] == 9090


def test_nothing_of_grpc_is_left_where_it_is_off() -> None:
    made = render("config.grpc.port=0")
    assert "grpc" not in ports(made)
    assert "grpc" not in ports(made, "service-headless.yaml")
    assert [p["name"] for p in made.server()["ports"]] == ["http", "metrics"]
    ingress = made.one("NetworkPolicy")["spec"]["ingress"]
    assert [p["port"] for rule in ingress for p in rule["ports"]] == [8000, 9090]
    route = {"grpcRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}}
    assert "grpcRoute.enabled needs gRPC" in refusal("config.grpc.port=0", route)


def test_grpc_clients_find_every_pod() -> None:
    made = render()
    headless = made.objects["service-headless.yaml"]["spec"]
    assert headless["clusterIP"] == "None"
    assert headless["selector"] == made.one("Deployment")["spec"]["selector"]["matchLabels"]
    assert ports(made, "service-headless.yaml")["grpc"] == 9000


@pytest.mark.parametrize(
    ("change", "protocols"),
    [
        ({}, {"http": "http", "grpc": "kubernetes.io/h2c", "metrics": "http"}),
        ("tls.existingSecret=s", {"http": "https", "grpc": "https", "metrics": "http"}),
    ],
)
def test_ports_say_what_they_speak(change: Any, protocols: dict[str, str]) -> None:
    made = render(change)
    found = {
        template: {p["name"]: p["appProtocol"] for p in made.objects[template]["spec"]["ports"]}
        for template in ("service.yaml", "service-headless.yaml")
    }
    headless = {name: protocols[name] for name in ("grpc", "metrics")}
    assert found == {"service.yaml": protocols, "service-headless.yaml": headless}


def test_the_ingress_leads_to_http_only() -> None:
    spec = render(SCENARIOS["everything"]).one("Ingress")["spec"]
    (rule,) = spec["rules"]
    (path,) = rule["http"]["paths"]
    assert rule["host"] == "pose.example.com"
    assert path["backend"] == {"service": {"name": "pose-everything", "port": {"name": "http"}}}
    assert spec["tls"] == [{"hosts": ["pose.example.com"], "secretName": "pose-example-com"}]
    assert "tls" not in render(SCENARIOS["eks"]).one("Ingress")["spec"]


def test_an_ingress_without_a_host_is_refused() -> None:
    assert "ingress.host is not set" in refusal("ingress.enabled=true")


def test_the_http_route_leads_to_http_only() -> None:
    route = render(SCENARIOS["gateway"]).one("HTTPRoute")
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert route["spec"] == {
        "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
        "hostnames": ["pose.example.com"],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": "distilpose", "port": 8000}],
            }
        ],
    }


def test_the_grpc_route_leads_to_the_pose_service_only() -> None:
    route = render(SCENARIOS["gateway"]).one("GRPCRoute")
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert route["spec"] == {
        "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
        "hostnames": ["pose-grpc.example.com"],
        "rules": [
            {
                "matches": [{"method": {"type": "Exact", "service": "distilpose.v1.PoseService"}}],
                "backendRefs": [{"name": "distilpose", "port": 9000}],
            }
        ],
    }


@pytest.mark.parametrize("route", ["httpRoute", "grpcRoute"])
def test_a_route_without_a_gateway_is_refused(route: str) -> None:
    assert f"{route}.parentRefs is not set" in refusal(f"{route}.enabled=true")


def test_egress_is_dns_only() -> None:
    policy = render().one("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == [DNS]


def test_egress_that_an_option_needs_is_demanded_by_name() -> None:
    weights = ["weights.url=https://w", "weights.sha256=" + 64 * "a"]
    assert "networkPolicy.egress.weights is not set" in refusal(*weights)
    tracing = "tracing.endpoint=http://c:4318"
    assert "networkPolicy.egress.otlp is not set" in refusal(tracing)
    render(*weights, tracing, "networkPolicy.enabled=false")


def test_egress_rules_are_added() -> None:
    egress = render(SCENARIOS["everything"]).one("NetworkPolicy")["spec"]["egress"]
    assert egress[0] == DNS
    assert [rule["ports"][0]["port"] for rule in egress[1:]] == [443, 4318, 15012]


def test_everyone_may_call_unless_peers_are_named() -> None:
    calls, scrapes = render().one("NetworkPolicy")["spec"]["ingress"]
    assert [p["port"] for p in calls["ports"]] == [8000, 9000]
    assert [p["port"] for p in scrapes["ports"]] == [9090]
    assert "from" not in calls
    assert "from" not in scrapes


def test_named_peers_and_the_test_may_call() -> None:
    made = render(SCENARIOS["everything"])
    calls, scrapes = made.one("NetworkPolicy")["spec"]["ingress"]
    named, own = calls["from"]
    assert named == {"podSelector": {"matchLabels": {"calls": "pose"}}}
    smoke = made.objects["tests/smoke.yaml"]["metadata"]["labels"]
    assert own["podSelector"]["matchLabels"].items() <= smoke.items()
    assert len(scrapes["from"]) == 1


def test_each_pod_is_scraped_once() -> None:
    made = render(SCENARIOS["keda"])
    monitor = made.one("ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    selected = [
        template
        for template in ("service.yaml", "service-headless.yaml")
        if wanted <= made.objects[template]["metadata"]["labels"].items()
    ]
    assert selected == ["service-headless.yaml"]
    assert monitor["spec"]["endpoints"] == [
        {"port": "metrics", "path": "/metrics", "interval": "15s"}
    ]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
