"""OpenVINO on the CPU: convert torch modules to graphs, and graphs to functions. No networks.

The only file that knows OpenVINO. Nothing is reported, and importing it sends no telemetry.
"""

import functools
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.jit import TracerWarning  # type: ignore[attr-defined]  # public, but not in its __all__

from distilpose.model.arrays import FloatArray
from distilpose.model.errors import ConfigError
from distilpose.model.runtime.precision import Precision

Graph: TypeAlias = Any
"""An `openvino.Model`; OpenVINO ships without types that mypy reads."""

Run: TypeAlias = Callable[[npt.NDArray[Any]], list[FloatArray]]
"""A function from a graph's one input to its outputs in order."""

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


def convert(
    module: nn.Module, example: Tensor, *, input_name: str, output_names: Sequence[str]
) -> Graph:
    """Convert a module of one input to a graph, for inputs like `example` of any batch size.

    Raises:
        ConfigError: OpenVINO is not installed, or cannot express the module.
    """
    decoders = import_openvino("frontend.pytorch.ts_decoder")
    frontend = import_openvino("frontend").FrontEndManager().load_by_framework("pytorch")
    try:
        # Kept in a variable until the graph is made: OpenVINO holds no reference.
        decoder = decoders.TorchScriptPythonDecoder(
            _traced(module, example), example_input=(example,)
        )
        graph = frontend.convert(frontend.load(decoder))
    except Exception as err:  # OpenVINO's failures have no base of their own
        raise ConfigError(
            f"OpenVINO cannot run {type(module).__name__}, but torch can (engine: torch): {err}"
        ) from err
    graph.reshape([-1, *example.shape[1:]])
    for port, name in zip(
        [*graph.inputs, *graph.outputs], [input_name, *output_names], strict=True
    ):
        port.get_tensor().set_names({name})
    return graph


@torch.no_grad()
def _traced(module: nn.Module, example: Tensor) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        # torch now recommends `torch.export`, which takes four times as long at every start.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Values that depend on a batch's size may be constant: OpenVINO is given another.
        warnings.simplefilter("ignore", TracerWarning)
        traced = torch.jit.trace(module, (example,), check_trace=False)  # type: ignore[no-untyped-call]  # torch's own
    assert isinstance(traced, torch.jit.ScriptModule)  # noqa: S101 - a module's trace is one
    return traced


def compiled(
    graph: Graph,
    *,
    threads: int,
    precision: Precision = "float32",
    shape: Sequence[int] | None = None,
) -> Run:
    """Compile the graph to a function on `threads` threads; not thread-safe.

    Inputs and outputs stay as they are, whatever the `precision` between them.

    A function for inputs of one `shape` is 12 to 14 % faster than one for any (`distilpose-n`).
    """
    if shape is not None:
        graph = graph.clone()  # its weights stay shared
        graph.reshape(list(shape))
    options = {
        "INFERENCE_PRECISION_HINT": _PRECISION_HINTS[precision],  # OpenVINO's own choice may be any
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # two services on one machine would share the same cores
    }
    program = _core().compile_model(graph, "CPU", options)
    return lambda array: [np.asarray(output) for output in program(array).values()]


def write(graph: Graph, path: Path, *, information: dict[str, str]) -> None:
    """Write the graph in float32 to `path`, .xml, with its weights beside it, .bin."""
    for key, text in information.items():
        graph.set_rt_info(text, key)
    import_openvino().save_model(graph, path, compress_to_fp16=False)


def read(path: Path) -> Graph:
    """Read the graph that `write` wrote to `path`."""
    return _core().read_model(path)


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
