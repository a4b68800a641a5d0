"""Real servers, started as a user starts them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from ports import free_port

START_SECONDS = 120
API_KEY = "open-sesame"
ROOT_PATH = "/pose-api"
SAME_EVERYWHERE = {"MODEL__DTYPE": "float32"}
"""Settings for answers that do not depend on the CPU: the fourth person of bus.jpg has a box score
of 0.26, so that in bfloat16 some CPUs find it and some do not."""
QUICK_START = {
    "MODEL__ENGINE": "torch",
    "BATCHING__POSE_MAX_BATCH": "1",
    "BATCHING__DECODE_THREADS": "1",
}
"""Settings that halve a start: for tests that end their server, or ask little of its answers.

Torch has no graphs to compile, and with one thread none that waits for another on a busy machine.
"""


@dataclass
class Server:
    """A running `distilpose serve`."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path
    grpc_target: str

    def client(self, **options: object) -> httpx.Client:
        """A client of this server."""
        return httpx.Client(base_url=self.url, timeout=60, **options)  # type: ignore[arg-type]

    def wait_until_ready(self, url: str = "") -> None:
        """Return when `/readyz` answers OK; fail if the process ends or the time is over."""
        limit = time.monotonic() + START_SECONDS
        with httpx.Client(base_url=url or self.url, timeout=60) as client:
            while time.monotonic() < limit:
                assert self.process.poll() is None, self.log.read_text()
                try:
                    if client.get("/readyz").status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.1)
        raise AssertionError(f"not ready after {START_SECONDS} s:\n{self.log.read_text()}")

    def log_line(self, words: str) -> str:
        """The one line of the log with these words, which may come a moment after the answer."""
        limit = time.monotonic() + 10
        while True:
            found = [line for line in self.log.read_text().splitlines() if words in line]
            if found or time.monotonic() > limit:
                [line] = found
                return line
            time.sleep(0.02)

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.terminate()
        return self.process.wait(60)


def start(
    folder: Path,
    number: int,
    settings: dict[str, str],
    *,
    python: str = sys.executable,
    output: int | None = None,
) -> tuple[Server, IO[bytes]]:
    """A server in float32, with settings such as `HTTP__MAX_IMAGES`, and the stream of its log.

    `python` is the interpreter of the server's environment. `output` is a descriptor that gets
    what the server prints, in place of its log.
    """
    port, grpc_port = free_port(), free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DISTILPOSE_")}
    environment |= {"DISTILPOSE_HTTP__HOST": "127.0.0.1", "DISTILPOSE_HTTP__PORT": str(port)}
    environment |= {"DISTILPOSE_GRPC__PORT": str(grpc_port)}
    settings = SAME_EVERYWHERE | settings
    environment |= {f"DISTILPOSE_{name}": value for name, value in settings.items()}
    log = folder / f"server-{number}.log"
    stream = log.open("wb")
    process = subprocess.Popen(
        [python, "-m", "distilpose.cli", "serve"],
        env=environment,
        stdout=stream if output is None else output,
        stderr=subprocess.STDOUT,
        cwd=folder,
    )
    return Server(process, f"http://127.0.0.1:{port}", log, f"127.0.0.1:{grpc_port}"), stream


StartServer = Callable[..., Server]


@contextmanager
def running_servers(folder: Path) -> Iterator[StartServer]:
    """Starts servers with settings such as `HTTP__MAX_IMAGES="2"`; all end with the block."""
    started: list[tuple[Server, IO[bytes]]] = []

    def begin(*, wait: bool = True, output: int | None = None, **settings: str) -> Server:
        started.append(start(folder, len(started), settings, output=output))
        server = started[-1][0]
        if wait:
            server.wait_until_ready()
        return server

    try:
        yield begin
    finally:
        for server, stream in started:
            if server.process.poll() is None:
                server.process.kill()
            server.process.wait()
            stream.close()
