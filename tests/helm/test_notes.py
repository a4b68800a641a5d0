"""The notes shown after an installation."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from charts import SCENARIOS, render
from stub_service import StubService


def curl(*changes: Any) -> str:
    """The curl command in the notes."""
    (line,) = [x for x in render(*changes).notes.splitlines() if x.lstrip().startswith("curl")]
    return line.strip()


def test_the_curl_works(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8 a photo")
    with StubService() as service:
        line = curl(f"config.http.port={service.port}", "apiKeys.keys=[k]")
        answer = subprocess.run(
            shlex.split(line), cwd=tmp_path, check=True, capture_output=True, timeout=30
        ).stdout
    assert len(json.loads(answer)["images"][0]["poses"]) == 1
    (request,) = service.requests
    assert request.path == "/v1/pose"
    assert request.body == b"\xff\xd8 a photo"
    assert request.headers["content-type"] == "image/jpeg"
    assert request.headers["x-api-key"] == "KEY"


def test_the_curl_says_what_a_caller_needs() -> None:
    assert curl() == (
        "curl -s http://localhost:8000/v1/pose "
        "-H 'content-type: image/jpeg' --data-binary @photo.jpg"
    )
    line = curl(SCENARIOS["tls"])
    assert "-k --cert CERT.pem --key KEY.pem -H 'x-api-key: KEY' https://localhost:8000" in line


def test_a_single_replica_is_warned_of_its_gap() -> None:
    notes = render("preStopSeconds=7", "probes.startup.failureThreshold=60").notes
    assert "leaves a gap" in notes
    assert "42 s" in notes
    assert "within 300 s" in notes


@pytest.mark.parametrize(
    "change", ["replicaCount=2", {"autoscaling": SCENARIOS["gke"]["autoscaling"]}]
)
def test_two_replicas_are_said_to_lose_nothing(change: Any) -> None:
    notes = render(change).notes
    assert "one pod at a time and lose no requests" in notes
    assert "gap" not in notes


@pytest.mark.parametrize("surge", ["1", "25%"])
def test_a_surge_needs_a_device_to_spare(surge: str) -> None:
    notes = render(f"rollout.maxSurge={surge}").notes
    assert "must have a spare device" in notes
    assert "gap" not in notes


def test_commands_name_release_and_namespace() -> None:
    notes = render(release="blue").notes
    assert "kubectl -n vision rollout status deployment/blue-distilpose" in notes
    assert "kubectl -n vision port-forward service/blue-distilpose 8000" in notes
    assert "helm -n vision test blue" in notes
    assert "dns:///blue-distilpose-headless.vision:9000" in notes


def test_nothing_is_said_of_what_is_not_there() -> None:
    assert "gRPC" not in render("config.grpc.port=0").notes
    assert "is not available" in render(SCENARIOS["tls"]).notes
