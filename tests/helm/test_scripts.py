"""The chart's two small programs, run the way their pods run them."""

import hashlib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import servers
from charts import SCENARIOS, Rendered, render
from photos import photo
from stub_service import StubService, answer_with


def run(container: Any, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The container's program, run in this environment with these arguments."""
    assert container["command"] == ["python", "-c"]
    command = [sys.executable, "-c", container["args"][0], *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def smoke(url: str, secrets: Path) -> "subprocess.CompletedProcess[str]":
    return run(render().objects["tests/smoke.yaml"]["spec"]["containers"][0], url, str(secrets))


def fetch(url: str, target: Path, sha256: str) -> "subprocess.CompletedProcess[str]":
    (container,) = render(SCENARIOS["everything"]).pod()["initContainers"]
    return run(container, url, str(target), sha256)


def with_keys(folder: Path, text: str) -> Path:
    (folder / "keys").mkdir()
    (folder / "keys" / "api-keys").write_text(text)
    return folder


def smoke_arguments(made: Rendered) -> list[str]:
    arguments: list[str] = made.objects["tests/smoke.yaml"]["spec"]["containers"][0]["args"]
    return arguments[1:]


def test_the_smoke_test_is_one_of_helms() -> None:
    pod = render().objects["tests/smoke.yaml"]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["restartPolicy"] == "Never"


def test_the_smoke_test_asks_the_service() -> None:
    assert smoke_arguments(render()) == ["http://distilpose:8000/v1/pose", "/etc/distilpose"]
    made = render(SCENARIOS["everything"])
    assert smoke_arguments(made)[0] == "https://pose-everything:8080/v1/pose"


def test_the_smoke_test_posts_a_photo_of_people(tmp_path: Path) -> None:
    with StubService(answer_with(17, 17)) as service:
        ended = smoke(service.url, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "people: 2, keypoints of each: [17, 17]\n"
    assert service.requests[0].body == photo("bus.jpg")
    assert service.requests[0].headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize("body", [answer_with(), answer_with(17, 16)])
def test_the_smoke_test_fails_without_17_keypoints(body: bytes, tmp_path: Path) -> None:
    with StubService(body) as service:
        ended = smoke(service.url, tmp_path)
    assert ended.returncode == 1
    assert "expected people with 17 keypoints each" in ended.stderr


def test_the_smoke_test_tells_the_services_answer_when_it_refuses(tmp_path: Path) -> None:
    with StubService(b"no key", status=401) as service:
        ended = smoke(service.url, tmp_path)
    assert ended.returncode == 1
    assert "401 no key" in ended.stderr


def test_the_smoke_test_shows_the_first_plain_key(tmp_path: Path) -> None:
    secrets = with_keys(tmp_path, "# keys\nSHA256:abc\n\nplain\nother\n")
    with StubService() as service:
        assert smoke(service.url, secrets).returncode == 0
    assert service.requests[0].headers["x-api-key"] == "plain"


def test_the_smoke_test_says_that_it_needs_a_plain_key(tmp_path: Path) -> None:
    with StubService() as service:
        ended = smoke(service.url, with_keys(tmp_path, "sha256:abc\n"))
    assert "needs a plain one" in ended.stderr
    assert service.requests == []


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_service(authority: trustme.CA) -> Iterator[StubService]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("pose.example.com").configure_cert(context)
    with StubService(context=context) as service:
        yield service


def test_the_smoke_test_trusts_the_secrets_authority_and_no_other(
    tls_service: StubService, authority: trustme.CA, tmp_path: Path
) -> None:
    (tmp_path / "tls").mkdir()
    authority.cert_pem.write_to_path(tmp_path / "tls" / "ca.crt")
    assert smoke(tls_service.url, tmp_path).returncode == 0
    trustme.CA().cert_pem.write_to_path(tmp_path / "tls" / "ca.crt")
    script = render().objects["tests/smoke.yaml"]["spec"]["containers"][0]
    script = {**script, "args": [script["args"][0].replace("ATTEMPTS = 10", "ATTEMPTS = 1")]}
    ended = run(script, tls_service.url, str(tmp_path))
    assert "CERTIFICATE_VERIFY_FAILED" in ended.stderr


@pytest.mark.slow
def test_the_smoke_test_passes_on_the_real_service(tmp_path: Path) -> None:
    server, log = servers.start(tmp_path, 0, {"SECURITY__API_KEYS": '["plain"]'})
    with log:
        try:
            server.wait_until_ready()
            ended = smoke(f"{server.url}/v1/pose", with_keys(tmp_path, "plain\n"))
        finally:
            server.stop()
    assert ended.stdout == f"people: 4, keypoints of each: {[17] * 4}\n", ended.stderr


def test_weights_are_fetched(tmp_path: Path) -> None:
    target = tmp_path / "w.safetensors"
    with StubService(b"weights") as service:
        ended = fetch(service.url, target, hashlib.sha256(b"weights").hexdigest())
    assert ended.returncode == 0, ended.stderr
    assert target.read_bytes() == b"weights"
    assert list(tmp_path.iterdir()) == [target]


def test_other_weights_than_those_wanted_are_not_kept(tmp_path: Path) -> None:
    with StubService(b"other weights") as service:
        ended = fetch(service.url, tmp_path / "w", 64 * "0")
    assert ended.returncode == 1
    assert f"expected {64 * '0'}" in ended.stderr
    assert list(tmp_path.iterdir()) == []
