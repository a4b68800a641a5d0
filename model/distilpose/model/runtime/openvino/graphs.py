"""OpenVINO on the CPU: graphs, and programs compiled of them. No networks, and no torch.

Nothing is reported, and importing it sends no telemetry.
"""

import functools
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from distilpose.model.arrays import FloatArray
from distilpose.model.errors import ConfigError
from distilpose.model.runtime.precision import Precision

Graph: TypeAlias = Any
"""An `openvino.Model`; OpenVINO ships without types that mypy reads."""

Program: TypeAlias = Any
"""An `openvino.CompiledModel`."""

_PRECISION_HINTS: Final[Mapping[Precision, str]] = {"float32": "f32", "bfloat16": "bf16"}
_CONVERTER: Final = "openvino.tools.ovc"


def is_installed() -> bool:
    """Return True if OpenVINO can be imported."""
    return importlib.util.find_spec("openvino") is not None


def computes_bfloat16() -> bool:
    """Return True if this CPU multiplies in bfloat16 itself, as the runtime says.

    Raises:
        ConfigError: OpenVINO is not installed.
    """
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@functools.cache
def _core() -> Any:
    """OpenVINO's core, one for the life of the process.

    On CPUs with AVX-512 the first core gives its thread a larger stack for signals. The last one
    frees it; dropped by another thread, it leaves a thread whose next signal is a segmentation
    fault.
    """
    return import_openvino().Core()


def options(*, threads: int, precision: Precision) -> dict[str, Any]:
    """The options to compile or restore a program with.

    Inputs and outputs stay as they are, whatever the `precision` between them.
    """
    return {
        "INFERENCE_PRECISION_HINT": _PRECISION_HINTS[precision],  # OpenVINO's own choice may be any
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # two services on one machine would share the same cores
    }


def compiled(
    graph: Graph, options: Mapping[str, Any], *, shape: Sequence[int] | None = None
) -> Program:
    """Compile the graph to a program; not thread-safe.

    One for inputs of one `shape` is 12 to 14 % faster than one for any (`distilpose-n`).
    """
    if shape is not None:
        graph = graph.clone()  # its weights stay shared
        graph.reshape(list(shape))
    return _core().compile_model(graph, "CPU", dict(options))


def stored(program: Program) -> bytes:
    """The program as bytes, from which `restored` makes it."""
    data: bytes = program.export_model().getvalue()
    return data


def restored(data: memoryview, options: Mapping[str, Any]) -> Program:
    """The program that `stored` gave, in half of the time that compiling it takes.

    It reads its weights from `data`, which must outlive it.

    Raises:
        RuntimeError: another version of OpenVINO stored it.
    """
    tensor = import_openvino().Tensor(np.frombuffer(data, np.uint8), shared_memory=True)
    return _core().import_model(tensor, "CPU", dict(options))


def run(program: Program, array: npt.NDArray[Any]) -> list[FloatArray]:
    """The program's outputs, in their order, for its one input."""
    return [np.asarray(output) for output in program(array).values()]


def version() -> str:
    """OpenVINO's version, with its build."""
    return str(import_openvino().get_version())


def cpu() -> dict[str, str]:
    """The CPU, as OpenVINO sees it: a program that was compiled on it is good for it alone."""
    names = ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
    return {name: str(_core().get_property("CPU", name)) for name in names}


def write(graph: Graph, path: Path, *, information: dict[str, str]) -> None:
    """Write the graph in float32 to `path`, .xml, with its weights beside it, .bin."""
    for key, text in information.items():
        graph.set_rt_info(text, key)
    import_openvino().save_model(graph, path, compress_to_fp16=False)


def read(path: Path) -> Graph:
    """Read the graph that `write` wrote to `path`."""
    return _core().read_model(path)


def to_bytes(graph: Graph) -> tuple[bytes, bytes]:
    """The graph's description (XML) and its weights, as `write` writes them."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "graph.xml"
        write(graph, path, information={})
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def from_bytes(description: bytes, weights: bytes) -> Graph:
    """Return the graph that `to_bytes` took apart.

    Raises:
        RuntimeError: they are no graph.
    """
    return _core().read_model(description, weights)


def import_openvino(submodule: str = "") -> Any:
    """Import OpenVINO, or a module of it, without its converter.

    The converter sends telemetry over the network at every import.

    Raises:
        ConfigError: OpenVINO is not installed.
    """
    if not is_installed():
        raise ConfigError("OpenVINO is not installed: pip install 'distilpose[openvino]'")
    if "openvino" not in sys.modules:
        sys.modules[_CONVERTER] = None  # type: ignore[assignment]  # None makes its import fail, as OpenVINO allows
        try:
            importlib.import_module("openvino")
        finally:
            del sys.modules[_CONVERTER]
    return importlib.import_module("openvino" + (f".{submodule}" if submodule else ""))
