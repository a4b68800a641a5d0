"""Crops a second of the student and squares a second of the detector by runtime, in one run.

    python tests/bench/engines.py [ROUNDS]

The runtimes take turns, so that other load on the machine affects all of them; figures are medians
over the rounds, and ratios to eager torch. `off` is the distance of keypoints from eager torch's on
real crops, in crop pixels. On a busy machine a higher priority is fairer:

    setsid bash -c 'echo -19 > /proc/self/autogroup; nice -n -19 python tests/bench/engines.py'
"""

import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("", "support")]

import numpy as np
import onnxruntime
import torch

from by_openvino import detector as openvino_detector
from by_openvino import engine_of
from distilpose.model import crop, geometry
from distilpose.model.arrays import CropsBHWC
from distilpose.model.container import usable_cpus
from distilpose.model.letterbox import letterbox, square
from distilpose.model.load import packaged_student
from distilpose.model.runtime.detector import PersonDetector
from distilpose.model.runtime.engine import PoseArrays
from distilpose.model.runtime.export import export
from distilpose.model.runtime.openvino import graphs
from distilpose.model.runtime.precision import Precision
from distilpose.model.runtime.pytorch.detector import TorchDetector
from distilpose.model.runtime.pytorch.devices import use_threads
from distilpose.model.runtime.pytorch.engine import TorchEngine
from distilpose.model.runtime.pytorch.served import ServedStudent
from distilpose.model.weights import Weights, load
from odd_images import read
from photos import BUS_BOXES_XYXY_PX, photo

BATCHES = (1, 4, 8)
CPU = torch.device("cpu")
Run: TypeAlias = Callable[[Any], Any]
_PAUSE_SECONDS = 0.1  # threads of the previous one busy-wait for more work


def packaged() -> Weights:
    """A new copy of the packaged student."""
    return load(packaged_student())


def eager(*, channels_last: bool) -> Run:
    """The student as read from its file, run by torch operation by operation."""
    student: Any = packaged().network
    if channels_last:
        student.to(memory_format=torch.channels_last)
    served = ServedStudent(student).eval()

    @torch.inference_mode()
    def run(crops_BHWC: CropsBHWC) -> PoseArrays:
        return PoseArrays(*(out.numpy() for out in served(torch.from_numpy(crops_BHWC))))

    return run


def ours(precision: Precision, *, compile_network: bool = False) -> Run:
    """The engine with torch: norms folded, channels last."""
    network = packaged().network
    return TorchEngine(
        network, device="cpu", precision=precision, buckets=BATCHES, compile_network=compile_network
    ).run


def by_onnxruntime(threads: int) -> Run:
    """The exported ONNX file in onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.onnx"
        export(packaged(), path, "onnx")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda crops_BHWC: PoseArrays(*session.run(None, {"crops": crops_BHWC}))


def students(threads: int) -> dict[str, Run]:
    """Every way to run the student, eager torch first."""

    def by_openvino(precision: Precision) -> Run:
        network: Any = packaged().network
        return engine_of(network, precision=precision, buckets=BATCHES).run

    runs = {
        "torch eager": eager(channels_last=False),
        "torch channels-last": eager(channels_last=True),
        "torch, our engine": ours("float32"),
        "torch compiled": ours("float32", compile_network=True),
        "torch bfloat16": ours("bfloat16"),
        "onnxruntime": by_onnxruntime(threads),
        "openvino, our engine": by_openvino("float32"),
    }
    if graphs.computes_bfloat16():
        runs["openvino bfloat16"] = by_openvino("bfloat16")
    return runs


def detectors() -> dict[str, Run]:
    """Both ways to run the packaged detector."""

    def run(detector: PersonDetector) -> Run:
        return lambda squares: detector.run(squares, np.full(len(squares), 0.25, np.float32))

    return {
        "torch, our engine": run(TorchDetector.load()),
        "openvino, our engine": run(openvino_detector()),
    }


def median_seconds(runs: Mapping[str, Run], batch: Any, rounds: int) -> dict[str, float]:
    """The median time of each for the batch, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(1 + rounds):
        for name, run in runs.items():
            time.sleep(_PAUSE_SECONDS)
            began = time.perf_counter()
            run(batch)
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(of_one[1:]) for name, of_one in seconds.items()}


def table(what: str, runs: Mapping[str, Run], items: Any, rounds: int) -> None:
    """Print items per second for each batch size, and the ratios to the first of `runs`."""
    for size in BATCHES:
        seconds = median_seconds(runs, items[:size], rounds)
        first = next(iter(seconds.values()))
        print(f"{what}, batch {size}")
        for name, of_one in seconds.items():
            print(f"  {name:<22}{size / of_one:8.1f} /s {first / of_one:6.2f}")


def differences(runs: Mapping[str, Run], crops_BHWC: CropsBHWC) -> None:
    """Print the distance of each one's keypoints from those of the first."""
    first: PoseArrays = next(iter(runs.values()))(crops_BHWC)
    for name, run in runs.items():
        got: PoseArrays = run(crops_BHWC)
        shift_px = np.abs(got.xy_crop - first.xy_crop) * [192, 256]
        score = np.abs(got.raw_score - first.raw_score).max()
        off = f"off {shift_px.max():.5f} px, mean {shift_px.mean():.5f}"
        print(f"  {name:<22}{off}, scores {score:.1e}")


def main() -> None:
    """Print the tables."""
    warnings.simplefilter("ignore")
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    use_threads()
    bus, zidane = read(photo("bus.jpg")), read(photo("zidane.jpg"))
    boxes_xyxy_px = np.array(BUS_BOXES_XYXY_PX, np.float32)
    crops = crop.cut(bus, geometry.crop_regions(boxes_xyxy_px))
    crops_BHWC = np.concatenate([crops, crop.mirror(crops)])
    squares_BHWC = np.stack([letterbox(image, square(640))[0] for image in (bus, zidane)] * 4)
    print(f"{usable_cpus()} CPUs, load {os.getloadavg()[0]:.1f}, {rounds} rounds")
    runs = students(usable_cpus())
    differences(runs, crops_BHWC)
    table("student", runs, crops_BHWC, rounds)
    table("detector", detectors(), squares_BHWC, rounds)


if __name__ == "__main__":
    main()
