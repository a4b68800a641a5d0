"""Load models onto a device, by name or path. Reads no settings itself.

Torch is imported only where it is needed: not for networks that OpenVINO runs from a cache.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import cv2

from distilpose.model.card import Card
from distilpose.model.container import usable_cpus
from distilpose.model.errors import WeightsError
from distilpose.model.files.cache import FileCache
from distilpose.model.header import Header, checked_config, read_header
from distilpose.model.predict import Predictor
from distilpose.model.runtime import devices
from distilpose.model.runtime.detector import BFLOAT16_LARGEST_PX, PACKAGED, PersonDetector
from distilpose.model.runtime.devices import DeviceKind, EngineChoice, Runtime
from distilpose.model.runtime.engine import PoseEngine, powers_of_two
from distilpose.model.runtime.openvino import loading as openvino
from distilpose.model.runtime.precision import Precision, PrecisionChoice

logger = logging.getLogger(__name__)

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
    threads: int | None = None,
    pose_max_batch: int | None = None,
    buckets: Sequence[int] | None = None,
    detector: Path | None = None,
    detector_image_size_px: int = 640,
    detector_iou: float = 0.6,
    calibrate: bool = True,
    allow_teacher: bool = False,
    cache: FileCache | None = None,
) -> Models:
    """Load student and detector; None means packaged weights and automatic sizes.

    On a CPU they use `threads`, one for each CPU that this container may use for None; OpenCV gets
    one. With `calibrate`, scores are calibrated if the weights include a calibration. With
    `allow_teacher`, a teacher may take the student's place for measuring; it runs in torch's eager
    mode, regardless of the detector's `engine`. Programs of OpenVINO are kept in the `cache`.

    Raises:
        WeightsError: a file is missing or unreadable, its network is not a student, or its digest
            is not `sha256`.
        ConfigError: the device, the precision or the engine is not available.
    """
    cv2.setNumThreads(1)  # its calls already run in as many decode threads
    compute = _choose(device, dtype, engine, compile_network, threads or usable_cpus())
    path = weights or packaged_student()
    header = read_header(path, sha256=sha256)
    role = checked_config(header.card.architecture, path).role
    if role == "teacher" and not allow_teacher:
        raise WeightsError(
            f"{path}: {header.card.architecture} is not a student and cannot be served"
        )
    person_detector = _load_detector(
        detector or PACKAGED,
        compute._replace(precision=_detector_precision(dtype, compute, detector_image_size_px)),
        image_size_px=detector_image_size_px,
        iou_threshold=detector_iou,
        cache=cache,
    )
    logger.info("detector %s, sha256 %s", person_detector.name, person_detector.sha256)
    on_cpu = compute.device == "cpu"
    max_batch = pose_max_batch or (_CPU_POSE_BATCH if on_cpu else _GPU_POSE_BATCH)
    pose_engine = _load_engine(
        path,
        header,
        compute._replace(runtime="torch") if role == "teacher" else compute,
        # A CPU pays for padding in full, and has few sizes to warm up.
        buckets=buckets or powers_of_two(max_batch, each_up_to=_CPU_POSE_BATCH if on_cpu else 1),
        cache=cache,
    )
    calibration = header.calibration if calibrate and role == "student" else None
    predictor = Predictor(pose_engine, person_detector, calibration=calibration)
    return Models(predictor, person_detector, header.card, header.sha256)


class _Compute(NamedTuple):
    """The device, precision, runtime and threads of a network."""

    device: DeviceKind
    precision: Precision
    compile_network: bool
    runtime: Runtime
    threads: int


def _choose(
    device: str,
    dtype: PrecisionChoice,
    engine: EngineChoice,
    compile_network: Literal["auto", "on", "off"],
    threads: int,
) -> _Compute:
    kind = devices.choose_device(device)
    compiled = devices.choose_compile(compile_network, kind)
    runtime = devices.choose_engine(engine, kind, compile_network=compiled)
    precision = devices.choose_precision(dtype, kind, runtime)
    return _Compute(kind, precision, compiled, runtime, threads)


def _detector_precision(dtype: PrecisionChoice, compute: _Compute, image_size_px: int) -> Precision:
    by_torch = compute.runtime == "torch"
    too_large = by_torch and image_size_px > BFLOAT16_LARGEST_PX
    return "float32" if dtype == "auto" and too_large else compute.precision


def _load_detector(
    path: Path, compute: _Compute, *, cache: FileCache | None, **options: Any
) -> PersonDetector:
    if compute.runtime == "openvino":
        return openvino.load_detector(
            path, precision=compute.precision, threads=compute.threads, cache=cache, **options
        )
    from distilpose.model.runtime.pytorch import loading as torch_loading  # noqa: PLC0415 - takes seconds

    return torch_loading.load_detector(
        path,
        device=compute.device,
        precision=compute.precision,
        threads=compute.threads,
        **options,
    )


def _load_engine(
    path: Path,
    header: Header,
    compute: _Compute,
    *,
    buckets: Sequence[int],
    cache: FileCache | None,
) -> PoseEngine:
    if compute.runtime == "openvino":
        return openvino.load_student(
            path,
            header.sha256,
            precision=compute.precision,
            threads=compute.threads,
            buckets=buckets,
            cache=cache,
        )
    from distilpose.model.runtime.pytorch import loading as torch_loading  # noqa: PLC0415 - takes seconds

    return torch_loading.load_engine(
        path,
        header.sha256,
        device=compute.device,
        precision=compute.precision,
        threads=compute.threads,
        buckets=buckets,
        compile_network=compute.compile_network,
    )
