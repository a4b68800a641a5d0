"""`distilpose card`, as a user calls it."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from calibrations import constant_calibration
from distilpose.model import weights
from distilpose.model.card import Card, card_markdown
from distilpose.model.header import read_card
from distilpose.model.load import packaged_student
from distilpose.model.runtime.devices import choose_engine, choose_precision
from golden_rules import filled_state
from labelled import FRONTAL, person, picture, write_folder

CALIBRATION = constant_calibration(score=0.75, sigma_cell=1.0)
CASES = [
    "ground-truth boxes, flip test",
    "ground-truth boxes, no flip test",
    "detector boxes, flip test",
    "detector boxes, no flip test",
]
SERVED = list(
    dict.fromkeys(
        [
            "float32",
            choose_precision("auto", "cpu", choose_engine("auto", "cpu", compile_network=False)),
        ]
    )
)
"""The precisions of a card's figures on this machine."""
WORDS = {
    "version": "7",
    "source": "Copied.",
    "training_data": "Unknown.",
    "licences": ["Apache-2.0"],
    "intended_use": "Tests.",
    "limitations": ["Was not trained."],
    "failures": ["Everything."],
}


def card(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "distilpose.cli", "card", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def people_folder(folder: Path) -> Path:
    """Two sources of one small picture and one person each."""
    for picture_id, source in enumerate(("coco", "sport"), start=1):
        write_folder(folder, [picture(picture_id)], [person(picture_id, FRONTAL)], source=source)
    return folder


def text(folder: Path) -> Path:
    path = folder / "card.yaml"
    path.write_text(yaml.safe_dump(WORDS))
    return path


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "student.safetensors"
    tensors, old, _ = weights.read_tensors(packaged_student())
    weights.write_tensors(path, tensors, old, calibration=CALIBRATION)
    return path


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, calibrated: Path) -> Path:
    folder = tmp_path_factory.mktemp("card")
    people, path = people_folder(folder / "people-eval"), folder / "out.safetensors"
    done = card(calibrated, "--text", text(folder), "--eval", people, "--out", path)
    assert done.returncode == 0, done.stderr
    assert "wrote" in done.stdout
    return path


def cases(new: Card) -> list[str]:
    return list(dict.fromkeys(figure.case for figure in new.accuracy))


def test_tensors_and_calibration_are_those_of_before(out: Path, calibrated: Path) -> None:
    before, after = weights.read_tensors(calibrated)[0], weights.read_tensors(out)[0]
    assert before.keys() == after.keys()
    assert all((before[key] == after[key]).all() for key in before)
    assert weights.load(out).calibration == CALIBRATION


def test_words_are_those_of_the_text_with_what_a_calibration_leaves_open(out: Path) -> None:
    new = read_card(out)
    assert (new.version, new.intended_use, new.failures) == ("7", "Tests.", ("Everything.",))
    assert new.limitations[0] == "Was not trained."
    assert new.limitations[1].startswith("Scores and spreads are calibrated on keypoints")
    assert new.created == read_card(packaged_student()).created


def test_accuracy_is_measured_by_all_four_protocols(out: Path) -> None:
    new = read_card(out)
    assert cases(new) == CASES
    names = [figure.name for figure in new.accuracy if figure.case == CASES[0]]
    assert names[0] == "AP"
    assert names[-3:] == ["AP as served", "mean OKS", "PCK@0.2"]


def test_each_source_and_precision_has_a_protocol_with_the_command_to_measure_it_again(
    out: Path,
) -> None:
    protocols = list(dict.fromkeys(figure.protocol for figure in read_card(out).accuracy))
    cases = [(precision, source) for precision in SERVED for source in ("coco", "sport")]
    assert len(protocols) == len(cases)
    for protocol, (precision, source) in zip(protocols, cases, strict=True):
        assert f"1 people with keypoints in 1 pictures of {source}, {precision} by " in protocol
        again = f"`distilpose evaluate people-eval --source {source} --dtype {precision}`"
        assert again in protocol


def test_speed_is_measured_in_each_precision_and_size_is_told_once(out: Path) -> None:
    cost = read_card(out).cost
    assert [figure.name for figure in cost].count("GMACs") == 1
    speeds = [figure.protocol for figure in cost if figure.name == "batches of 1"]
    assert [f", {each} by " in text for each, text in zip(SERVED, speeds, strict=True)] == [
        True for _ in SERVED
    ]


def test_reliability_is_that_of_raw_and_of_calibrated_scores(out: Path) -> None:
    reliability = read_card(out).reliability
    by_case = {figure.case: figure.value for figure in reliability if figure.name == "ECE"}
    assert by_case.keys() == {"raw scores clamped to 0..1", "calibrated"}
    assert [f for f in reliability if "14 keypoints of people-eval" not in f.protocol] == []
    # Its score is constant, so it has no rank.
    names = [figure.name for figure in reliability if figure.case == "calibrated"]
    assert "score rank" not in names


def test_cost_is_size_and_speed(out: Path) -> None:
    cost = {figure.name: figure.value for figure in read_card(out).cost}
    assert (cost.pop("million parameters"), cost.pop("GMACs")) == (4.52, 0.61)
    assert "batches of 1" in cost
    assert all(value > 0 for value in cost.values())


def test_the_page_beside_it_shows_the_card(out: Path) -> None:
    assert out.with_suffix(".md").read_text() == card_markdown(read_card(out))


@pytest.mark.slow
def test_a_teacher_has_a_card_too(tmp_path: Path) -> None:
    teacher, people = tmp_path / "teacher.safetensors", people_folder(tmp_path / "people")
    old = read_card(packaged_student()).model_copy(update={"architecture": "tokenpose-s"})
    weights.save(teacher, filled_state("tokenpose-s"), old)
    path = tmp_path / "out.safetensors"
    options = ("--text", text(tmp_path), "--eval", people, "--out", path)
    done = card(teacher, *options)
    assert done.returncode == 0, done.stderr
    new = read_card(path)
    assert (new.architecture, new.calibrated, cases(new)) == ("tokenpose-s", False, CASES[:2])
    assert "A teacher is never served." in new.accuracy[0].protocol
    assert {figure.case for figure in new.reliability} == {"raw scores clamped to 0..1"}
    assert new.limitations == ("Was not trained.",)


def test_a_text_without_licences_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    path, words = tmp_path / "card.yaml", {**WORDS}
    del words["licences"]
    path.write_text(yaml.safe_dump(words))
    options = ("--text", path, "--eval", tmp_path, "--out", tmp_path / "out.safetensors")
    refused = card(packaged_student(), *options)
    assert refused.returncode == 1
    assert "card.yaml: licences: Field required" in refused.stderr
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("out.md", "must be NAME.safetensors"),
        ("missing/out.safetensors", "missing is not a folder"),
        ("page.safetensors", "page.md is a folder"),
    ],
)
def test_a_place_that_cannot_be_written_to_is_refused_at_once(
    tmp_path: Path, name: str, why: str
) -> None:
    (tmp_path / "page.md").mkdir()
    options = ("--text", text(tmp_path), "--eval", tmp_path, "--out", tmp_path / name)
    refused = card(packaged_student(), *options)
    assert refused.returncode == 2
    assert why in refused.stderr


def test_the_weights_that_are_read_are_not_replaced(tmp_path: Path) -> None:
    weights = tmp_path / "student.safetensors"
    weights.write_bytes(b"kept")
    refused = card(weights, "--text", text(tmp_path), "--eval", tmp_path, "--out", weights)
    assert refused.returncode == 2
    assert "would replace what is read" in refused.stderr
    assert weights.read_bytes() == b"kept"
