"""The rendered pod, run by `podman kube play` with the image that `make image` builds."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from charts import SCENARIOS, render

ENGINE = os.environ.get("CONTAINER_ENGINE", "docker")
IMAGE = os.environ.get("IMAGE", "distilpose:cpu")
START_SECONDS = 180
NAME = "played-chart"
CONTAINER = f"{NAME}-pod-0-distilpose"

pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(
        not ENGINE.endswith("podman"), reason="only podman plays Kubernetes objects"
    ),
]

PLAYED = render(
    SCENARIOS["cpu"],
    f"fullnameOverride={NAME}",
    f"image={{repository: localhost/{IMAGE.split(':')[0]}, tag: '{IMAGE.split(':')[1]}'}}",
    "image.pullPolicy=Never",
    "topologySpreadConstraints=[]",
)


def podman(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([ENGINE, *arguments], check=check, capture_output=True, text=True)


def ready() -> bool:
    ask = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9090/readyz')"
    return podman("exec", CONTAINER, "python", "-c", ask, check=False).returncode == 0


@pytest.fixture(scope="module", autouse=True)
def _played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The ConfigMap and the Deployment, played and ready."""
    path = tmp_path_factory.mktemp("play") / "objects.yaml"
    objects = [PLAYED.objects["configmap.yaml"], PLAYED.objects["deployment.yaml"]]
    path.write_text(yaml.safe_dump_all(objects))
    podman("kube", "play", str(path))
    try:
        limit = time.monotonic() + START_SECONDS
        while not ready():
            assert time.monotonic() < limit, podman("logs", CONTAINER).stderr
            time.sleep(1)
        yield
    finally:
        podman("kube", "play", "--down", str(path))


def test_helms_test_passes_in_the_played_pod() -> None:
    (container,) = PLAYED.objects["tests/smoke.yaml"]["spec"]["containers"]
    script, _, secrets = container["args"]
    url = "http://127.0.0.1:8000/v1/pose"
    asked = podman("exec", CONTAINER, *container["command"], script, url, secrets, check=False)
    assert asked.stdout.startswith("people: 4, keypoints of each: [17"), asked.stderr


def test_the_played_pod_is_as_locked_down_as_the_chart_says() -> None:
    assert podman("exec", CONTAINER, "id", "-u").stdout.strip() == "10001"
    for path, writable in (("/", False), ("/etc/distilpose/config", False), ("/tmp", True)):  # noqa: S108 - of the container
        touched = podman("exec", CONTAINER, "touch", str(Path(path) / "x"), check=False)
        assert (touched.returncode == 0) is writable


def test_the_played_pod_reads_the_config_map() -> None:
    shown = podman("exec", CONTAINER, "cat", "/etc/distilpose/config/config.yaml").stdout
    assert yaml.safe_load(shown) == PLAYED.settings()
