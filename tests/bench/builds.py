"""Crops and photos a second of our build beside another one, in alternating turns of one run.

    python tests/bench/builds.py --old PYTHON [--dtype float32] [--turns 5] [--seconds 3]

PYTHON is the interpreter of an environment that has the other build:

    git worktree add ../old COMMIT && python -m venv ../old/.venv
    ../old/.venv/bin/pip install -e '../old[openvino]'

Both run on this process's cores (`taskset -c 0,1 python ...` chooses them) in float32, or with
`--dtype auto` in the precision that each takes by itself. They take turns, in alternating order, so
that other load on the machine affects both. Only `distilpose serve` and `load_models` are used of
each. `times as fast` is the median of the ratios of the turns, with their minimum and maximum: if
these differ much, the machine was busy. Compare the build with itself (`--old` this interpreter) to
see the noise of a ratio.
"""

import argparse
import base64
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("", "support")]

import httpx
import numpy as np
import psutil  # type: ignore[import-untyped]  # ultralytics brings it, without types

import servers
from bench.contestants import Load, Served, Workload
from distilpose.model import crop, geometry
from distilpose.model.container import usable_cpus
from odd_images import read
from photos import BUS_BOXES_XYXY_PX, photo

Build = TypeVar("Build")

BATCHES = (1, 4, 8)
CALLERS = (4, 16)
_CHILD = Path(__file__).with_name("builds_child.py")
_STOP_SECONDS = 30


class Row(NamedTuple):
    """One figure of both builds, turn by turn."""

    what: str
    old: list[float]
    new: list[float]
    more_is_faster: bool = True

    @property
    def ratios(self) -> list[float]:
        """The speed of the new build relative to the old one, in each turn."""
        pairs = zip(self.old, self.new, strict=True)
        return [new / old if self.more_is_faster else old / new for old, new in pairs]


class Engine:
    """A build's student in a separate process."""

    def __init__(self, python: str, crops: Path, dtype: str) -> None:
        self._python = python
        self._process = subprocess.Popen(
            [python, str(_CHILD), str(crops), str(usable_cpus()), dtype],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=crops.parent,
        )
        self.about = self._reply()

    def crops_per_second(self, batch: int, seconds: float) -> float:
        """The throughput with batches of this size, measured for `seconds`."""
        assert self._process.stdin
        print(
            json.dumps({"batch": batch, "seconds": seconds}), file=self._process.stdin, flush=True
        )
        reply = self._reply()
        return float(reply["crops"] / reply["seconds"])

    def stop(self) -> None:
        """End the process."""
        self._process.communicate(timeout=_STOP_SECONDS)

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._python} ended with {self._process.wait()}")
        reply: dict[str, Any] = json.loads(line)
        return reply


class Server:
    """A build's service, suspended between turns, and the people it finds in the photo."""

    def __init__(self, name: str, served: Served, people: int) -> None:
        self.people = people
        self.unanswered: Counter[str] = Counter()
        self._served = served
        self._name = name

    def burst(self, callers: int, seconds: float) -> tuple[float, float]:
        """Photos per second, and the median latency in milliseconds."""
        load = Load(seconds=seconds, callers=callers)
        outcome = self._served.run(_workload(self.people), load)
        sent = outcome.sent
        self.unanswered.update(sent.failures | {"429": sent.refused})
        if not sent.latency_seconds:
            raise SystemExit(f"{self._name}: {callers} callers got no answer: {self.unanswered}")
        return outcome.items_per_second, statistics.median(sent.latency_seconds) * 1000


def _workload(people: int) -> Workload:
    image = {"content": base64.b64encode(photo("bus.jpg")).decode()}
    body = json.dumps({"images": [image]}).encode()
    return Workload(
        name="photos", unit="photos", items=1, people=people, json_body=body, message=b""
    )


def write_crops(folder: Path) -> Path:
    """A file of 8 crops: the people of bus.jpg and their mirror images."""
    boxes_xyxy_px = np.array(BUS_BOXES_XYXY_PX, np.float32)
    crops = crop.cut(read(photo("bus.jpg")), geometry.crop_regions(boxes_xyxy_px))
    path = folder / "crops.npy"
    np.save(path, np.concatenate([crops, crop.mirror(crops)]))
    return path


@contextmanager
def server_of(name: str, python: str, folder: Path, dtype: str) -> Iterator[Server]:
    """The service of this interpreter's build, on the CPU."""
    with running_build(python, folder, {"MODEL__DTYPE": dtype}) as (server, process):
        with server.client() as client:
            jpeg = {"content-type": "image/jpeg"}
            answer = client.post("/v1/pose", content=photo("bus.jpg"), headers=jpeg)
        people = len(answer.raise_for_status().json()["images"][0]["poses"])
        address = str(httpx.URL(server.url).netloc, "ascii")
        process.suspend()
        yield Server(name, Served(name, address, process, naps=True), people)


@contextmanager
def running_build(
    python: str, folder: Path, settings: dict[str, str]
) -> Iterator[tuple[servers.Server, psutil.Process]]:
    """The service of this interpreter's build, on the CPU, and its process, to suspend."""
    folder.mkdir()
    server, log = servers.start(folder, 0, {"MODEL__DEVICE": "cpu", **settings}, python=python)
    process = psutil.Process(server.process.pid)
    try:
        server.wait_until_ready()
        yield server, process
    finally:
        if process.is_running():
            process.resume()
        server.stop()
        log.close()


def in_turns(
    turns: int, builds: Mapping[str, Build], turn: Callable[[Build], Sequence[float]]
) -> dict[str, list[list[float]]]:
    """Each build's figures, as a list over the turns; the order alternates."""
    seen: dict[str, list[Sequence[float]]] = {name: [] for name in builds}
    order = list(builds)
    for _ in range(turns):
        for name in order:
            seen[name].append(turn(builds[name]))
        order.reverse()
    return {name: [list(column) for column in zip(*of, strict=True)] for name, of in seen.items()}


def engine_rows(engines: Mapping[str, Engine], turns: int, seconds: float) -> list[Row]:
    """Crops per second of both students, by batch size."""

    def turn(engine: Engine) -> list[float]:
        return [engine.crops_per_second(batch, seconds) for batch in BATCHES]

    seen = in_turns(turns, engines, turn)
    names = [f"crops a second, batch {batch}" for batch in BATCHES]
    return [Row(*columns) for columns in zip(names, seen["old"], seen["new"], strict=True)]


def photo_rows(servers: Mapping[str, Server], turns: int, seconds: float) -> list[Row]:
    """Whole photos over REST: latency, and photos per second."""

    def turn(server: Server) -> list[float]:
        _, alone_ms = server.burst(1, seconds)
        return [alone_ms, *(server.burst(callers, seconds)[0] for callers in CALLERS)]

    seen = in_turns(turns, servers, turn)
    names = ["ms a photo, 1 caller", *(f"photos a second, {n} callers" for n in CALLERS)]
    alone, *loaded = map(Row, names, seen["old"], seen["new"])
    return [alone._replace(more_is_faster=False), *loaded]


def print_table(title: str, rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Print medians over the turns, and ratios."""
    print(f"\n{title}: {machine()}; medians of {options.turns} turns of {options.seconds:g} s")
    print("| | old | new | times as fast | least, most |\n| --- | ---: | ---: | ---: | --- |")
    for row in rows:
        old, new, ratio = map(statistics.median, (row.old, row.new, row.ratios))
        spread = f"{min(row.ratios):.2f}, {max(row.ratios):.2f}"
        print(f"| {row.what} | {old:.4g} | {new:.4g} | {ratio:.2f} | {spread} |", flush=True)


def machine() -> str:
    """The CPU, the cores and threads of both builds, and the machine's load."""
    cores = sorted(os.sched_getaffinity(0))
    return (
        f"{_cpu_name()}, cores {','.join(map(str, cores))}, {usable_cpus()} threads, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def in_words(about: Mapping[str, str]) -> str:
    """Describe a build by version, runtime and, for a checkout, commit."""
    git = ["git", "-C", about["source"], "describe", "--always", "--dirty"]
    asked = subprocess.run(git, capture_output=True, text=True, check=False)
    commit = f" at {asked.stdout.strip()}" if asked.returncode == 0 else ""
    return f"distilpose {about['version']}{commit}, student by {about['runtime']}"


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--old", metavar="PYTHON", required=True, help="interpreter of the other build"
    )
    parser.add_argument("--dtype", choices=("float32", "auto"), default="float32")
    parser.add_argument("--turns", type=int, default=5, help="of each build")
    parser.add_argument("--seconds", type=float, default=3, help="of a measurement in a turn")
    return parser.parse_args(arguments)


def main() -> None:
    """Print the tables."""
    options = parsed()
    # Not resolved: an environment's interpreter is often a link to the one that created it.
    pythons = {"old": os.path.abspath(options.old), "new": sys.executable}  # noqa: PTH100 - resolve() follows links
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        crops = write_crops(folder)
        engines = {build: Engine(python, crops, options.dtype) for build, python in pythons.items()}
        for build, engine in engines.items():
            print(f"{build}: {in_words(engine.about)}")
        rows = engine_rows(engines, options.turns, options.seconds)
        for engine in engines.values():
            engine.stop()
        print_table(f"Student alone, {options.dtype}", rows, options)
        with ExitStack() as running:
            builds = {
                build: running.enter_context(
                    server_of(build, python, folder / build, options.dtype)
                )
                for build, python in pythons.items()
            }
            rows = photo_rows(builds, options.turns, options.seconds)
        print_table(f"bus.jpg by REST, {options.dtype}", rows, options)
        for build, server in builds.items():
            unanswered = ", ".join(f"{n} of {why}" for why, n in (+server.unanswered).items())
            print(f"{build}: {server.people} people; not answered: {unanswered or 'none'}")


if __name__ == "__main__":
    main()
