"""Load models onto a device, by name or path. Reads no settings itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal, NamedTuple

import torch

from distilpose.model.card import Card
from distilpose.model.errors import WeightsError
from distilpose.model.networks import Student, Teacher
from distilpose.model.predict import Predictor, TeacherPredictor
from distilpose.model.runtime import devices
from distilpose.model.runtime.detector import BFLOAT16_LARGEST_PX, PersonDetector
from distilpose.model.runtime.devices import EngineChoice, Runtime
from distilpose.model.runtime.engine import PoseEngine, powers_of_two
from distilpose.model.runtime.openvino.detector import OpenVinoDetector
from distilpose.model.runtime.openvino.engine import OpenVinoEngine
from distilpose.model.runtime.precision import Precision, PrecisionChoice
from distilpose.model.runtime.teacher import TeacherEngine
from distilpose.model.weights import Weights, load

_PACKAGED: Final = "packaged"
_CPU_POSE_BATCH: Final = 8
_GPU_POSE_BATCH: Final = 256


@dataclass(frozen=True, slots=True)
class Models:
    """A predictor, and the origin of its network."""

    predictor: Predictor
    detector: PersonDetector
    """The predictor's detector, which is never None here."""
    card: Card
    sha256: str
    """Digest of the network's file."""


def packaged_student() -> Path:
    """The student weights that ship with this package."""
    return Path(str(files("distilpose.model"))) / _PACKAGED / "distilpose-n.safetensors"


def load_models(
    *,
    weights: Path | None = None,
    sha256: str | None = None,
    device: str = "auto",
    dtype: PrecisionChoice = "auto",
    engine: EngineChoice = "auto",
    compile_network: Literal["auto", "on", "off"] = "auto",
    pose_max_batch: int | None = None,
    buckets: Sequence[int] | None = None,
    detector: Path | None = None,
    detector_image_size_px: int = 640,
    detector_iou: float = 0.6,
    calibrate: bool = True,
    allow_teacher: bool = False,
) -> Models:
    """Load student and detector; None means packaged weights and automatic sizes.

    With `calibrate`, scores are calibrated if the weights include a calibration. With
    `allow_teacher`, a teacher may take the student's place for measuring; it runs in torch's eager
    mode, regardless of the detector's `engine`.

    Raises:
        WeightsError: a file is missing or unreadable, its network is not a student, or its digest
            is not `sha256`.
        ConfigError: the device, the precision or the engine is not available.
    """
    compute = _choose(device, dtype, engine, compile_network)
    path = weights or packaged_student()
    loaded = load(path, sha256=sha256)
    if not isinstance(loaded.network, Student) and not allow_teacher:
        raise WeightsError(
            f"{path}: {loaded.card.architecture} is not a student and cannot be served"
        )
    on_cpu = compute.device.type == "cpu"
    max_batch = pose_max_batch or (_CPU_POSE_BATCH if on_cpu else _GPU_POSE_BATCH)
    kind = OpenVinoDetector if compute.runtime == "openvino" else PersonDetector
    person_detector = kind.load(
        detector,
        device=compute.device,
        precision=_detector_precision(dtype, compute, detector_image_size_px),
        image_size_px=detector_image_size_px,
        iou_threshold=detector_iou,
    )
    predictor = _predictor(
        loaded,
        person_detector,
        compute=compute,
        # A CPU pays for padding in full, and has few sizes to warm up.
        buckets=buckets or powers_of_two(max_batch, each_up_to=_CPU_POSE_BATCH if on_cpu else 1),
        calibrate=calibrate,
    )
    return Models(predictor, person_detector, loaded.card, loaded.sha256)


class _Compute(NamedTuple):
    """The device, precision and runtime of a network."""

    device: torch.device
    precision: Precision
    compile_network: bool
    runtime: Runtime


def _choose(
    device: str,
    dtype: PrecisionChoice,
    engine: EngineChoice,
    compile_network: Literal["auto", "on", "off"],
) -> _Compute:
    chosen = devices.choose_device(device)
    compiled = devices.choose_compile(compile_network, chosen)
    runtime = devices.choose_engine(engine, chosen, compile_network=compiled)
    return _Compute(chosen, devices.choose_precision(dtype, chosen, runtime), compiled, runtime)


def _detector_precision(dtype: PrecisionChoice, compute: _Compute, image_size_px: int) -> Precision:
    by_torch = compute.runtime == "torch"
    too_large = by_torch and image_size_px > BFLOAT16_LARGEST_PX
    return "float32" if dtype == "auto" and too_large else compute.precision


def _predictor(
    loaded: Weights,
    detector: PersonDetector,
    *,
    compute: _Compute,
    buckets: Sequence[int],
    calibrate: bool,
) -> Predictor:
    network, device, precision = loaded.network, compute.device, compute.precision
    if isinstance(network, Teacher):
        teacher = TeacherEngine(network, device=device, precision=precision, buckets=buckets)
        return TeacherPredictor(teacher, detector)
    calibration = loaded.calibration if calibrate else None
    if compute.runtime == "openvino":
        engine: PoseEngine = OpenVinoEngine(network, precision=precision, buckets=buckets)
    else:
        engine = PoseEngine(
            network,
            device=device,
            precision=precision,
            buckets=buckets,
            compile_network=compute.compile_network,
        )
    return Predictor(engine, detector, calibration=calibration)
