"""Memory stays below the container's limit whatever callers send, and polite ones are answered.

Real containers are not at hand everywhere. The server is shown the limit of one, from which it
takes its budget as in a container, and its peak is measured.
"""

import asyncio
import io
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # no py.typed there
import pytest
from PIL import Image

import hungry_callers
from photos import photo
from polite_callers import ONE_PERSON, PoliteCaller
from servers import Server
from soaking import (
    FAST,
    address,
    ask,
    assert_no_harm,
    forget_peak,
    peak_mib,
    samples,
    start_callers,
    variants,
    wait_until_idle,
)

SECONDS = 75
POLITE_CALLERS = 10
DEADLINE_SECONDS = 10.0
HUNGRY_KEY = "hungry"
PAGE_BYTES = 4096
SOCKETS = Path("/proc/net/sockstat")
FIRST = Path(__file__).parent / "first"

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak"),
]


def start_hungry_callers(server: Server) -> "subprocess.Popen[str]":
    """Start them; they have made their files when this returns."""
    host, port = address(server)
    arguments = [host, port, server.grpc_target, HUNGRY_KEY, SECONDS]
    return start_callers(hungry_callers.__file__, *arguments)


def sockets_mib() -> float:
    """The memory of all TCP sockets of this machine, those of the callers included."""
    [line] = [line for line in SOCKETS.read_text().splitlines() if line.startswith("TCP:")]
    return int(line.split()[-1]) * PAGE_BYTES / 2**20


async def most_sockets_mib(ends_at: float) -> float:
    most = 0.0
    while time.monotonic() < ends_at:
        most = max(most, sockets_mib())
        await asyncio.sleep(0.2)
    return most


@pytest.mark.parametrize("limit_gib", [4, 8])
async def test_memory_stays_below_the_containers_limit_and_polite_callers_are_answered(
    start_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit_gib: int
) -> None:
    (tmp_path / "memory.max").write_text(str(limit_gib * 2**30))
    monkeypatch.setenv("TEST_CGROUP", str(tmp_path))
    monkeypatch.setenv("TEST_RUN_FIRST", str(FIRST / "present_a_limit.py"))
    keys = [f"polite-{number}" for number in range(POLITE_CALLERS)]
    server: Server = start_server(**FAST, SECURITY__API_KEYS=json.dumps([HUNGRY_KEY, *keys]))
    authorization = f"Bearer {HUNGRY_KEY}"
    budget_mib = samples(server, authorization=authorization)["memory_limit_bytes"] / 2**20
    photos = variants(Image.open(io.BytesIO(photo("bus.jpg"))), 8, longest_px=600)
    solo = [await ask(server, each, ONE_PERSON, x_api_key=keys[0]) for each in photos]
    polite = [PoliteCaller(server, photos, solo, key=key) for key in keys]
    forget_peak(server)
    with await asyncio.to_thread(start_hungry_callers, server) as hungry:
        try:
            ends_at = time.monotonic() + SECONDS
            sockets = asyncio.create_task(most_sockets_mib(ends_at))
            await asyncio.gather(*(each.ask_until(ends_at) for each in polite))
            output, _ = await asyncio.to_thread(hungry.communicate)
        finally:
            hungry.kill()
    done = json.loads(output)
    children = psutil.Process(server.process.pid).children(recursive=True)
    most_mib = peak_mib(server) + sum(each.memory_info().rss / 2**20 for each in children)
    seconds = sorted(second for each in polite for second in each.seconds)
    print(  # noqa: T201 - figures for whoever runs it
        f"{limit_gib} GiB: budget {budget_mib:.0f} MiB, peak {most_mib:.0f} MiB and sockets "
        f"{await sockets:.0f} MiB; {len(seconds)} polite answers, p50 "
        f"{seconds[len(seconds) // 2]:.2f} s, longest {seconds[-1]:.2f} s, refused "
        f"{sum(each.refusals for each in polite)} times; {done}"
    )
    assert set(done) == {kind.__name__ for kind in hungry_callers.KINDS}
    assert most_mib + await sockets < limit_gib * 1024
    assert seconds[-1] <= DEADLINE_SECONDS
    wait_until_idle(server, authorization=authorization)
    assert_no_harm(server)
