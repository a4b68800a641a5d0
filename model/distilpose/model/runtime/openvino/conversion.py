"""Convert torch's networks to OpenVINO's graphs."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.jit import TracerWarning  # type: ignore[attr-defined]  # public, but not in its __all__

from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.errors import ConfigError, WeightsError
from distilpose.model.letterbox import ShapeHW
from distilpose.model.networks import Student
from distilpose.model.runtime.engine import PoseArrays
from distilpose.model.runtime.openvino.graphs import (
    Graph,
    from_bytes,
    import_openvino,
    to_bytes,
)
from distilpose.model.runtime.pytorch.engine import cast_for_inference
from distilpose.model.runtime.pytorch.served import ServedDetector, ServedStudent
from distilpose.model.runtime.pytorch.yolo import DetectorNetwork
from distilpose.model.weights import load


def load_student_graph(path: Path, sha256: str) -> Graph:
    """The graph of the student in the weights file at `path` of this digest.

    Raises:
        ConfigError: OpenVINO is not installed.
        WeightsError: the file is missing or damaged, has another digest, or holds no student.
    """
    network = load(path, sha256=sha256).network
    if not isinstance(network, Student):
        raise WeightsError(f"{path}: {network.config.name} is not a student")
    return student_graph(network)


def student_graph(student: Student) -> Graph:
    """The graph of a student: `crops` in, the fields of `PoseArrays` out; takes ownership.

    Raises:
        ConfigError: OpenVINO is not installed.
    """
    cast_for_inference(student, device="cpu", dtype=torch.float32)
    return convert(
        ServedStudent(student).eval(),
        torch.zeros((1, CROP_HEIGHT, CROP_WIDTH, 3), dtype=torch.uint8),
        input_name="crops",
        output_names=PoseArrays._fields,
    )


def detector_graph(network: DetectorNetwork, canvas_hw: ShapeHW) -> Graph:
    """The graph of a detector: `canvases` in, `people` out as a `PersonDetector` takes them.

    A network that suppresses overlapping boxes itself divides its candidates into groups by their
    number: its graph is good for this size of canvas only, any other network's for all sizes.

    Raises:
        ConfigError: OpenVINO is not installed, or cannot express the network.
    """
    return convert(
        ServedDetector(network.module, network.facts).eval(),
        torch.zeros((1, *canvas_hw, 3), dtype=torch.uint8),
        input_name="canvases",
        output_names=["people"],
    )


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
    # As a file gives it back: it does not hold all that the conversion notes, and without these
    # notes answers in bfloat16 are others, keypoints by up to 0.4 crop pixels.
    return from_bytes(*to_bytes(graph))


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
