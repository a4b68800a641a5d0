"""`distilpose evaluate`, as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distilpose.model import weights
from distilpose.model.header import read_card
from distilpose.model.load import packaged_student
from distilpose.model.measure import gallery
from distilpose.model.measure.evaluate import MIN_BOX_SCORE
from golden_rules import filled_state
from photos import photo


def evaluate(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "distilpose.cli", "evaluate", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def coco_folder(folder: Path, *, label: str = "human") -> Path:
    """The bus photo with one person labelled, by eye, and one without keypoints."""
    folder.mkdir()
    (folder / "000000000007.jpg").write_bytes(photo("bus.jpg"))
    keypoints = np.zeros((17, 3))
    by_eye = {0: (140, 440), 5: (160, 490), 6: (90, 495), 11: (160, 640), 12: (105, 640)}
    for joint, xy in by_eye.items():
        keypoints[joint] = *xy, 2
    person: dict[str, Any] = {"category_id": 1, "image_id": 7, "iscrowd": 0, "label": label}
    annotations = [
        person
        | {"id": 1, "bbox": [50, 397, 195, 508], "area": 52000, "num_keypoints": 5}
        | {"keypoints": keypoints.ravel().tolist()},
        person | {"id": 2, "bbox": [0, 550, 58, 318], "area": 9000},
    ]
    document = {
        "images": [{"id": 7, "file_name": "000000000007.jpg", "width": 810, "height": 1080}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }
    (folder / "people.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("student")
    options = ("--json", folder / "pictures" / "report.json", "--pictures", folder / "pictures")
    done = evaluate(coco_folder(folder / "data"), *options)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A teacher evaluated with detector boxes, on a person labelled by machine."""
    folder = tmp_path_factory.mktemp("teacher")
    card = read_card(packaged_student()).model_copy(update={"architecture": "tokenpose-s"})
    weights.save(folder / "teacher.safetensors", filled_state("tokenpose-s"), card)
    options = ("--weights", folder / "teacher.safetensors", "--json", folder / "report.json")
    data = coco_folder(folder / "data", label="pseudo")
    boxes = ("--boxes", "detector", "--min-box-score", "0.25")
    done = evaluate(data, *options, *boxes, "--no-flip-test")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def report(done: tuple[Path, str]) -> Any:
    [path] = done[0].rglob("report.json")
    return json.loads(path.read_text())


def test_figures_and_protocol_are_printed(student: tuple[Path, str]) -> None:
    _, printed = student
    for word in ("published", "served", "AP50", "mean OKS", "PCK@0.2", "Flip test: on"):
        assert word in printed
    for word in ("4.52 M parameters, 0.61 GMACs", "crops/s in batches of", "ECE", "whole"):
        assert word in printed


def test_pictures_are_drawn(student: tuple[Path, str]) -> None:
    for sheet in ("worst", "random"):
        with Image.open(student[0] / "pictures" / f"{sheet}.png") as picture:
            assert picture.size[1] > 300


def test_the_worst_people_are_drawn_and_listed(student: tuple[Path, str]) -> None:
    drawn = [path.name for path in (student[0] / "pictures").glob("01-annotation-1-oks-*.png")]
    assert len(drawn) == 1
    assert drawn[0] in (student[0] / "pictures" / "worst.csv").read_text()


def test_the_report_has_the_figures(student: tuple[Path, str]) -> None:
    figures = report(student)
    assert (figures["people"], figures["coco_ids"]) == (1, [7])
    assert (figures["boxes"], figures["flip_test"]) == ("ground-truth", True)
    assert figures["mean_oks"] > 0.3


def test_the_report_has_network_cost_speed_and_reliability(student: tuple[Path, str]) -> None:
    figures, card = report(student), read_card(packaged_student())
    assert figures["network"]["version"] == card.version
    assert figures["network"]["calibrated"] == card.calibrated
    assert figures["cost"]["parameters"] == 4_518_030
    assert figures["speed"]["crops_per_second"] > 0
    assert figures["speed"].keys() >= {"batch_size", "runtime", "device", "dtype", "threads"}
    assert figures["reliability"]["all"]["keypoints"] == 5
    assert figures["reliability"]["whole"] == figures["reliability"]["all"]
    assert 0 < figures["reliability"]["whole"]["ece"] < 0.5


def test_detector_boxes_and_flip_test_are_chosen(teacher: tuple[Path, str]) -> None:
    figures = report(teacher)
    assert (figures["boxes"], figures["flip_test"]) == ("detector", False)
    assert figures["min_box_score"] == 0.25
    assert "Boxes: the detector's, from score 0.25." in figures["protocol"]


def test_box_recall_is_reported_and_printed(teacher: tuple[Path, str]) -> None:
    assert report(teacher)["box_recall"]["large"] == {"people": 1, "found": 1, "recall": 1}
    assert "box recall 1.000 of 1 (- of 0 small, - of 0 medium, 1.000 of 1 large)" in teacher[1]


def test_a_teacher_is_measured_and_its_scores_explained(teacher: tuple[Path, str]) -> None:
    figures = report(teacher)
    assert figures["network"]["architecture"] == "tokenpose-s"
    assert figures["protocol"][-1].startswith("A teacher is never served. Its raw scores are the ")
    assert "A teacher is never served." in teacher[1]


def test_scores_of_people_whom_only_machines_labelled_are_not_judged(
    teacher: tuple[Path, str],
) -> None:
    figures = report(teacher)
    assert figures["people"] == 1
    assert figures["reliability"] == {}


def test_a_folder_that_cannot_be_measured_is_named(tmp_path: Path) -> None:
    done = evaluate(tmp_path)
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr


def test_a_least_box_score_without_detector_boxes_is_a_usage_error(tmp_path: Path) -> None:
    done = evaluate(tmp_path, "--min-box-score", "0.25")
    assert done.returncode == 2
    assert "--min-box-score needs --boxes detector" in done.stderr


def test_a_least_box_score_that_is_none_is_a_usage_error(tmp_path: Path) -> None:
    done = evaluate(tmp_path, "--boxes", "detector", "--min-box-score", "nan")
    assert done.returncode == 2
    assert "nan is not in the range 0<=x<=1" in done.stderr


def test_pictures_are_not_written_over_others(tmp_path: Path) -> None:
    data = coco_folder(tmp_path / "data")
    done = evaluate(data, "--pictures", data)
    assert done.returncode == 2
    assert f"{data}: is not empty" in done.stderr


def test_a_report_in_no_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    done = evaluate(tmp_path, "--json", tmp_path / "missing" / "report.json")
    assert done.returncode == 2
    assert "missing is not a folder" in done.stderr


def refused_outputs(folder: Path, report: str, *more: object) -> str:
    done = evaluate(folder, "--json", folder / report, *more)
    assert done.returncode == 2, done.stderr
    return done.stderr


def test_a_report_that_cannot_be_written_or_is_an_input_is_refused_before_the_work(
    tmp_path: Path,
) -> None:
    data = coco_folder(tmp_path / "data")
    before = (data / "people.json").read_bytes()
    assert "cannot be written to" in refused_outputs(data, "/proc/x.json")
    assert "would replace what is read" in refused_outputs(data, "people.json")
    assert (data / "people.json").read_bytes() == before


def test_a_report_does_not_replace_the_weights_that_are_measured(tmp_path: Path) -> None:
    data, weights_file = coco_folder(tmp_path / "data"), tmp_path / "own.safetensors"
    weights_file.write_bytes(b"mine")
    options = ("--weights", weights_file, "--json", weights_file, "--overwrite")
    done = evaluate(data, *options)
    assert done.returncode == 2
    assert "would replace what is read" in done.stderr
    assert weights_file.read_bytes() == b"mine"


def test_a_report_among_the_pictures_has_a_name_that_none_of_them_has(tmp_path: Path) -> None:
    pictures = ("--pictures", tmp_path / "new")
    for name in ("worst.csv", "random.png", ".gitignore"):
        assert "end in .json" in refused_outputs(tmp_path, f"new/{name}", *pictures)
    assert "new: is the folder of --pictures too" in refused_outputs(tmp_path, "new", *pictures)


def test_help_has_the_figures_that_are_used() -> None:
    text = " ".join(evaluate("--help").stdout.split())
    assert f"[default: {MIN_BOX_SCORE}]" in text
    assert "twenty worst" in text
    assert gallery.WORST == 20
