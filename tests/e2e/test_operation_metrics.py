"""Metrics, probes, deadlines and the speed of first requests, all of a real server."""

import re
import shutil
import subprocess
import time
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from photos import photo

BUS = photo("bus.jpg")
JPEG = {"content-type": "image/jpeg"}


def scrape(client: httpx.Client) -> str:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return answer.text


def test_a_scrape_is_what_prometheus_reads(client: httpx.Client) -> None:
    assert client.post("/v1/pose", content=BUS, headers=JPEG).status_code == 200
    text = scrape(client)
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    seen = set()
    for family in families:
        assert re.fullmatch("[a-z][a-z0-9_]*", family.name)
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in seen
            seen.add(key)
            if family.type == "counter" and family.name.startswith("distilpose_"):
                assert sample.name.endswith("_total")
    assert len(text.splitlines()) < 1500


@pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)"
)
def test_promtool_finds_nothing_to_say(client: httpx.Client) -> None:
    assert client.post("/v1/pose", content=BUS, headers=JPEG).status_code == 200
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=scrape(client),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_open_inference_protocols_probes_follow_health(client: httpx.Client) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}


def test_the_callers_deadline_comes_before_the_servers(client: httpx.Client) -> None:
    late = client.post("/v1/pose", content=BUS, headers={**JPEG, "x-request-timeout-ms": "1"})
    assert (late.status_code, late.json()["type"]) == (504, "deadline-exceeded")
    wrong = client.post("/v1/pose", content=BUS, headers={**JPEG, "x-request-timeout-ms": "soon"})
    assert (wrong.status_code, wrong.json()["type"]) == (400, "invalid-request")


@pytest.mark.soak
def test_stages_and_waits_make_up_one_image_requests(start_server: Any) -> None:
    with start_server().client() as client:
        for _ in range(30):
            assert client.post("/v1/pose", content=BUS, headers=JPEG).status_code == 200
        sums = {
            name: sum(
                sample.value
                for family in text_string_to_metric_families(scrape(client))
                for sample in family.samples
                if sample.name == f"distilpose_{name}_seconds_sum"
                and sample.labels.get("method", "estimate_pose") == "estimate_pose"
            )
            for name in ("stage_duration", "queue_wait", "request_duration")
        }
    parts = sums["stage_duration"] + sums["queue_wait"]
    assert parts == pytest.approx(sums["request_duration"], rel=0.05)


@pytest.mark.soak
def test_the_first_requests_are_no_slower_than_the_rest(start_server: Any) -> None:
    seconds = []
    with start_server().client() as client:
        for _ in range(120):
            began = time.perf_counter()
            assert client.post("/v1/pose", content=BUS, headers=JPEG).status_code == 200
            seconds.append(time.perf_counter() - began)
    assert max(seconds[:20]) <= 1.5 * max(seconds[20:])
