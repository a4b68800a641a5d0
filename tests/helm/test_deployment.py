"""The Deployment: placement, resources, start, rollout and shutdown of its pods."""

from pathlib import Path
from typing import Any

import pytest

from charts import SCENARIOS, Rendered, refusal, render

TLS = "tls.existingSecret=certificate"


def volumes(made: Rendered) -> dict[str, Any]:
    return {volume["name"]: volume for volume in made.pod()["volumes"]}


def mounts(container: Any) -> dict[str, Any]:
    return {mount["mountPath"]: mount for mount in container["volumeMounts"]}


def test_without_a_repository_it_fails_with_the_commands_to_run() -> None:
    text = refusal("image.repository=")
    assert "image.repository is not set" in text
    assert "docker build -f docker/Dockerfile --target cuda -t REGISTRY/distilpose-cuda:" in text
    assert "docker push REGISTRY/distilpose-cuda:0.1.0" in text
    assert "--target cpu" in refusal("image.repository=", "gpu.count=0")


@pytest.mark.parametrize(
    ("change", "image"),
    [
        ({}, "r/d:0.1.0"),
        ("image.tag='1.2'", "r/d:1.2"),
        (f"image={{tag: '1.2', digest: 'sha256:{64 * 'a'}'}}", f"r/d@sha256:{64 * 'a'}"),
    ],
)
def test_the_image_is_named_by_tag_or_digest(change: Any, image: str) -> None:
    assert render("image.repository=r/d", change).server()["image"] == image


def test_an_upgrade_on_one_gpu_takes_the_old_pod_away_first() -> None:
    spec = render("replicaCount=1").one("Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    }


def test_a_rollout_that_could_never_end_is_refused() -> None:
    assert "are both 0" in refusal("rollout={maxSurge: 0, maxUnavailable: 0}")
    assert "are both 0" in refusal("rollout={maxSurge: 0%, maxUnavailable: 0}")


@pytest.mark.parametrize("scaler", ["gke", "keda"])
def test_replicas_are_left_to_the_autoscaler(scaler: str) -> None:
    assert "replicas" not in render(SCENARIOS[scaler], "replicaCount=3").one("Deployment")["spec"]


def test_shared_memory_is_memory_backed() -> None:
    made = render("sharedMemory.size=1Gi")
    assert volumes(made)["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}
    assert mounts(made.server())["/dev/shm"]["name"] == "shm"  # noqa: S108 - of the container
    assert "shm" not in volumes(render("sharedMemory.size=''"))


@pytest.mark.parametrize("resource", ["nvidia.com/gpu", "nvidia.com/mig-1g.10gb"])
def test_a_device_is_asked_for_by_name(resource: str) -> None:
    limits = render(f"gpu.resource={resource}").server()["resources"]["limits"]
    assert limits == {"cpu": "4", "memory": "8Gi", resource: 1}


def test_a_pod_on_cpus_asks_for_no_device() -> None:
    resources = render("gpu.count=0").server()["resources"]
    assert resources["limits"] == {"cpu": "4", "memory": "8Gi"}


def test_a_pod_whose_device_does_not_work_fails_at_its_start() -> None:
    assert render().settings()["model"]["device"] == "cuda"
    assert render("gpu.count=0").settings()["model"]["device"] == "cpu"


def test_the_taint_of_gpu_nodes_is_tolerated() -> None:
    toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert toleration in render().pod()["tolerations"]


def test_a_device_is_added_where_no_limits_are_set() -> None:
    resources = render("resources.limits=null").server()["resources"]
    assert resources["limits"] == {"nvidia.com/gpu": 1}


@pytest.mark.parametrize(
    ("pre_stop", "delay", "drain", "grace"),
    [(5, 0, 30, 40), (0, 0, 0, 5), (10, 2.5, 20.2, 38)],
)
def test_the_grace_period_covers_every_phase(
    pre_stop: int, delay: float, drain: float, grace: int
) -> None:
    made = render(
        f"preStopSeconds={pre_stop}",
        f"config.life={{drain_delay_seconds: {delay}, drain_seconds: {drain}}}",
    )
    assert made.pod()["terminationGracePeriodSeconds"] == grace
    assert made.settings()["life"] == {"drain_delay_seconds": delay, "drain_seconds": drain}


def test_a_pod_leaves_the_services_before_it_is_told_to_stop() -> None:
    assert render("preStopSeconds=7").server()["lifecycle"] == {
        "preStop": {"sleep": {"seconds": 7}}
    }
    assert "lifecycle" not in render("preStopSeconds=0").server()


def test_probes_ask_the_metrics_port() -> None:
    server = render().server()
    assert {"name": "metrics", "containerPort": 9090} in server["ports"]
    for probe, path in (("startup", "/readyz"), ("readiness", "/readyz"), ("liveness", "/healthz")):
        assert server[f"{probe}Probe"]["httpGet"] == {"path": path, "port": "metrics"}
    assert (
        server["startupProbe"]["periodSeconds"] * server["startupProbe"]["failureThreshold"] == 600
    )


def test_probes_over_grpc_leave_liveness_to_http() -> None:
    server = render("probes.grpc=true", "config.grpc.port=9001").server()
    assert server["startupProbe"]["grpc"] == server["readinessProbe"]["grpc"] == {"port": 9001}
    assert "httpGet" in server["livenessProbe"]


def test_probes_over_grpc_are_refused_with_tls_and_without_grpc() -> None:
    refused = refusal("probes.grpc=true", TLS)
    assert "probes.grpc: kubelet's gRPC probes do not support TLS" in refused
    assert "probes.grpc needs gRPC" in refusal("probes.grpc=true", "config.grpc.port=0")


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_container_is_privileged(name: str) -> None:
    made = render(SCENARIOS[name])
    specs = [value["spec"] for value in made.objects.values() if value["kind"] == "Pod"]
    specs += [
        value["spec"]["template"]["spec"]
        for value in made.objects.values()
        if value["kind"] in ("Deployment", "Job")
    ]
    assert specs
    for spec in specs:
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"] + spec.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_variable_of_a_service_reaches_the_settings(name: str) -> None:
    # Kubernetes would set DISTILPOSE_PORT for a Service called distilpose, which is not a setting.
    assert render(SCENARIOS[name]).pod()["enableServiceLinks"] is False


def test_tmp_is_the_only_place_to_write_to() -> None:
    made = render()
    assert volumes(made)["tmp"]["emptyDir"] == {"sizeLimit": "4Gi"}
    writable = {path for path, m in mounts(made.server()).items() if not m.get("readOnly")}
    assert writable == {"/tmp", "/dev/shm"}  # noqa: S108 - of the container


def test_compiled_networks_are_kept_in_the_writable_folder() -> None:
    dockerfile = Path(__file__).parents[2] / "docker" / "Dockerfile"
    assert "XDG_CACHE_HOME=/tmp/cache" in dockerfile.read_text()
    assert render().settings()["model"]["cache"] == "auto"


def test_placement_reaches_the_pod() -> None:
    pod = render(SCENARIOS["everything"]).pod()
    assert pod["nodeSelector"] == {"pool": "gpu"}
    assert pod["priorityClassName"] == "serving"
    assert pod["runtimeClassName"] == "nvidia"
    assert "podAntiAffinity" in pod["affinity"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["serviceAccountName"] == "pose-server"
    assert render("serviceAccount.create=false").pod()["serviceAccountName"] == "default"


def test_a_spread_without_a_selector_counts_the_services_pods() -> None:
    made = render(SCENARIOS["everything"])
    by_zone, by_node = made.pod()["topologySpreadConstraints"]
    selector = made.one("Deployment")["spec"]["selector"]
    assert by_zone["labelSelector"] == selector
    assert by_node["labelSelector"] == {"matchLabels": {"tier": "inference"}}


def test_the_pods_have_the_labels_that_select_them() -> None:
    made = render(SCENARIOS["everything"])
    spec = made.one("Deployment")["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert labels["tier"] == "inference"
    assert "helm.sh/chart" not in labels  # or a new chart would restart pods for nothing
    assert spec["template"]["metadata"]["annotations"]["example.com/note"] == "a note"
    other = made.objects["tests/smoke.yaml"]["metadata"]["labels"]
    assert not spec["selector"]["matchLabels"].items() <= other.items()


def test_changed_settings_restart_the_pods() -> None:
    def checksum(*changes: str) -> str:
        template = render(*changes).one("Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum() != checksum("config.http.max_images=8")
    assert checksum() == checksum("replicaCount=3")


def test_traces_and_other_variables_reach_the_container() -> None:
    environment = {
        e["name"]: e.get("value") for e in render(SCENARIOS["everything"]).server()["env"]
    }
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector.observability:4318"
    assert environment["OTEL_SERVICE_NAME"] == "pose-everything"
    assert environment["OTEL_TRACES_SAMPLER"] == "parentbased_traceidratio"
    assert "env" not in render().server()


def test_weights_from_a_volume_are_pinned() -> None:
    digest = 64 * "a"
    claim = {"persistentVolumeClaim": {"claimName": "weights"}}
    values = {"weights": {"volume": claim, "sha256": digest, "file": "mine.safetensors"}}
    made = render(values)
    assert volumes(made)["weights"] == {"name": "weights", **claim}
    assert mounts(made.server())["/weights"]["readOnly"] is True
    assert made.settings()["model"]["weights"] == "/weights/mine.safetensors"
    assert made.settings()["model"]["weights_sha256"] == digest


def test_weights_are_fetched_by_an_init_container() -> None:
    made = render(SCENARIOS["everything"])
    (fetching,) = made.pod()["initContainers"]
    assert fetching["args"][1:] == [
        "https://weights.example.com/distilpose-l.safetensors",
        "/weights/distilpose-l.safetensors",
        made.settings()["model"]["weights_sha256"],
    ]
    assert fetching["image"] == made.server()["image"]
    assert volumes(made)["weights"] == {"name": "weights", "emptyDir": {}}
    assert "initContainers" not in render().pod()


def test_weights_that_are_not_pinned_are_refused() -> None:
    volume = "weights.volume={nfs: {server: s, path: /w}}"
    assert "weights.sha256 is not set" in refusal(volume)
    assert "weights.sha256 is not set" in refusal("weights.url=https://w")
    assert "weights.volume and weights.url: give one" in refusal(volume, "weights.url=https://w")


def test_all_problems_are_reported_at_once() -> None:
    text = refusal("ingress.enabled=true", "weights.url=https://w", "tls.key='-----BEGIN K'")
    for name in ("ingress.host", "weights.sha256", "egress.weights", "tls.certificate and tls.key"):
        assert name in text
