"""`distilpose train detector`, as a user calls it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from distilpose.cli import main
from distilpose.model.header import read_card
from distilpose.model.runtime.pytorch.detector import TorchDetector
from labelled import person, picture, write_folder
from tiny_people import write_people

SMALL = ("--size", "64", "--batch", "2", "--device", "cpu")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["train", "detector", *map(str, arguments)])


def refused(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 1
    return result.stderr


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run with people to measure on: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("train-detector")
    people = write_people(folder / "people")
    out = folder / "out"
    finished = call(people, "--out", out, "--epochs", 1, "--eval", people, *SMALL)
    assert finished.exit_code == 0, finished.stderr
    return out, finished.stdout


def test_the_weights_are_those_of_a_detector(done: tuple[Path, str]) -> None:
    TorchDetector.load(done[0] / "yolov8n-person.safetensors", image_size_px=64)


def test_figures_before_and_after_are_printed_with_their_protocol(done: tuple[Path, str]) -> None:
    rows = {
        tuple(line.split()[:-3]): line.split()[-3:]
        for line in done[1].splitlines()
        if line.startswith("people ")
    }
    assert list(rows) == [
        ("people", "boxes", "AP50"),
        ("people", "ground", "truth"),
        ("people", "before"),
        ("people", "after"),
    ]
    assert rows["people", "ground", "truth"][:2] == ["-", "-"]
    for boxes in ("before", "after"):
        assert all(0 <= float(figure) <= 1 for figure in rows["people", boxes])
    assert "6 people in 2 pictures of people (people), at 64 pixels" in done[1]


def test_the_card_has_the_figures_of_the_new_weights(done: tuple[Path, str]) -> None:
    card = read_card(done[0] / "yolov8n-person.safetensors")
    after = next(line for line in done[1].splitlines() if "after" in line).split()

    assert [figure.name for figure in card.accuracy] == [
        "AP50 of person boxes",
        "AP of person boxes",
    ]
    assert [f"{figure.value:.3f}" for figure in card.accuracy] == after[-3:-1]


@pytest.mark.slow
def test_a_terminated_run_saves_and_goes_on(tmp_path: Path) -> None:
    people, out = write_people(tmp_path / "people"), tmp_path / "out"
    arguments = ("train", "detector", people, "--out", out, "--budget", "10m", *SMALL)
    running = subprocess.Popen([sys.executable, "-m", "distilpose.cli", *arguments])
    deadline = time.monotonic() + 300
    while not (out / "ultralytics" / "args.yaml").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    running.send_signal(signal.SIGTERM)

    assert running.wait(timeout=300) == 0
    steps = json.loads((out / "checkpoint.json").read_text())["step"]
    assert (out / "yolov8n-person.safetensors").exists()
    resumed = call(people, "--out", out, "--epochs", steps + 1, "--resume", *SMALL)
    assert resumed.exit_code == 0, resumed.stderr
    assert json.loads((out / "checkpoint.json").read_text())["step"] == steps + 1


def test_a_length_must_be_given(tmp_path: Path) -> None:
    people = write_people(tmp_path / "people")

    said = refused(people, "--out", tmp_path / "out")

    assert "a length in epochs or a time budget" in said
    assert not (tmp_path / "out").exists()


def test_a_budget_that_is_no_time_is_refused(tmp_path: Path) -> None:
    people = write_people(tmp_path / "people")

    assert "--budget soon" in refused(people, "--out", tmp_path, "--budget", "soon")


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    people = write_people(tmp_path / "people")
    start = ("--start-from", tmp_path / "lost.safetensors", "--epochs", 1)

    said = refused(people, "--out", tmp_path / "out", *start, *SMALL)

    assert "lost.safetensors: no such file" in said


def test_a_folder_with_another_runs_checkpoint_is_not_begun_in(tmp_path: Path) -> None:
    people = write_people(tmp_path / "people")
    (tmp_path / "checkpoint.pt").write_bytes(b"of a run")

    said = refused(people, "--out", tmp_path, "--epochs", 1, *SMALL)

    assert "already has the checkpoint.pt of a run; continue it with --resume" in said
    assert (tmp_path / "checkpoint.pt").read_bytes() == b"of a run"


def test_people_that_cannot_be_measured_on_are_refused_before_the_training(tmp_path: Path) -> None:
    people = write_people(tmp_path / "people")
    write_folder(tmp_path / "crowds", [picture(1)], [person(1, iscrowd=1)])
    measured_on = ("--eval", tmp_path / "crowds", "--epochs", 1)

    said = refused(people, "--out", tmp_path / "out", *measured_on, *SMALL)

    assert "crowds: nobody to find in 1 complete pictures" in said
    assert not (tmp_path / "out" / "ultralytics").exists()
