"""The composition of the service."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from calibrations import constant_calibration
from distilpose.model import weights
from distilpose.model.load import packaged_student
from distilpose.service.app import Service
from distilpose.service.settings import BatchingSettings, ModelSettings, Settings


@pytest.mark.parametrize("calibrate", [True, False])
async def test_calibrated_weights_answer_so_unless_the_settings_forbid(
    tmp_path: Path, calibrate: bool
) -> None:
    path = tmp_path / "student.safetensors"
    tensors, card, _ = weights.read_tensors(packaged_student())
    calibration = constant_calibration(score=0.75, sigma_cell=1.0)
    weights.write_tensors(path, tensors, card, calibration=calibration)
    settings = Settings(
        model=ModelSettings(weights=path, calibrate=calibrate),
        batching=BatchingSettings(pose_max_batch=1),
    )
    service = Service(settings, CollectorRegistry())
    await service.start()
    try:
        assert service.model.calibrated is calibrate
        assert service.pipeline.means.calibration == (calibration if calibrate else None)
    finally:
        await service.close()
