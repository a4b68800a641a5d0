"""Load both networks for torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distilpose.model.networks import Teacher
from distilpose.model.runtime.devices import DeviceKind
from distilpose.model.runtime.precision import Precision
from distilpose.model.runtime.pytorch.detector import TorchDetector
from distilpose.model.runtime.pytorch.devices import use_threads
from distilpose.model.runtime.pytorch.engine import TorchEngine
from distilpose.model.runtime.pytorch.teacher import TeacherEngine
from distilpose.model.runtime.pytorch.yolo import load_network
from distilpose.model.weights import load


def load_detector(path: Path, *, threads: int, **options: Any) -> TorchDetector:
    """The detector in the file at `path`; torch takes as many threads for all it does.

    Raises:
        WeightsError: there is no such file, or it is not a detector of people.
        ConfigError: an option is not supported.
    """
    use_threads(threads)
    return TorchDetector(load_network(path), **options)


def load_engine(
    path: Path,
    sha256: str,
    *,
    device: DeviceKind,
    precision: Precision,
    threads: int,
    buckets: Sequence[int],
    compile_network: bool,
) -> TorchEngine:
    """The student or teacher in the file at `path` of this digest; a teacher is not compiled.

    Torch takes as many threads for all it does.

    Raises:
        WeightsError: the file is missing or damaged, or has another digest.
        ConfigError: `buckets` is empty or not ascending.
    """
    use_threads(threads)
    network = load(path, sha256=sha256).network
    if isinstance(network, Teacher):
        return TeacherEngine(network, device=device, precision=precision, buckets=buckets)
    return TorchEngine(
        network,
        device=device,
        precision=precision,
        buckets=buckets,
        compile_network=compile_network,
    )
