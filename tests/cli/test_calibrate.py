"""`distilpose calibrate`, as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from bus_people import bus_people
from distilpose.model.header import read_card
from distilpose.model.load import packaged_student
from distilpose.model.weights import load, read_tensors


def calibrate(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "distilpose.cli", "calibrate", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("calibrate")
    people, people_eval = bus_people(folder / "people", 20), bus_people(folder / "eval", 7)
    paths = ("--out", folder / "out.safetensors", "--report", folder / "report")
    called = calibrate(packaged_student(), people, "--eval", people_eval, *paths)
    assert called.returncode == 0, called.stderr
    return folder, called.stdout


def test_the_weights_are_the_same_but_for_the_calibration(done: tuple[Path, str]) -> None:
    out = done[0] / "out.safetensors"
    before, after = read_tensors(packaged_student())[0], read_tensors(out)[0]
    assert before.keys() == after.keys()
    assert all((before[key] == after[key]).all() for key in before)
    assert load(out).calibration is not None


def test_the_card_says_calibrated_with_the_figures_of_both(done: tuple[Path, str]) -> None:
    card = read_card(done[0] / "out.safetensors")
    assert card.calibrated
    before, after = (figure for figure in card.reliability if figure.name == "ECE")
    assert (before.case, after.case) == ("raw scores clamped to 0..1", "calibrated")
    assert 0 <= after.value < before.value < 1
    assert "12 keypoints of eval, ground-truth boxes, no flip test" in after.protocol
    [limitation] = [each for each in card.limitations if "calibrated" in each]
    assert limitation.startswith("Scores and spreads are calibrated on keypoints")


def test_the_card_keeps_the_accuracy_that_a_calibration_does_not_change(
    done: tuple[Path, str],
) -> None:
    before = read_card(packaged_student()).accuracy
    after = read_card(done[0] / "out.safetensors").accuracy
    assert after == tuple(figure for figure in before if figure.name != "AP as served")
    assert len(after) < len(before)


def test_figures_before_and_after_are_printed(done: tuple[Path, str]) -> None:
    _, printed = done
    assert "fitted on 12 crops of 3 people" in printed
    for word in ("ECE", "Brier", "score rank", "sigma rank", "cut off", "whole", "street"):
        assert word in printed
    assert "AP of street: " in printed


def test_the_report_has_figures_and_a_picture(done: tuple[Path, str]) -> None:
    report = json.loads((done[0] / "report" / "reliability.json").read_text())
    assert report["before"]["reliability"]["all"]["keypoints"] == 12
    assert report["after"]["reports"][0]["boxes"] == "ground-truth"
    assert len(report["calibration"]["log_odds"]["joint"]) == 17
    with Image.open(done[0] / "report" / "reliability.png") as png:
        assert png.format == "PNG"


def test_a_folder_that_holds_nobody_out_is_refused(tmp_path: Path) -> None:
    people = bus_people(tmp_path / "people", 7)
    refused = calibrate(packaged_student(), people, "--out", tmp_path / "out")
    assert refused.returncode == 1
    assert "in a picture whose id 20 divides" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_a_report_needs_people_to_evaluate_on(tmp_path: Path) -> None:
    paths = ("--out", tmp_path / "out", "--report", tmp_path / "report")
    refused = calibrate(packaged_student(), tmp_path, *paths)
    assert refused.returncode == 2
    assert "--report needs --eval" in refused.stderr
