"""Models from names and paths: what the weights' calibration does to them."""

from pathlib import Path

import pytest

from calibrations import constant_calibration
from distilpose.model import weights
from distilpose.model.load import load_models, packaged_student

CALIBRATION = constant_calibration(score=0.75, sigma_cell=1.0)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "student.safetensors"
    tensors, card, _ = weights.read_tensors(packaged_student())
    weights.write_tensors(path, tensors, card, calibration=CALIBRATION)
    return path


def test_a_calibration_is_used_where_the_weights_bring_one(calibrated: Path) -> None:
    models = load_models(weights=calibrated, device="cpu", dtype="float32")
    assert models.predictor.calibration == CALIBRATION
    assert models.card.calibrated


def test_a_calibration_can_be_left_out(calibrated: Path) -> None:
    models = load_models(weights=calibrated, device="cpu", dtype="float32", calibrate=False)
    assert models.predictor.calibration is None
