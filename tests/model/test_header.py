"""Headers of weights files, read without torch."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from distilpose.model.errors import WeightsError
from distilpose.model.header import checked_config, digest_of, read_card, read_header
from distilpose.model.load import packaged_student


def test_a_header_is_card_calibration_and_digest() -> None:
    header = read_header(packaged_student())
    assert header.card == read_card(packaged_student())
    assert header.card.calibrated
    assert header.calibration is not None
    assert header.sha256 == hashlib.sha256(packaged_student().read_bytes()).hexdigest()
    assert read_header(packaged_student(), sha256=header.sha256.upper()) == header


def test_another_digest_is_refused() -> None:
    with pytest.raises(WeightsError, match=f"sha256 is {digest_of(packaged_student())}, expected"):
        read_header(packaged_student(), sha256="00" * 32)


def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"{}")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        read_header(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["yolo26n-pose-trunk", "distilpose-xxl"])
def test_a_network_that_cannot_be_built_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match=f"w.safetensors: .*{name}"):
        checked_config(name, Path("w.safetensors"))


@pytest.mark.parametrize("module", ["service.server", "service.offline", "model.load"])
def test_what_serves_imports_neither_torch_nor_what_else_is_slow(module: str) -> None:
    program = f"""
import sys
import distilpose.{module}
print({{"torch", "ultralytics", "scipy"}} & sys.modules.keys())
"""
    shown = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert shown.strip() == "set()"
