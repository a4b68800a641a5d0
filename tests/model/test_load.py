"""Loading models by name and path: calibration, teachers."""

from pathlib import Path

import pytest

from calibrations import constant_calibration
from distilpose.model import weights
from distilpose.model.errors import ConfigError, WeightsError
from distilpose.model.header import read_card
from distilpose.model.load import load_models, packaged_student
from distilpose.model.runtime import devices
from distilpose.model.runtime.devices import EngineChoice
from distilpose.model.runtime.openvino.detector import OpenVinoDetector
from distilpose.model.runtime.precision import PrecisionChoice
from distilpose.model.runtime.pytorch.teacher import TeacherEngine
from golden_rules import filled_state

CALIBRATION = constant_calibration(score=0.75, sigma_cell=1.0)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "student.safetensors"
    tensors, card, _ = weights.read_tensors(packaged_student())
    weights.write_tensors(path, tensors, card, calibration=CALIBRATION)
    return path


def test_a_calibration_is_used_where_the_weights_bring_one(calibrated: Path) -> None:
    models = load_models(weights=calibrated, device="cpu", dtype="float32", engine="torch")
    assert models.predictor.calibration == CALIBRATION
    assert models.card.calibrated


def test_a_calibration_can_be_left_out(calibrated: Path) -> None:
    models = load_models(
        weights=calibrated, device="cpu", dtype="float32", engine="torch", calibrate=False
    )
    assert models.predictor.calibration is None


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "teacher.safetensors"
    card = read_card(packaged_student()).model_copy(update={"architecture": "tokenpose-s"})
    weights.save(path, filled_state("tokenpose-s"), card)
    return path


def test_a_teacher_is_not_served(teacher: Path) -> None:
    with pytest.raises(WeightsError, match="tokenpose-s is not a student and cannot be served"):
        load_models(weights=teacher, device="cpu")


def test_a_teacher_is_taken_where_it_is_allowed(teacher: Path) -> None:
    models = load_models(
        weights=teacher, device="cpu", dtype="float32", engine="torch", allow_teacher=True
    )
    assert isinstance(models.predictor.engine, TeacherEngine)
    assert models.predictor.detector is models.detector


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_both_networks_run_on_the_engine_asked_for(engine: EngineChoice) -> None:
    models = load_models(device="cpu", dtype="float32", engine=engine, detector_image_size_px=64)
    assert models.predictor.engine.runtime == engine
    assert isinstance(models.detector, OpenVinoDetector) == (engine == "openvino")


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_both_networks_compute_in_the_precision_asked_for(dtype: PrecisionChoice) -> None:
    models = load_models(device="cpu", dtype=dtype, engine="openvino", detector_image_size_px=64)
    expected = devices.choose_precision(dtype, "cpu", "openvino")
    assert models.predictor.engine.precision == models.detector.precision == expected


def test_a_detector_too_large_for_torch_s_bfloat16_stays_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "_computes_bfloat16", lambda *_: True)
    models = load_models(device="cpu", engine="torch", detector_image_size_px=1056)
    assert models.predictor.engine.precision == "bfloat16"
    assert models.detector.precision == "float32"
    with pytest.raises(ConfigError, match="1056 is over 1024"):
        load_models(device="cpu", dtype="bfloat16", engine="torch", detector_image_size_px=1056)
