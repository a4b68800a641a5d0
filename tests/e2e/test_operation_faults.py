"""Faults, restarts and callers who leave, with real processes."""

import itertools
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from photos import photo
from servers import QUICK_START, Server
from soaking import samples

BUS = photo("bus.jpg")
JPEG = {"content-type": "image/jpeg"}
FIRST = Path(__file__).parent / "first"


def last_entry(server: Server) -> dict[str, Any]:
    """The last line of a server's log."""
    entry: dict[str, Any] = json.loads(server.log.read_text().splitlines()[-1])
    return entry


def wait_for(condition: Callable[[], bool], seconds: float) -> float:
    """Seconds until it held."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.01)
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("ready_seconds", "exit_seconds"),
    [(60.0, 60.0), pytest.param(2.0, 10.0, marks=pytest.mark.soak)],
    ids=["order", "times"],
)
def test_a_lost_device_is_not_ready_and_ends_the_process(
    start_server: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ready_seconds: float,
    exit_seconds: float,
) -> None:
    fault = tmp_path / "fault"
    monkeypatch.setenv("TEST_RUN_FIRST", str(FIRST / "break_device.py"))
    monkeypatch.setenv("TEST_BREAK_DEVICE", str(fault))
    server: Server = start_server(**QUICK_START)
    with server.client() as client, server.client() as probe:
        assert client.post("/v1/pose", content=BUS, headers=JPEG).status_code == 200
        fault.touch()
        began = time.monotonic()
        answer = client.post("/v1/pose", content=BUS, headers=JPEG)
        assert answer.status_code == 500
        assert "assert triggered" not in answer.text
        states = [probe.get(path).status_code for path in ("/readyz", "/healthz")]
        assert states == [503, 503]
        assert time.monotonic() - began < ready_seconds
    assert server.process.wait(exit_seconds) == 1
    assert last_entry(server)["message"] == "the service ended: the device no longer computes"


def test_a_failed_warm_up_ends_the_process_and_probes_are_answered_until_then(
    start_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = tmp_path / "failing"
    monkeypatch.setenv("TEST_RUN_FIRST", str(FIRST / "fail_warm_up.py"))
    monkeypatch.setenv("TEST_FAIL_WARM_UP", str(failing))
    server: Server = start_server(wait=False, **QUICK_START)
    with server.client() as client:

        def warming() -> bool:
            try:
                answer = client.get("/readyz")
            except httpx.TransportError:
                assert server.process.poll() is None
                return False
            assert answer.status_code == 503
            assert client.get("/v2/health/ready").status_code == 503
            assert client.get("/healthz").status_code == 200
            return bool(answer.json() == {"state": "warming"})

        wait_for(warming, 120)
        refused = client.post("/v1/pose", content=BUS, headers=JPEG)
        assert (refused.status_code, refused.json()["type"]) == (503, "not-ready")
        assert int(refused.headers["retry-after"]) >= 1
        failing.touch()
    assert server.process.wait(60) == 1
    assert last_entry(server)["message"] == "the service ended: no kernel image is available"


def test_work_of_a_caller_who_closes_its_socket_is_withdrawn(tuned: Server) -> None:
    [host, port] = tuned.url.removeprefix("http://").split(":")
    boundary = b"--b\r\n"
    part = b'Content-Disposition: form-data; name="images"; filename="x"\r\n\r\n' + BUS + b"\r\n"
    body = (boundary + part) * 24 + b"--b--\r\n"
    head = (
        f"POST /v1/pose HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    ).encode()
    left = 'requests_total{blame="caller",code="499",method="estimate_pose",transport="rest"}'
    dropped = 'dropped_items_total{reason="cancelled",stage="detect"}'
    with tuned.client() as client:

        def value(series: str) -> float:
            return samples(tuned).get(series, 0)

        left_before, dropped_before = value(left), value(dropped)
        with socket.create_connection((host, int(port))) as caller:
            caller.sendall(head + body)
            wait_for(lambda: value('queue_items{stage="detect"}') > 2, 60)
        wait_for(lambda: value(left) == left_before + 1, 60)
        assert value(dropped) > dropped_before
        assert value('queue_items{stage="detect"}') == 0
        assert value('requests_in_flight{transport="rest"}') == 1  # this scrape
        assert client.post("/v1/pose", content=BUS, headers=JPEG).status_code == 200


class Caller:
    """Asks whichever server says that it is ready, one request after the other."""

    def __init__(self, urls: list[str]) -> None:
        self.urls = urls
        self.answered: list[int] = []
        self.failures: list[str] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Caller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        for url in self._in_turn():
            try:
                if httpx.get(f"{url}/readyz", timeout=60).status_code != 200:
                    continue
            except httpx.TransportError:
                continue
            try:
                answer = httpx.post(f"{url}/v1/pose", content=BUS, headers=JPEG, timeout=60)
                self.answered.append(answer.status_code)
            except httpx.TransportError as err:
                self.failures.append(repr(err))

    def _in_turn(self) -> Iterator[str]:
        for number in itertools.count():
            if self._ending.is_set():
                return
            urls = list(self.urls)
            yield urls[number % len(urls)]


@pytest.mark.slow
def test_a_rolling_restart_fails_no_call(start_server: Any) -> None:
    settings = {"LIFE__DRAIN_DELAY_SECONDS": "3"}
    old: list[Server] = [start_server(**settings), start_server(**settings)]
    with Caller([server.url for server in old]) as caller:
        for index, server in enumerate(old):
            server.process.send_signal(signal.SIGTERM)
            new = start_server(**settings)
            caller.urls[index] = new.url
            assert server.process.wait(60) == 0
            asked = len(caller.answered)
            wait_for(lambda asked=asked: len(caller.answered) > asked + 2, 120)  # type: ignore[misc]  # mypy cannot infer it
    assert caller.failures == []
    assert set(caller.answered) == {200}
