"""Networks whose weights are damaged are noticed by their answer to a fixed picture."""

from pathlib import Path

import pytest

from damaged import damage
from distilpose.model.errors import NotFinite
from distilpose.model.load import load_models, packaged_student
from distilpose.model.runtime.detector import PACKAGED
from distilpose.model.runtime.devices import EngineChoice
from distilpose.model.runtime.trial import check_detector, check_student


@pytest.fixture(params=["torch", "openvino"])
def engine(request: pytest.FixtureRequest) -> EngineChoice:
    """Each runtime in turn."""
    choice: EngineChoice = request.param
    return choice


def test_the_packaged_networks_pass(engine: EngineChoice) -> None:
    models = load_models(device="cpu", engine=engine, pose_max_batch=1)
    check_student(models.predictor.engine)
    check_detector(models.detector)


def test_networks_with_flipped_bits_do_not_pass(engine: EngineChoice, tmp_path: Path) -> None:
    models = load_models(  # which finds only finite numbers in the files
        weights=damage(packaged_student(), tmp_path / "student.safetensors"),
        detector=damage(PACKAGED, tmp_path / "detector.safetensors"),
        device="cpu",
        engine=engine,
        pose_max_batch=1,
    )
    with pytest.raises(NotFinite, match="the student answered a fixed crop with NaN or infinity"):
        check_student(models.predictor.engine)
    with pytest.raises(NotFinite, match="the detector answered a fixed picture with NaN"):
        check_detector(models.detector)
