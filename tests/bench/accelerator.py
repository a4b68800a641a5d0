"""Throughput of one device without a server: crops and squares a second by batch and precision.

    python tests/bench/accelerator.py [--device cuda] [--batches 1 8 32 128 256] [--seconds 1]

`engine` is the service's engine, including transfers to and from the device. `network` is the
network alone with its input on the device, `graph` the same replayed as one CUDA graph. Each figure
is the median of three rounds. `docs/scaling.md` explains the use of the device seconds of a photo;
`tests/bench/serve.py` measures the service beside the engine.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.load import packaged_student
from distilpose.model.runtime import devices
from distilpose.model.runtime.detector import PersonDetector
from distilpose.model.runtime.devices import DeviceKind
from distilpose.model.runtime.engine import PoseEngine, powers_of_two
from distilpose.model.runtime.precision import PRECISIONS, Precision
from distilpose.model.runtime.pytorch.detector import TorchDetector
from distilpose.model.runtime.pytorch.engine import TorchEngine
from distilpose.model.weights import load

ROUNDS = 3
DETECTOR_BATCHES = (1, 8, 32)


class Contestant(NamedTuple):
    """One way to compute batches of a size."""

    name: str
    prepare: Callable[[int], Callable[[], object]]
    """Maps a batch size to a function that computes one such batch."""


def seconds_a_batch(
    run: Callable[[], object], *, seconds: float, wait: Callable[[], None]
) -> float:
    """The median of rounds that take `seconds` in all, after a warm-up; `wait` syncs the device."""
    for _ in range(3):
        run()
    wait()
    taken = []
    for _ in range(ROUNDS):
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds / ROUNDS or not count:
            run()
            count += 1
            if count % 8 == 0:
                wait()  # else the host runs ahead of the clock
        wait()
        taken.append((time.perf_counter() - began) / count)
    return statistics.median(taken)


def engine(
    device: DeviceKind, precision: Precision, largest: int, *, compiled: bool
) -> TorchEngine:
    """The student's engine; sizes that are not powers of two are padded, as in the service."""
    buckets = powers_of_two(largest)
    network = load(packaged_student()).network
    return TorchEngine(
        network, device=device, precision=precision, buckets=buckets, compile_network=compiled
    )


def students(device: DeviceKind, largest: int) -> Iterator[Contestant]:
    """Every way to run the student."""
    for precision in PRECISIONS:
        for compiled in (False, True):
            run_by = engine(device, precision, largest, compiled=compiled)
            kind = f"{precision}{', compiled' if compiled else ''}"
            yield Contestant(f"engine, {kind}", partial(answering, run_by))
            yield Contestant(f"network, {kind}", partial(computing, run_by))
        if device == "cuda":
            run_by = engine(device, precision, largest, compiled=False)
            yield Contestant(f"graph, {precision}", partial(replaying, run_by))


def answering(of: PoseEngine, size: int) -> Callable[[], object]:
    """The engine's whole path: from pixels in the host's memory to arrays there."""
    crops_BHWC = np.random.default_rng(0).integers(0, 256, _crops(size), np.uint8)
    return lambda: of.run(crops_BHWC)


def computing(of: TorchEngine, size: int) -> Callable[[], object]:
    """The network alone, its input already on the device."""
    inputs_BCHW = _inputs(of, size)
    forward: Any = of._forward

    def run() -> object:
        with torch.inference_mode():
            return forward(inputs_BCHW)

    return run


def replaying(of: TorchEngine, size: int) -> Callable[[], object]:
    """The network, replayed as one CUDA graph."""
    run = computing(of, size)
    for _ in range(3):
        run()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()

    def replay() -> object:
        graph.replay()
        return run  # which holds the pixels that the graph reads, and must outlive it

    return replay


def _crops(size: int) -> tuple[int, int, int, int]:
    return (size, CROP_HEIGHT, CROP_WIDTH, 3)


def _inputs(of: TorchEngine, size: int) -> torch.Tensor:
    return of.normalise(torch.randint(0, 256, _crops(size), dtype=torch.uint8))


def detectors(device: DeviceKind) -> Iterator[Contestant]:
    """The packaged detector on squares of 640 pixels."""
    for precision in PRECISIONS:
        detector = TorchDetector.load(device=device, precision=precision)
        yield Contestant(f"detector, {precision}", partial(finding, detector))


def finding(by: PersonDetector, size: int) -> Callable[[], object]:
    """The detector's path from squares in the host's memory to boxes there."""
    squares = [np.zeros((*by.canvases[-1], 3), np.uint8)] * size
    return lambda: by.run(squares, np.full(size, 0.25, np.float32))


def table(
    contestants: Iterator[Contestant], batches: Sequence[int], *, measure: Callable[..., float]
) -> None:
    """Print a row of items a second for each contestant, then its milliseconds for one item."""
    print(
        "| items a second, by batch |" + "".join(f" {size} |" for size in batches) + " ms for 1 |"
    )
    print("| --- |" + " --- |" * (len(batches) + 1))
    for name, prepare in contestants:
        try:
            taken = {size: measure(prepare(size)) for size in batches}
        except RuntimeError as err:  # no compiler, or not enough memory: the others continue
            print(f"| {name} | {str(err).splitlines()[0][:100]} |", flush=True)
            continue
        rates = "".join(f" {size / seconds:.0f} |" for size, seconds in taken.items())
        one = f" {1000 * taken[1]:.2f} |" if 1 in taken else " |"
        print(f"| {name} |{rates}{one}", flush=True)


def main() -> None:
    """Measure as the arguments specify."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 128, 256])
    parser.add_argument("--seconds", type=float, default=1.0, help="a figure, after its warm-up")
    asked = parser.parse_args()
    device = devices.choose_device(asked.device)
    on_cuda = device == "cuda"
    print(torch.cuda.get_device_name() if on_cuda else device, f"torch {torch.__version__}")

    def measure(run: Callable[[], object]) -> float:
        wait = torch.cuda.synchronize if on_cuda else lambda: None
        return seconds_a_batch(run, seconds=asked.seconds, wait=wait)

    table(students(device, max(asked.batches)), asked.batches, measure=measure)
    print()
    table(detectors(device), DETECTOR_BATCHES, measure=measure)


if __name__ == "__main__":
    main()
