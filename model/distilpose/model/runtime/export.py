"""Export a student for another runtime, ONNX or OpenVINO, checked against torch.

The graph takes unprocessed `crops`, uint8 RGB (B, 256, 192, 3) for any B, and returns the fields of
`PoseArrays` in float32, uncalibrated. Its metadata holds `card` and, if there is one,
`calibration`, both as JSON.
"""

import importlib.util
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import torch

from distilpose.model.arrays import CropsBHWC
from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.errors import ConfigError, WeightsError
from distilpose.model.networks import Student
from distilpose.model.runtime.engine import PoseArrays
from distilpose.model.runtime.openvino import graphs
from distilpose.model.runtime.openvino.conversion import student_graph
from distilpose.model.runtime.pytorch.engine import cast_for_inference
from distilpose.model.runtime.pytorch.served import ServedStudent
from distilpose.model.weights import Weights

Format: TypeAlias = Literal["onnx", "openvino"]

TOLERANCE: Final = 1e-4
"""Maximum deviation of an output from torch's: |a - b| / (1 + |b|)."""
_SUFFIXES: Final[Mapping[Format, str]] = {"onnx": ".onnx", "openvino": ".xml"}
_ONNX_PACKAGES: Final = ("onnx", "onnxscript", "onnxruntime")


def export(weights: Weights, path: Path, file_format: Format) -> float:
    """Write a student to `path`, .onnx or .xml (with .bin); takes ownership of the network.

    Returns the largest deviation of the file's outputs from torch's, |a - b| / (1 + |b|), for a few
    synthetic crops.

    Raises:
        ConfigError: a package is missing, or `path` does not have the format's suffix.
        WeightsError: the network is not a student, the file cannot be written, or its outputs
            differ from torch's by more than `TOLERANCE`. The previous file then stays.
    """
    _check_arguments(weights, path, file_format)
    student: Any = weights.network
    cast_for_inference(student, device="cpu", dtype=torch.float32)
    served = ServedStudent(student).eval()
    crops_BHWC = _made_up_crops()
    with torch.inference_mode():
        expected = PoseArrays(*(out.numpy() for out in served(torch.from_numpy(crops_BHWC))))
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            unfinished = Path(folder) / path.name
            write = _write_onnx if file_format == "onnx" else _write_openvino
            write(served, unfinished, _information(weights))
            read = _read_onnx if file_format == "onnx" else _read_openvino
            difference = _difference(read(unfinished, crops_BHWC), expected)
            if not difference <= TOLERANCE:
                raise WeightsError(f"{path}: differs from torch by {difference:.2g}")
            for part in sorted(Path(folder).iterdir()):  # .bin before .xml
                part.replace(path.parent / part.name)
    except OSError as err:
        raise WeightsError(f"{path}: cannot be written: {err.strerror}") from err
    return difference


def _check_arguments(weights: Weights, path: Path, file_format: Format) -> None:
    if not isinstance(weights.network, Student):
        raise WeightsError(f"{weights.card.architecture} is not a student and cannot be exported")
    if path.suffix != _SUFFIXES[file_format]:
        raise ConfigError(f"{path}: a file for {file_format} ends in {_SUFFIXES[file_format]}")
    missing = [name for name in _ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if file_format == "onnx" and missing:
        raise ConfigError(f"onnx needs {', '.join(missing)}: pip install 'distilpose[export]'")


def _made_up_crops() -> CropsBHWC:
    """Three crops of coloured squares: a batch size that no example had, to test dynamic sizes."""
    squares = np.random.default_rng(0).integers(0, 256, (3, 8, 6, 3), np.uint8)
    return squares.repeat(CROP_HEIGHT // 8, 1).repeat(CROP_WIDTH // 6, 2)


def _information(weights: Weights) -> dict[str, str]:
    metadata = {"card": weights.card.model_dump_json()}
    if weights.calibration:
        metadata["calibration"] = weights.calibration.model_dump_json()
    return metadata


def _difference(got: PoseArrays, expected: PoseArrays) -> float:
    """The largest |a - b| / (1 + |b|); NaN or infinity if an output is not finite."""
    with np.errstate(invalid="ignore"):
        largest = [
            (np.abs(a - b) / (1 + np.abs(b))).max() for a, b in zip(got, expected, strict=True)
        ]
    return float(np.max(largest))  # Python's own max loses NaN


def _write_onnx(served: ServedStudent, path: Path, information: dict[str, str]) -> None:
    example_BHWC = torch.zeros((2, CROP_HEIGHT, CROP_WIDTH, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch calls its own deprecated code
        program = torch.onnx.export(
            served,
            (example_BHWC,),
            dynamo=True,
            dynamic_shapes=({0: "batch"},),
            input_names=["crops"],
            output_names=PoseArrays._fields,
            verbose=False,
        )
    assert program is not None  # noqa: S101 - with `dynamo` there is always one
    program.model.metadata_props.update(information)
    program.save(path, external_data=False)


def _read_onnx(path: Path, crops_BHWC: CropsBHWC) -> PoseArrays:
    import onnxruntime  # noqa: PLC0415 - of the extra `export`

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return PoseArrays(*session.run(None, {"crops": crops_BHWC}))


def _write_openvino(served: ServedStudent, path: Path, information: dict[str, str]) -> None:
    graphs.write(student_graph(served.student), path, information=information)


def _read_openvino(path: Path, crops_BHWC: CropsBHWC) -> PoseArrays:
    options = graphs.options(threads=1, precision="float32")
    program = graphs.compiled(graphs.read(path), options)
    return PoseArrays(*graphs.run(program, crops_BHWC))
