"""The composition of the service."""

import asyncio
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from prometheus_client import CollectorRegistry

from calibrations import constant_calibration
from damaged import damage, flip_exponents
from distilpose.model import weights
from distilpose.model.errors import NotFinite
from distilpose.model.load import Models, load_models, packaged_student
from distilpose.model.pictures.source import EncodedImage
from distilpose.model.runtime.detector import PACKAGED
from distilpose.model.runtime.pytorch.detector import TorchDetector
from distilpose.model.runtime.pytorch.engine import TorchEngine
from distilpose.service import app
from distilpose.service.app import Service
from distilpose.service.domain import Options, PoseRequest
from distilpose.service.errors import Internal
from distilpose.service.settings import (
    BatchingSettings,
    DetectorSettings,
    ModelSettings,
    Settings,
)
from odd_images import encode

SMALL: Final = BatchingSettings(pose_max_batch=1)


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


@pytest.mark.parametrize("network", ["student", "detector"])
async def test_damaged_weights_prevent_the_start(tmp_path: Path, network: str) -> None:
    path = tmp_path / "damaged.safetensors"
    settings = (
        Settings(model=ModelSettings(weights=damage(packaged_student(), path)), batching=SMALL)
        if network == "student"
        else Settings(detector=DetectorSettings(weights=damage(PACKAGED, path)), batching=SMALL)
    )
    service = Service(settings, CollectorRegistry())
    with pytest.raises(NotFinite, match=f"the {network} answered a fixed"):
        await service.start()
    assert not service.ready
    await service.close()


@pytest.mark.parametrize("network", ["student", "detector"])
async def test_weights_damaged_in_memory_end_the_service(
    monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    loaded: list[Models] = []

    def load(**options: Any) -> Models:
        loaded.append(load_models(**options))
        return loaded[-1]

    monkeypatch.setattr(app, "load_models", load)
    service = Service(
        Settings(model=ModelSettings(engine="torch"), batching=SMALL), CollectorRegistry()
    )
    lost = asyncio.Event()
    service.on_lost = lambda _: lost.set()
    await service.start()
    assert service.ready
    [models] = loaded
    engine, detector = models.predictor.engine, models.detector
    assert isinstance(engine, TorchEngine)
    assert isinstance(detector, TorchDetector)
    module = engine.network if network == "student" else detector._module
    with torch.inference_mode():
        for parameter in module.parameters():
            parameter.copy_(flip_exponents(parameter))
    photo = EncodedImage(encode(np.full((64, 64, 3), 200, np.uint8), "png"))
    options = Options(0.25, 50, 0.3, whole_image=network == "student")
    answer = await service.pipeline.estimate(PoseRequest([photo], options, time.monotonic() + 60))
    assert isinstance(answer.failure, Internal)
    await asyncio.wait_for(lost.wait(), 60)
    assert not service.ready
    await service.close()
