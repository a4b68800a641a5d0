"""From names and paths to models ready on a device. Reads no settings of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal

from distilpose.model import devices
from distilpose.model.detector import PersonDetector
from distilpose.model.engine import PoseEngine, powers_of_two
from distilpose.model.errors import WeightsError
from distilpose.model.networks import Student
from distilpose.model.predict import Predictor
from distilpose.model.weights import Card, load

_PACKAGED: Final = "packaged"
_CPU_POSE_BATCH: Final = 8
_GPU_POSE_BATCH: Final = 256


@dataclass(frozen=True, slots=True)
class Models:
    """A predictor, and where its student comes from."""

    predictor: Predictor
    detector: PersonDetector
    """The predictor's own, which is always there."""
    card: Card
    sha256: str
    """Digest of the student's file."""


def packaged_student() -> Path:
    """The student weights that ship with this package."""
    return Path(str(files("distilpose.model"))) / _PACKAGED / "distilpose-s.safetensors"


def load_models(
    *,
    weights: Path | None = None,
    sha256: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    compile_network: Literal["auto", "on", "off"] = "auto",
    pose_max_batch: int | None = None,
    buckets: Sequence[int] | None = None,
    detector: Path | None = None,
    detector_image_size_px: int = 640,
    detector_iou: float = 0.6,
    calibrate: bool = True,
) -> Models:
    """Student and detector on one device; None means the packaged weights and automatic sizes.

    With `calibrate`, scores are calibrated where the weights bring a calibration.

    Raises:
        WeightsError: a file is missing, unreadable, of a network that is no student, or not the
            one of `sha256`.
        ConfigError: the device or the precision is not available.
    """
    chosen = devices.choose_device(device)
    path = weights or packaged_student()
    loaded = load(path, sha256=sha256)
    if not isinstance(loaded.network, Student):
        raise WeightsError(f"{path}: {loaded.card.architecture} is no student and cannot be served")
    max_batch = pose_max_batch or (_CPU_POSE_BATCH if chosen.type == "cpu" else _GPU_POSE_BATCH)
    engine = PoseEngine(
        loaded.network,
        device=chosen,
        dtype=devices.choose_dtype(dtype, chosen),
        buckets=buckets or powers_of_two(max_batch),
        compile_network=devices.choose_compile(compile_network, chosen),
    )
    person_detector = PersonDetector.load(
        detector,
        device=str(chosen),
        image_size_px=detector_image_size_px,
        iou_threshold=detector_iou,
    )
    calibration = loaded.calibration if calibrate else None
    predictor = Predictor(engine, person_detector, calibration=calibration)
    return Models(predictor, person_detector, loaded.card, loaded.sha256)
