"""Operating the service: health, metrics, keys, start and stop."""

import json
import re
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from photos import photo
from servers import API_KEY, QUICK_START, Server

BUS = photo("bus.jpg")
JPEG = {"content-type": "image/jpeg"}


def test_health_and_readiness(client: httpx.Client) -> None:
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json() == {"state": "ready"}


def test_the_model_is_described(client: httpx.Client) -> None:
    [model] = client.get("/v1/models").json()["models"]
    assert model["name"] == "distilpose-n"
    assert model["calibrated"] is True
    assert re.fullmatch("[0-9a-f]{64}", model["sha256"])
    assert model["input_size"] == [256, 192]
    assert model["engine"] in {"openvino", "torch"}
    assert model["keypoints"][0] == "nose"


def test_request_ids_are_echoed_or_made(client: httpx.Client) -> None:
    given = client.get("/healthz", headers={"x-request-id": "abc-123"})
    assert given.headers["x-request-id"] == "abc-123"
    made = client.get("/healthz", headers={"x-request-id": "has space"})
    assert re.fullmatch("[0-9a-f]{32}", made.headers["x-request-id"])


def test_metrics_count_requests_images_and_stages(client: httpx.Client) -> None:
    def value(text: str, series: str) -> float:
        [line] = [line for line in text.splitlines() if line.startswith(series + " ")]
        return float(line.rpartition(" ")[2])

    series = [
        'distilpose_requests_total{blame="none",code="200",method="estimate_pose",transport="rest"}',
        'distilpose_images_total{outcome="answered"}',
        'distilpose_stage_duration_seconds_count{stage="decode"}',
        'distilpose_stage_duration_seconds_count{stage="detect"}',
        'distilpose_stage_duration_seconds_count{stage="pose"}',
        'distilpose_queue_wait_seconds_count{stage="pose"}',
        'distilpose_batch_items_count{stage="detect"}',
    ]
    before = client.get("/metrics").text
    assert client.post("/v1/pose", content=BUS, headers=JPEG).status_code == 200
    after = client.get("/metrics").text
    assert [value(after, s) - value(before, s) for s in series] == [1] * len(series)
    assert value(after, "distilpose_ready") == 1
    assert value(after, 'distilpose_queue_items{stage="pose"}') == 0
    assert 'distilpose_dropped_items_total{reason="overloaded",stage="detect"} 0.0' in after


def test_the_api_page_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs").text
    assert not re.search(r"""(src|href)=["']https?://""", page)
    assets = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert assets
    for asset in assets:
        assert client.get(asset).status_code == 200, asset
    assert 'href="docs"' in client.get("/").text


def test_the_openapi_document_describes_bodies_options_and_errors(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    route = document["paths"]["/v1/pose"]["post"]
    assert {"image/jpeg", "multipart/form-data", "application/json"} <= set(
        route["requestBody"]["content"]
    )
    assert {p["name"] for p in route["parameters"]} >= {"boxes", "flip_test", "format"}
    assert {"200", "400", "413", "415", "422", "429", "503", "504"} <= set(route["responses"])
    references = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert references
    assert references <= set(document["components"]["schemas"])
    example = route["responses"]["200"]["content"]["application/json"]["example"]
    assert len(example["images"][0]["poses"][0]["keypoints"]) == 17


def test_keys_guard_the_api_and_the_metrics(guarded: Server) -> None:
    with guarded.client() as client:
        refused = client.post("/v1/pose", content=BUS, headers=JPEG)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json()["type"] == "unauthenticated"
        assert client.get("/v1/models").status_code == 401
        assert client.get("/metrics").status_code == 401
        for free in ("/healthz", "/readyz", "/docs", "/openapi.json"):
            assert client.get(free).status_code == 200
        key = {"x-api-key": API_KEY}
        assert client.get("/v1/models", headers=key).status_code == 200
        bearer = {"authorization": f"Bearer {API_KEY}", **JPEG}
        assert client.post("/v1/pose", content=BUS, headers=bearer).status_code == 200
    assert API_KEY not in guarded.log.read_text()


def test_a_full_queue_refuses_with_a_time_to_come_back(start_server: Any) -> None:
    server = start_server(BATCHING__QUEUE_CAPACITY="1", **QUICK_START)
    answers: list[httpx.Response] = []

    def call() -> None:
        with server.client() as own:
            answers.append(own.post("/v1/pose", content=BUS, headers=JPEG))

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    statuses = sorted(answer.status_code for answer in answers)
    assert set(statuses) == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["type"] == "overloaded"
    assert int(refused.headers["retry-after"]) >= 1


def test_a_deadline_that_passes_is_504(start_server: Any) -> None:
    server = start_server(LIMITS__REQUEST_TIMEOUT_SECONDS="0.001", **QUICK_START)
    with server.client() as client:
        answer = client.post("/v1/pose", content=BUS, headers=JPEG)
        assert answer.status_code == 504
        assert answer.json()["type"] == "deadline-exceeded"


@dataclass
class Started:
    """A server that is ready, and the answers from before."""

    server: Server
    probes: list[tuple[int, int]]
    """Statuses of readiness and health, of each time that both were asked."""


@pytest.fixture(scope="module")
def started(start_server: Any) -> Started:
    server: Server = start_server(wait=False, HTTP__HOST="0.0.0.0")  # noqa: S104 - as in a container
    probes: list[tuple[int, int]] = []
    with server.client() as client:
        while not probes or probes[-1] != (200, 200):
            try:
                ready, alive = client.get("/readyz"), client.get("/healthz")
                probes.append((ready.status_code, alive.status_code))
            except httpx.TransportError:
                assert server.process.poll() is None
            time.sleep(0.01)
    return Started(server, probes)


def test_probes_get_answers_while_the_models_load(started: Started) -> None:
    assert started.probes[0] == (503, 200)


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
def test_rest_and_grpc_answer_on_ipv4_and_ipv6(started: Started, address: str) -> None:
    url = f"http://{address}:{started.server.url.rpartition(':')[2]}"
    assert httpx.get(f"{url}/healthz").status_code == 200
    target = f"{address}:{started.server.grpc_target.rpartition(':')[2]}"
    with grpc.insecure_channel(target) as channel:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)


def test_the_start_message_names_what_answers_and_warns_of_strangers(started: Started) -> None:
    url = started.server.url
    assert started.server.log.read_text().splitlines()[0] == (
        f"distilpose on {url} (API: {url}/docs), gRPC on {started.server.grpc_target}; "
        "open to the network without a key (security.api_keys)"
    )


def test_the_start_message_does_not_warn_where_only_this_machine_gets_in(server: Any) -> None:
    assert "open to the network" not in server.log.read_text()


def test_sigterm_finishes_accepted_work_and_exits_0(started: Started) -> None:
    server = started.server
    answers: list[int] = []

    def call() -> None:
        with server.client() as own:
            answers.append(own.post("/v1/pose", content=BUS, headers=JPEG).status_code)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    in_flight = 'distilpose_requests_in_flight{transport="rest"} '
    with server.client() as client:
        # The scrape itself is one of those in flight.
        while in_flight + "5.0" not in client.get("/metrics").text and not answers:
            time.sleep(0.005)
    assert server.stop() == 0
    for caller in callers:
        caller.join()
    assert answers == [200] * 4


def test_draining_is_not_ready_at_once_and_still_answers(start_server: Any) -> None:
    server = start_server(LIFE__DRAIN_DELAY_SECONDS="3", **QUICK_START)
    with server.client() as client:
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 2
        while client.get("/readyz").status_code == 200:
            assert time.monotonic() < deadline
        assert client.post("/v1/pose", content=BUS, headers=JPEG).status_code == 200
    assert server.process.wait(60) == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_at_once(start_server: Any, number: signal.Signals, code: int) -> None:
    server = start_server(LIFE__DRAIN_DELAY_SECONDS="60", **QUICK_START)
    server.process.send_signal(number)
    while "draining" not in server.log.read_text():
        time.sleep(0.01)
    server.process.send_signal(number)
    assert server.process.wait(5) == code


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"MODEL__WEIGHTS": "/nowhere/x.safetensors"}, "/nowhere/x.safetensors: no such file"),
        ({"MODEL__WEIGHTS_SHA256": "0" * 64}, "sha256"),
        ({"MODEL__DEVICE": "cuda"}, "not available"),
        ({"HTTP__PROT": "1"}, "did you mean DISTILPOSE_HTTP__PORT"),
        ({"SECURITY__TLS_CERT": "/x.pem"}, "tls_cert and tls_key go together"),
        ({"SECURITY__API_KEYS": "no key"}, "security.api_keys: entry 1: must be"),
    ],
)
def test_a_start_that_cannot_succeed_ends_with_1_and_the_reason(
    start_server: Any, settings: dict[str, str], words: str
) -> None:
    server = start_server(wait=False, **settings)
    assert server.process.wait(60) == 1
    assert words in server.log.read_text()


@pytest.mark.parametrize("setting", ["HTTP__PORT", "GRPC__PORT", "TELEMETRY__METRICS_PORT"])
def test_a_taken_port_ends_the_start_before_anything_is_loaded(
    start_server: Any, server: Any, setting: str
) -> None:
    port = server.url.rpartition(":")[2]
    refused = start_server(wait=False, MODEL__WEIGHTS="/not/even/read", **{setting: port})
    assert refused.process.wait(60) == 1
    name = setting.lower().replace("__", ".")
    assert refused.log.read_text().splitlines()[-1] == (
        f"Error: {name}: cannot listen on 127.0.0.1:{port}: Address already in use"
    )


def test_sigterm_while_the_libraries_are_loading_ends_the_process(start_server: Any) -> None:
    # Process 1 of a container ignores a signal that it does not handle itself.
    starting = start_server(wait=False).process
    status = Path(f"/proc/{starting.pid}/status")
    handled = 0
    while not handled & 1 << signal.SIGTERM - 1:
        [line] = [line for line in status.read_text().splitlines() if "SigCgt" in line]
        handled = int(line.split()[1], 16)
    maps = Path(f"/proc/{starting.pid}/maps").read_text()
    assert "libtorch" not in maps
    starting.terminate()
    assert starting.wait(5) == 0


def test_logs_are_json_with_request_ids(server: Any) -> None:
    with server.client(headers={"x-request-id": "find-me"}) as client:
        client.post("/v1/pose", content=b"hello", headers=JPEG)
    entry = json.loads(server.log_line("find-me"))
    assert entry["request_id"] == "find-me"
    assert entry["error_type"] == "undecodable-image"
    assert entry["status"] == 422
