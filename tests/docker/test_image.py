"""The built CPU image in a container engine: `make image` builds it and runs this.

CONTAINER_ENGINE (docker) and IMAGE (distilpose:cpu) select the engine and the image.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from photos import photo
from ports import free_port

pytestmark = pytest.mark.container

ENGINE = os.environ.get("CONTAINER_ENGINE", "docker")
IMAGE = os.environ.get("IMAGE", "distilpose:cpu")
START_SECONDS = 120
LOCKED_DOWN = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")


def engine(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run the container engine's command line."""
    return subprocess.run([ENGINE, *arguments], check=check, capture_output=True, text=True)


@dataclass
class Container:
    """A running image, its ports published on loopback."""

    name: str
    url: str
    grpc_target: str
    metrics_url: str

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return engine("exec", self.name, *command, check=False)

    def wait_until_ready(self) -> None:
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit:
            try:
                if httpx.get(f"{self.metrics_url}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.3)
        raise AssertionError(engine("logs", self.name).stderr)


StartContainer = Callable[..., Container]


@pytest.fixture(scope="module")
def start_container() -> Iterator[StartContainer]:
    """Start containers with environment variables, `NAME=value`; all end with the module."""
    names: list[str] = []

    def start(*environment: str) -> Container:
        rest, rpc, metrics = free_port(), free_port(), free_port()
        ports = {rest: 8000, rpc: 9000, metrics: 9090}
        options = [f"--publish=127.0.0.1:{host}:{inside}" for host, inside in ports.items()]
        options += [f"--env={variable}" for variable in environment]
        names.append(engine("run", "--detach", *LOCKED_DOWN, *options, IMAGE).stdout.strip())
        container = Container(
            names[-1],
            url=f"http://127.0.0.1:{rest}",
            grpc_target=f"127.0.0.1:{rpc}",
            metrics_url=f"http://127.0.0.1:{metrics}",
        )
        container.wait_until_ready()
        return container

    yield start
    engine("rm", "--force", *names)


@pytest.fixture(scope="module")
def container(start_container: StartContainer) -> Container:
    """A container with default settings, for all tests that change nothing."""
    return start_container()


def post(container: Container, **options: str) -> httpx.Response:
    headers = {"content-type": "image/jpeg"}
    url = f"{container.url}/v1/pose"
    return httpx.post(url, content=photo("bus.jpg"), headers=headers, params=options, timeout=60)


def test_it_finds_the_people_of_a_photo(container: Container) -> None:
    [image] = post(container).raise_for_status().json()["images"]
    assert len(image["poses"]) >= 3
    assert {len(pose["keypoints"]) for pose in image["poses"]} == {17}


def test_grpc_health_says_serving(container: Container) -> None:
    with grpc.insecure_channel(container.grpc_target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service="distilpose.v1.PoseService"))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_metrics_have_a_port_of_their_own(container: Container) -> None:
    assert "distilpose_ready 1.0" in httpx.get(f"{container.metrics_url}/metrics").text
    assert httpx.get(f"{container.url}/metrics").status_code == 404


def test_it_runs_as_nobody_in_particular_and_writes_to_tmp_alone(container: Container) -> None:
    assert container.run("id", "-u").stdout.strip() == "10001"
    assert container.run("sh", "-c", "touch /opt/distilpose/x /x").returncode != 0
    assert container.run("sh", "-c", "touch /tmp/x").returncode == 0


def test_process_1_reaps_and_forwards_signals(container: Container) -> None:
    assert container.run("cat", "/proc/1/comm").stdout.strip() == "tini"


def test_nothing_in_it_compiles(container: Container) -> None:
    for compiler in ("cc", "gcc", "clang"):
        assert container.run("sh", "-c", f"command -v {compiler}").returncode != 0


def test_its_health_check_passes(container: Container) -> None:
    [described] = json.loads(engine("image", "inspect", IMAGE).stdout)
    config = described.get("Config", {})
    check = (config.get("Healthcheck") or described["Healthcheck"])["Test"]
    assert check[0] == "CMD"
    assert container.run(*check[1:]).returncode == 0


def test_it_says_what_it_is(container: Container) -> None:
    [described] = json.loads(engine("image", "inspect", IMAGE).stdout)
    labels = described["Config"]["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0 AND AGPL-3.0-only"
    assert {"org.opencontainers.image.version", "org.opencontainers.image.revision"} <= set(labels)


def test_sigterm_under_load_ends_with_0_and_loses_nothing(
    start_container: StartContainer,
) -> None:
    container = start_container("DISTILPOSE_LIFE__DRAIN_DELAY_SECONDS=2")
    statuses: list[int] = []

    def call_while_ready() -> None:
        """Send requests like callers behind a load balancer, until the container is not ready."""
        while httpx.get(f"{container.metrics_url}/readyz").status_code == 200:
            statuses.append(post(container, whole_image="true").status_code)

    with ThreadPoolExecutor(8) as pool:
        callers = [pool.submit(call_while_ready) for _ in range(8)]
        time.sleep(3)
        engine("stop", "--time=60", container.name)
        for caller in callers:
            caller.result(60)
    code = engine("inspect", "--format={{.State.ExitCode}}", container.name).stdout.strip()
    assert code == "0"
    assert len(statuses) >= 16
    assert set(statuses) == {200}
