"""Every query in the chart, run on a real Prometheus that scraped the real service."""

import json
import math
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import httpx
import pytest
import yaml

from charts import CHART, NAMESPACE, SCENARIOS, render
from distilpose.v1 import pose_pb2
from distilpose.v1.pose_pb2_grpc import PoseServiceStub
from grpc_callers import frame, opening
from monitoring import NAME, POD, RELEASE, alerts, chosen, dashboard, graphs
from photos import photo
from ports import free_port
from promtool import check_over, needs_promtool
from servers import Server, start

BUS = photo("bus.jpg")
ZIDANE = photo("zidane.jpg")
SCRAPE_SECONDS: Final = 5
SCRAPED_ELSEWHERE: Final = ("container_", "kube_")
"""Metrics of the kubelet and of kube-state-metrics."""

needs_prometheus = pytest.mark.skipif(
    not shutil.which("prometheus"), reason="prometheus is not installed (Debian: prometheus)"
)


def of_dashboard() -> dict[str, str]:
    return {
        f"{panel['id']} {panel['title']}: {target['legendFormat']}": chosen(target["expr"])
        for panel in graphs()
        for target in panel["targets"]
    }


def of_alerts() -> dict[str, str]:
    """The alerts' conditions as 0 or 1, since a false condition has no value."""
    return {
        rule["alert"]: re.sub(r" ([<>]|==) (?=\d)", r" \1 bool ", rule["expr"]) for rule in alerts()
    }


def of_keda() -> dict[str, str]:
    scaler = render(SCENARIOS["keda"], release=RELEASE).one("ScaledObject")
    return {
        f"keda {trigger['name']}": trigger["metadata"]["query"]
        for trigger in scaler["spec"]["triggers"]
    }


def of_adapter() -> dict[str, str]:
    """The adapter's queries, with the pods of a HorizontalPodAutoscaler."""
    values = yaml.safe_load((CHART / "examples/prometheus-adapter-values.yaml").read_text("utf-8"))
    queries = {}
    for rule in values["rules"]["custom"]:
        expr = rule["metricsQuery"]
        for name, value in (
            ("LabelMatchers", f'namespace="{NAMESPACE}",pod=~"{POD}"'),
            ("GroupBy", "pod"),
        ):
            expr = expr.replace(f"<<.{name}>>", value)
        queries[f"adapter {rule['name']['as']}"] = expr
        queries[f"adapter {rule['name']['as']}: series"] = rule["seriesQuery"]
    return queries


ALL = of_dashboard() | of_alerts() | of_keda() | of_adapter()
OURS = {
    name: expr for name, expr in ALL.items() if not re.search("|".join(SCRAPED_ELSEWHERE), expr)
}


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30)

    def ask(self, path: str, **parameters: str) -> Any:
        answer = self._client.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def values(self, expr: str) -> list[float]:
        found = self.ask("query", query=expr)
        return [float(sample["value"][1]) for sample in found["result"]]

    def wait_for_scrapes(self, number: int) -> None:
        """Return when the service has been scraped that often."""
        limit = time.monotonic() + 60
        while sum(self.values("sum_over_time(up[10m])")) < number:
            assert time.monotonic() < limit
            time.sleep(0.2)

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """The service and its port of metrics."""
    port = free_port()
    folder = tmp_path_factory.mktemp("service")
    server, log = start(folder, 0, {"TELEMETRY__METRICS_PORT": str(port)})
    try:
        server.wait_until_ready()
        yield server, port
    finally:
        server.process.kill()
        server.process.wait()
        log.close()


@pytest.fixture(scope="module")
def prometheus(
    service: tuple[Server, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that scraped the service before, under and after load."""
    server, metrics_port = service
    folder = tmp_path_factory.mktemp("prometheus")
    url = f"127.0.0.1:{free_port()}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config(folder, metrics_port)}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={url}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            asked = listening(f"http://{url}", process)
            asked.wait_for_scrapes(1)
            load(server)
            # The next scrape may have begun before the load ended, but not the one after it.
            asked.wait_for_scrapes(3)
            yield asked
            asked.close()
        finally:
            process.terminate()
            process.wait()


def config(folder: Path, metrics_port: int) -> Path:
    """A configuration that scrapes the service with the labels that a ServiceMonitor sets."""
    labels = {"namespace": NAMESPACE, "pod": POD, "container": "distilpose"}
    job = {
        "job_name": NAME,
        "scrape_interval": f"{SCRAPE_SECONDS}s",
        "static_configs": [{"targets": [f"127.0.0.1:{metrics_port}"], "labels": labels}],
    }
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump({"scrape_configs": [job]}))
    return path


def listening(url: str, process: "subprocess.Popen[bytes]") -> Prometheus:
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        assert process.poll() is None
        try:
            if httpx.get(f"{url}/-/ready", timeout=30).status_code == 200:
                return Prometheus(url)
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("Prometheus does not listen")


def load(server: Server) -> None:
    """Send photos of all kinds to both front ends, and streams of both modes."""
    jpeg = {"content-type": "image/jpeg"}
    boxes = json.dumps([[[49, 400, 245, 902]]])
    with server.client() as client:
        for picture, query, status in (
            (BUS, {}, 200),
            (ZIDANE, {}, 200),
            (BUS, {"boxes": boxes}, 200),
            (BUS[:5000], {}, 422),
            (BUS, {"min_box_score": "2"}, 422),
        ):
            answer = client.post("/v1/pose", content=picture, headers=jpeg, params=query)
            assert answer.status_code == status
        several = [("images", BUS), ("images", b"no picture"), ("images", ZIDANE)]
        assert client.post("/v1/pose", files=several).status_code == 200
    with grpc.insecure_channel(server.grpc_target) as channel:
        stub = PoseServiceStub(channel)
        image = pose_pb2.Image(encoded=BUS)
        stub.EstimatePose(pose_pb2.EstimatePoseRequest(images=[image]), timeout=60)
        frames = [frame(1, ZIDANE), frame(2, ZIDANE[:5000]), frame(3, ZIDANE)]
        assert len(list(stub.StreamPose(iter([opening(), *frames]), timeout=60))) == 3
        latest = pose_pb2.StreamOptions(mode=pose_pb2.STREAM_MODE_LATEST)
        hasty = [pose_pb2.StreamPoseRequest(options=latest), *(frame(n, ZIDANE) for n in range(9))]
        assert len(list(stub.StreamPose(iter(hasty), timeout=60))) < 9


@pytest.mark.slow
@needs_prometheus
@pytest.mark.parametrize("name", OURS)
def test_a_query_over_our_metrics_has_values(prometheus: Prometheus, name: str) -> None:
    values = prometheus.values(OURS[name])
    assert values
    assert all(map(math.isfinite, values)), values


@pytest.mark.slow
@needs_prometheus
def test_the_dashboards_variables_offer_the_pod(prometheus: Prometheus) -> None:
    offered = {}
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
            assert found
            series = {"match[]": chosen(found[1])}
            offered[variable["name"]] = prometheus.ask(f"label/{found[2]}/values", **series)
    assert offered == {"namespace": [NAMESPACE], "pod": [POD]}


@pytest.mark.slow
@needs_prometheus
def test_what_was_sent_is_what_the_dashboard_shows(prometheus: Prometheus) -> None:
    queries = of_dashboard()

    def shown(title: str) -> dict[str, float]:
        [expr] = [expr for name, expr in queries.items() if name.partition(" ")[2] == title]
        result = prometheus.ask("query", query=expr)["result"]
        return {
            " ".join(sorted(sample["metric"].values())): float(sample["value"][1])
            for sample in result
        }

    codes = shown("Requests: {{transport}} {{code}} {{blame}}")
    assert set(codes) == {"200 none rest", "422 caller rest", "OK grpc none"}
    images = shown("Images: {{outcome}}")
    assert images["answered"] > images["undecodable-image"] > 0
    frames = shown("Frames: {{mode}} {{outcome}}")
    assert frames["answered ordered"] == pytest.approx(2 * frames["failed ordered"])
    [dropped] = shown("Dropped for newer ones: {{pod}}").values()
    replaced, answered = frames["latest replaced"], frames["answered latest"]
    assert 0 < dropped == pytest.approx(replaced / (replaced + answered))
    assert 0 < shown("Fill: {{stage}}")["pose"] <= 1
    busy = shown("Busy: {{pod}} {{pool}}")
    assert 0 < busy[f"device {POD}"] <= 1


@needs_promtool
def test_throttling_is_read_from_the_kubelets_series(tmp_path: Path) -> None:
    labels = f'namespace="{NAMESPACE}",pod="{POD}",job="kubelet",metrics_path="/metrics/cadvisor"'
    series = {
        f'container_cpu_cfs_periods_total{{{labels},container="distilpose"}}': "0+600x20",
        f'container_cpu_cfs_throttled_periods_total{{{labels},container="distilpose"}}': "0+150x20",
        # The pod's own control group, which has no container.
        f"container_cpu_cfs_periods_total{{{labels}}}": "0+600x20",
        f"container_cpu_cfs_throttled_periods_total{{{labels}}}": "0+600x20",
    }
    [expr] = [expr for name, expr in of_dashboard().items() if "CPU throttled" in name]
    expected = {
        "expr": expr.replace("[1m]", "[5m]"),  # its samples are a minute apart
        "eval_time": "10m",
        "exp_samples": [{"labels": f'{{pod="{POD}"}}', "value": 0.25}],
    }
    check_over(series, tmp_path, promql_expr_test=[expected])


def test_every_query_is_asked_somewhere() -> None:
    elsewhere = set(ALL) - set(OURS)
    assert {name.partition(" ")[2].partition(":")[0] or name for name in elsewhere} == {
        "CPU throttled",
        "DistilposeNoReadyReplica",
        "DistilposeRestarts",
    }
