"""The event loop is never late for long, by the wall clock, whatever body of allowed size comes."""

import json
import math
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from hostile_bodies import BODIES, CHUNKS_OF_A_BYTE, MESSAGES
from servers import Server
from soaking import address, assert_no_harm, forget_peak, peak_mib, rss_mib
from watched_loops import start_watched

SECONDS = 4
"""Of each kind."""
LATE_MS = 20
"""Of the latest of a thousand ticks."""
LATEST_MS = 50
MOST_MEMORY_MIB = 150
"""For one body of 32 MiB after the other."""
METHOD = "/distilpose.v1.PoseService/EstimatePose"

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loop") / "ticks"


@pytest.fixture(scope="module")
def watched(start_server: Any, report: Path) -> Server:
    """A server whose loop reports how late it is."""
    return start_watched(start_server, "time_the_ticks.py", TEST_LOOP_TICKS=report)


def assert_in_time(server: Server, report: Path, name: str, ask: Callable[[], object]) -> None:
    """Ask for a while; the loop's ticks are late within the limits, and memory does not grow."""
    ask()
    forget_peak(server)
    before_mib = rss_mib(server)
    report.unlink(missing_ok=True)
    time.sleep(0.2)
    ends_at = time.monotonic() + SECONDS
    asked = 0
    while time.monotonic() < ends_at:
        ask()
        asked += 1
    time.sleep(0.2)
    ticks: list[int] = json.loads(report.read_text())
    grown_mib = peak_mib(server) - before_mib
    late_ms, latest_ms = quantile(ticks, 0.999), len(ticks) - 1
    print(  # noqa: T201 - the figures for whoever runs it
        f"{name}: asked {asked}, late {late_ms} ms of {sum(ticks)} ticks, latest {latest_ms} ms, "
        f"{grown_mib:.0f} MiB"
    )
    assert_no_harm(server)
    assert late_ms <= LATE_MS
    assert latest_ms <= LATEST_MS
    assert grown_mib <= MOST_MEMORY_MIB


def quantile(ticks: list[int], share: float) -> int:
    left = math.ceil(sum(ticks) * share)
    for late_ms, count in enumerate(ticks):
        left -= count
        if left <= 0:
            return late_ms
    raise AssertionError


@pytest.mark.parametrize("name", BODIES)
def test_a_body_keeps_the_loop_no_longer_than_20_ms(
    watched: Server, report: Path, name: str
) -> None:
    body = BODIES[name]()
    headers = {"content-type": body.media_type}
    with watched.client() as client:

        def ask() -> None:
            response: httpx.Response = client.post(
                "/v1/pose", content=body.content, headers=headers
            )
            assert response.status_code == body.status, response.text

        assert_in_time(watched, report, name, ask)


def test_chunks_of_a_byte_keep_the_loop_no_longer_than_20_ms(watched: Server, report: Path) -> None:
    head = "POST /v1/pose HTTP/1.1\r\nhost: test\r\ncontent-type: image/jpeg\r\n"
    head += "connection: close\r\ntransfer-encoding: chunked\r\n\r\n"

    def ask() -> None:
        with socket.create_connection(address(watched)) as connection:
            connection.sendall(head.encode() + CHUNKS_OF_A_BYTE)
            assert connection.recv(100).startswith(b"HTTP/1.1 422")

    assert_in_time(watched, report, "chunks of a byte", ask)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_keeps_the_loop_no_longer_than_20_ms(
    watched: Server, report: Path, name: str
) -> None:
    message = MESSAGES[name]()
    with grpc.insecure_channel(watched.grpc_target) as channel:
        call = channel.unary_unary(METHOD, bytes, bytes)

        def ask() -> None:
            with pytest.raises(grpc.RpcError) as refusal:
                call(message, timeout=60)
            assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT, refusal.value

        assert_in_time(watched, report, name, ask)
