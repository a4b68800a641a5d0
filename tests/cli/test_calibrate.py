"""`distilpose calibrate`, as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distilpose.model.load import packaged_student
from distilpose.model.weights import load, read_card, read_tensors
from photos import BUS_BOXES_XYXY_PX, BUS_SIZE_WH, photo


def calibrate(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "distilpose.cli", "calibrate", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def people_folder(folder: Path, picture_id: int) -> Path:
    """The bus photo, its first three people labelled: shoulders by eye, ankles on their heads."""
    folder.mkdir()
    (folder / "bus.jpg").write_bytes(photo("bus.jpg"))
    annotations = []
    for number, (x1, y1, x2, y2) in enumerate(BUS_BOXES_XYXY_PX[:3], start=1):
        width, height = x2 - x1, y2 - y1
        keypoints = np.zeros((17, 3))
        for joint, (x, y) in {5: (0.6, 0.2), 6: (0.3, 0.2), 15: (0.5, 0), 16: (0.5, 0)}.items():
            keypoints[joint] = x1 + x * width, y1 + y * height, 2
        person: dict[str, Any] = {
            "id": number,
            "image_id": picture_id,
            "category_id": 1,
            "bbox": [x1, y1, width, height],
            "area": width * height / 2,
            "keypoints": keypoints.ravel().tolist(),
            "num_keypoints": 4,
            "iscrowd": 0,
        }
        annotations.append(person)
    width, height = BUS_SIZE_WH
    image = {"id": picture_id, "file_name": "bus.jpg", "width": width, "height": height}
    categories = [{"id": 1, "name": "person"}]
    document = {"images": [image], "annotations": annotations, "categories": categories}
    (folder / "street.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("calibrate")
    people, people_eval = people_folder(folder / "people", 20), people_folder(folder / "eval", 7)
    paths = ("--out", folder / "out.safetensors", "--report", folder / "report")
    called = calibrate(packaged_student(), people, "--eval", people_eval, *paths, "--draws", 2)
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
    assert "fitted on 6 crops of 3 people" in printed
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
    people = people_folder(tmp_path / "people", 7)
    refused = calibrate(packaged_student(), people, "--out", tmp_path / "out")
    assert refused.returncode == 1
    assert "in a picture whose id 20 divides" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_a_report_needs_people_to_evaluate_on(tmp_path: Path) -> None:
    paths = ("--out", tmp_path / "out", "--report", tmp_path / "report")
    refused = calibrate(packaged_student(), tmp_path, *paths)
    assert refused.returncode == 2
    assert "--report needs --eval" in refused.stderr
