"""The guard that keeps the suite on this machine, which the fixtures in conftest.py put up."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from loopback import Forbidden, is_own
from ports import free_port

ELSEWHERE = "192.0.2.1"  # of the block for documentation: no machine has it


@pytest.mark.parametrize("host", [None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", b"::"])  # noqa: S104 - compared
def test_this_machine_is_known(host: object) -> None:
    assert is_own(host)


@pytest.mark.parametrize("host", [ELSEWHERE, "pypi.org", "2001:db8::1", b"192.0.2.1"])
def test_others_are_known(host: object) -> None:
    assert not is_own(host)


def test_this_process_cannot_reach_another_machine(forbidden_calls: Path) -> None:
    with socket.socket() as caller:
        with pytest.raises(Forbidden):
            caller.connect((ELSEWHERE, 80))
        with pytest.raises(ConnectionRefusedError):
            caller.connect(("127.0.0.1", free_port()))
    with pytest.raises(Forbidden):
        socket.getaddrinfo("example.org", 443)
    assert len(forbidden_calls.read_text().splitlines()) == 2
    forbidden_calls.write_text("")


def test_a_process_that_a_test_starts_cannot_reach_another_machine(forbidden_calls: Path) -> None:
    program = f"import urllib.request; urllib.request.urlopen('http://{ELSEWHERE}/', timeout=1)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "tests talk to this machine only" in done.stderr
    assert ELSEWHERE in forbidden_calls.read_text()
    forbidden_calls.write_text("")
