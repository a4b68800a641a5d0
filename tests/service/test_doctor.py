"""Findings about this machine."""

from pathlib import Path

import pytest

from distilpose.model.formats import ACCEPTED
from distilpose.service.doctor import Finding, findings
from distilpose.service.settings import Settings


def found(settings: Settings) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings(settings)}


@pytest.fixture(scope="module")
def healthy() -> dict[str, Finding]:
    return found(Settings())


def test_everything_that_serving_needs_is_looked_at(healthy: dict[str, Finding]) -> None:
    codecs = [name for name, each in ACCEPTED.items() if each.pillow_codec or each.package]
    assert list(healthy) == ["cpus", "torch", "device", "precision", "weights", "jpeg", *codecs]
    assert all(finding.is_fine for finding in healthy.values())


def test_the_packaged_student_is_named_with_the_time_of_a_crop(healthy: dict[str, Finding]) -> None:
    assert healthy["weights"].text.startswith("distilpose-n ")
    assert healthy["weights"].text.endswith(" ms a crop")


def test_weights_that_are_missing_are_a_problem_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    there = found(Settings.model_validate({"model": {"weights": tmp_path / "none.safetensors"}}))
    assert "none.safetensors: no such file" in there["models"].text
    assert not there["models"].is_fine
    assert there["jpeg"].is_fine
    assert "weights" not in there
