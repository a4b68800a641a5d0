"""The contestants of the serving benchmark: the engine alone, our server, and other servers."""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import httpx
import psutil  # type: ignore[import-untyped]  # ultralytics brings it, without types
from prometheus_client.parser import text_string_to_metric_families

from bench.load import Burst, Sent
from ports import free_port
from servers import START_SECONDS, start

_HERE = Path(__file__).parent
_PAUSE_SECONDS = 0.2  # threads of the previous one busy-wait for more work
_STOP_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A request, and the number of items it contains."""

    name: str
    unit: str
    items: int
    """Number of items of that unit."""
    people: int
    """Number of people in the answer."""
    json_body: bytes
    message: bytes
    """The request's message for gRPC."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """The arrival of requests: from callers who wait for their answers, or at a fixed rate."""

    seconds: float
    callers: int = 0
    rate: float = 0.0


@dataclass(kw_only=True)
class Outcome:
    """The outcome of one burst, or of several added up."""

    items: int = 0
    sent: Sent = field(default_factory=Sent)
    counted: Counter[str] = field(default_factory=Counter)
    """Increases of the server's metrics."""
    server_cpu_seconds: float = 0.0
    machine_cpu_seconds: float = 0.0
    memory_mib: list[float] = field(default_factory=list)
    """Memory of the server's processes, before and after each burst."""

    @property
    def items_per_second(self) -> float:
        """Throughput until the last answer."""
        return self.items / self.sent.seconds

    def add(self, other: "Outcome") -> None:
        """Add another burst's outcome."""
        self.items += other.items
        self.sent.seconds += other.sent.seconds
        self.sent.cpu_seconds += other.sent.cpu_seconds
        self.sent.latency_seconds += other.sent.latency_seconds
        self.sent.refused += other.sent.refused
        self.sent.failures = dict(Counter(self.sent.failures) + Counter(other.sent.failures))
        self.counted.update(other.counted)
        self.server_cpu_seconds += other.server_cpu_seconds
        self.machine_cpu_seconds += other.machine_cpu_seconds
        self.memory_mib += other.memory_mib


class Contestant(Protocol):
    """An implementation that estimates poses."""

    name: str

    def run(self, workload: Workload, load: Load) -> Outcome:
        """Run one burst."""
        ...


class Alone:
    """A function that takes `items` of a workload at a time, called in a loop in this process."""

    def __init__(self, name: str, work: Callable[[], object], items: int) -> None:
        self.name = name
        self._work = work
        self._items = items

    def run(self, workload: Workload, load: Load) -> Outcome:
        """Loop for the length of a burst; the number of callers makes no difference."""
        self._work()
        outcome = Outcome()
        with _watched(outcome, [psutil.Process()]):
            began_at = time.monotonic()
            while (seconds := time.monotonic() - began_at) < load.seconds:
                self._work()
                outcome.items += self._items
        outcome.sent.seconds = seconds
        return outcome


class Served:
    """A server, called by a load generator in a separate process.

    A server that `naps` is suspended between its turns: an idle LitServe polls, which slows others.
    """

    def __init__(
        self,
        name: str,
        address: str,
        process: psutil.Process,
        *,
        metrics_url: str = "",
        naps: bool = False,
    ) -> None:
        self.name = name
        self._address = address
        self._process = process
        self._metrics_url = metrics_url
        self._naps = naps

    def run(self, workload: Workload, load: Load) -> Outcome:
        """Send requests for the length of a burst, and wait for the last answer."""
        outcome = Outcome()
        transport = "grpc" if self.name == "grpc" else "rest"
        with tempfile.NamedTemporaryFile() as body:
            body.write(workload.message if transport == "grpc" else workload.json_body)
            body.flush()
            burst = Burst(
                transport=transport,
                address=self._address,
                body=body.name,
                people=workload.people,
                **asdict(load),
            )
            before = self._counts()
            with self._awake() as processes, _watched(outcome, processes):
                outcome.sent = _send(burst)
            outcome.counted = Counter(self._counts())
            outcome.counted.subtract(before)
        outcome.items = workload.items * len(outcome.sent.latency_seconds)
        return outcome

    @contextmanager
    def _awake(self) -> Iterator[list[psutil.Process]]:
        """Resume the server's processes for the length of the context."""
        processes = _family(self._process)
        for each in processes if self._naps else []:
            each.resume()
        yield processes
        for each in processes if self._naps else []:
            each.suspend()

    def gauge(self, name: str, stage: str) -> float:
        """The current value of a gauge."""
        return self._counts()[f"{name} {stage}"]

    def _counts(self) -> dict[str, float]:
        """The samples of our metrics whose only labels are stage and reason, by name and labels."""
        if not self._metrics_url:
            return {}
        text = httpx.get(self._metrics_url, timeout=60).raise_for_status().text
        samples = (
            sample
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.labels.keys() <= {"stage", "reason"}
        )
        return {
            " ".join([sample.name.removeprefix("distilpose_"), *sample.labels.values()]): (
                sample.value
            )
            for sample in samples
        }


def _send(burst: Burst) -> Sent:
    ran = subprocess.run(
        [sys.executable, str(_HERE / "load.py")],
        input=json.dumps(asdict(burst)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Sent(**json.loads(ran.stdout))


@contextmanager
def _watched(outcome: Outcome, processes: Sequence[psutil.Process]) -> Iterator[None]:
    """Measure CPU time and memory of the processes, and the CPU time of the whole machine."""
    time.sleep(_PAUSE_SECONDS)
    outcome.memory_mib.append(_memory_mib(processes))
    spent, spent_by_all = _cpu_seconds(processes), _machine_cpu_seconds()
    yield
    outcome.server_cpu_seconds = _cpu_seconds(processes) - spent
    outcome.machine_cpu_seconds = _machine_cpu_seconds() - spent_by_all
    outcome.memory_mib.append(_memory_mib(processes))


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _memory_mib(processes: Iterable[psutil.Process]) -> float:
    return float(sum(each.memory_info().rss for each in processes)) / 2**20


def _cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    times = [each.cpu_times() for each in processes]
    return float(sum(each.user + each.system for each in times))


def _machine_cpu_seconds() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait)


@contextmanager
def our_server(folder: Path) -> Iterator[dict[str, Served]]:
    """Our server, over both its transports."""
    server, log = start(folder, 0, {})
    try:
        server.wait_until_ready()
        process = psutil.Process(server.process.pid)
        url = f"{server.url}/metrics"
        yield {
            "rest": Served("rest", server.url.removeprefix("http://"), process, metrics_url=url),
            "grpc": Served("grpc", server.grpc_target, process, metrics_url=url),
        }
    finally:
        server.stop()
        log.close()


@contextmanager
def peer_server(name: str, python: str, folder: Path, body: bytes) -> Iterator[Served]:
    """The peer called `name`, run by its interpreter, once it has answered `body`."""
    port = free_port()
    options = {
        "litserve": [str(port)],
        "mosec": f"--address 127.0.0.1 --port {port} --timeout 300000 --log-level warning".split(),
    }
    log = folder / f"{name}.log"
    with log.open("wb") as stream:
        process = psutil.Popen(
            [python, str(_HERE / "peers" / f"{name}_server.py"), *options[name]],
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        try:
            _wait_for_answer(process, f"http://127.0.0.1:{port}/v1/pose", body, log)
            for each in _family(process):
                each.suspend()
            yield Served(name, f"127.0.0.1:{port}", process, naps=True)
        finally:
            _stop(process)


def _wait_for_answer(process: psutil.Popen, url: str, body: bytes, log: Path) -> None:
    limit = time.monotonic() + START_SECONDS
    headers = {"content-type": "application/json"}
    while time.monotonic() < limit:
        if process.poll() is not None:
            break
        try:
            if httpx.post(url, content=body, headers=headers, timeout=60).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"{url} did not answer:\n{log.read_text()[-4000:]}")


def _stop(process: psutil.Popen) -> None:
    """Send SIGTERM, and kill the remaining processes after a while."""
    processes = _family(process)
    for each in processes:
        each.resume()
    process.terminate()
    _, left = psutil.wait_procs(processes, _STOP_SECONDS)
    for each in left:
        each.kill()
