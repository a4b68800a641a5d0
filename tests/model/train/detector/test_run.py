import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from distilpose.model.data.people import PeopleFolder
from distilpose.model.errors import WeightsError
from distilpose.model.header import read_card
from distilpose.model.runtime.detector import PACKAGED
from distilpose.model.runtime.pytorch.detector import TorchDetector
from distilpose.model.train.detector.data import DetectorData, write_detector_data
from distilpose.model.train.detector.figures import BoxFigures
from distilpose.model.train.detector.run import DetectorRun, add_figures
from distilpose.model.train.detector.trainer import DetectorSettings
from distilpose.model.train.loop import TrainingFailed
from distilpose.model.weights import read_tensors, write_tensors
from tiny_people import write_people


def settings(**changed: Any) -> DetectorSettings:
    return DetectorSettings(**({"epochs": 2, "image_size_px": 64, "batch_size": 2} | changed))


def written(folder: Path) -> DetectorData:
    return write_detector_data(PeopleFolder(write_people(folder / "people")), folder / "data")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DetectorData:
    return written(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def done(data: DetectorData, tmp_path_factory: pytest.TempPathFactory) -> DetectorRun:
    """Two steps from the packaged weights."""
    run = DetectorRun(settings(), data, tmp_path_factory.mktemp("done"))
    run.fit()
    return run


@pytest.fixture
def interrupted(data: DetectorData, tmp_path: Path) -> DetectorRun:
    """Stopped after one step of four."""
    run = DetectorRun(settings(epochs=4), data, tmp_path / "interrupted")

    def stop(*_: object) -> None:
        run.stopping = True

    run.on_step = stop
    run.fit()
    return run


def test_a_run_ends_with_its_last_epoch(done: DetectorRun) -> None:
    assert done.share == 1
    assert done.progress.step == 2


def test_a_detector_can_be_made_of_the_weights(done: DetectorRun) -> None:
    detector = TorchDetector.load(done.weights_path, image_size_px=64)

    assert detector.name == "yolov8n-person"


def test_the_weights_have_the_form_of_the_packaged_ones_and_are_others(done: DetectorRun) -> None:
    before, _, _ = read_tensors(PACKAGED)
    after, _, _ = read_tensors(done.weights_path)

    assert {name: (t.dtype, t.shape) for name, t in after.items()} == {
        name: (t.dtype, t.shape) for name, t in before.items()
    }
    assert not torch.equal(before["model.0.conv.weight"], after["model.0.conv.weight"])


def test_the_card_says_how_the_weights_were_made(done: DetectorRun) -> None:
    card, packaged = read_card(done.weights_path), read_card(PACKAGED)

    assert "2 steps of 2 pictures at 64 pixels, from yolov8n-person, version 1" in card.source
    assert card.training_data == f"2 pictures of people; before that: {packaged.training_data}"
    assert card.licences[: len(packaged.licences)] == packaged.licences
    assert len(card.licences) > len(packaged.licences)


def test_a_run_leaves_weights_checkpoint_and_log(done: DetectorRun) -> None:
    names = {path.name for path in done.out.iterdir()}
    assert names == {"checkpoint.json", "checkpoint.pt", "ultralytics", done.weights_path.name}
    log = (done.out / "ultralytics" / "results.csv").read_text().splitlines()
    assert log[0].startswith("epoch,time,train/box_loss,train/cls_loss,train/dfl_loss")
    assert len(log) == 3


def test_random_weights_are_trained_too(data: DetectorData, tmp_path: Path) -> None:
    run = DetectorRun(settings(epochs=1, start_from=None), data, tmp_path)

    run.fit()

    card = read_card(run.weights_path)
    assert "from random weights" in card.source
    assert "before that" not in card.training_data
    assert "AGPL-3.0" in card.licences[0]


def test_a_trained_network_learns_more_slowly_than_a_random_one(
    done: DetectorRun, data: DetectorData, tmp_path: Path
) -> None:
    random = DetectorRun(settings(epochs=1, start_from=None), data, tmp_path)
    rates: list[float] = []
    random.on_step = lambda share, losses: rates.append(random.rate)

    random.fit()

    assert rates[0] > 5 * done.rate


def test_an_interrupted_run_saves_what_it_has(interrupted: DetectorRun) -> None:
    assert interrupted.progress.step == 1
    assert interrupted.weights_path.exists()
    assert json.loads(interrupted.checkpoint_path.with_suffix(".json").read_text())["step"] == 1


def test_a_resumed_run_goes_on_to_its_end(interrupted: DetectorRun) -> None:
    shares: list[float] = []
    resumed = DetectorRun(
        settings(epochs=4),
        interrupted.data,
        interrupted.out,
        on_step=lambda share, losses: shares.append(share),
    )

    resumed.fit(resume=True)

    assert shares == [0.5, 0.75, 1]
    assert "4 steps" in read_card(resumed.weights_path).source


def test_a_resumed_run_begins_with_the_weights_of_the_checkpoint(interrupted: DetectorRun) -> None:
    before, _, _ = read_tensors(interrupted.weights_path)
    # Its length is over: one step is taken, at the lowest rate.
    resumed = DetectorRun(settings(epochs=1), interrupted.data, interrupted.out)

    resumed.fit(resume=True)

    after, _, _ = read_tensors(resumed.weights_path)
    name = "model.22.cv3.0.2.weight"
    packaged = read_tensors(PACKAGED)[0][name].float()
    moved = (after[name].float() - before[name].float()).abs().max()
    assert moved < (after[name].float() - packaged).abs().max()


def test_a_time_budget_ends_a_run(data: DetectorData, tmp_path: Path) -> None:
    ticks = itertools.count(0, 10)
    run = DetectorRun(
        settings(epochs=None, budget_seconds=120), data, tmp_path, clock=lambda: next(ticks)
    )

    run.fit()

    assert run.share == 1
    assert 1 <= run.progress.step < 6


def test_a_resumed_budget_is_what_was_left(interrupted: DetectorRun) -> None:
    path = interrupted.checkpoint_path.with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"spent_seconds": 90}))
    shares: list[float] = []
    resumed = DetectorRun(
        settings(epochs=None, budget_seconds=120),
        interrupted.data,
        interrupted.out,
        on_step=lambda share, losses: shares.append(share),
        clock=itertools.count(0, 1).__next__,
    )

    resumed.fit(resume=True)

    assert 0.75 < shares[0] < 1
    assert shares[-1] == 1


def test_a_run_without_a_checkpoint_cannot_go_on(data: DetectorData, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"checkpoint\.json: no such file"):
        DetectorRun(settings(), data, tmp_path).fit(resume=True)


def test_a_run_on_other_data_cannot_go_on(interrupted: DetectorRun, tmp_path: Path) -> None:
    people = write_people(tmp_path / "others", label="doubtful")
    document = json.loads((people / "people.json").read_text())
    document["annotations"][0]["label"] = "human"
    (people / "people.json").write_text(json.dumps(document))
    other = write_detector_data(PeopleFolder(people), tmp_path / "data")

    with pytest.raises(WeightsError, match="was trained on other data"):
        DetectorRun(settings(), other, interrupted.out).fit(resume=True)


def test_weights_of_another_network_are_refused(data: DetectorData, tmp_path: Path) -> None:
    tensors, card, _ = read_tensors(PACKAGED)
    del tensors["model.0.conv.weight"]
    write_tensors(tmp_path / "cut.safetensors", tensors, card)

    with pytest.raises(WeightsError, match=r"cut\.safetensors: not every tensor fits"):
        DetectorRun(settings(start_from=tmp_path / "cut.safetensors"), data, tmp_path).fit()


def test_a_loss_that_is_no_number_ends_the_run(data: DetectorData, tmp_path: Path) -> None:
    run = DetectorRun(settings(), data, tmp_path)

    with pytest.raises(TrainingFailed, match="box_loss not finite by step 1; not saved"):
        run.after_step({"box_loss": float("nan"), "cls_loss": 1.0})


def test_measured_figures_stand_in_the_card(done: DetectorRun, tmp_path: Path) -> None:
    path = tmp_path / "measured.safetensors"
    path.write_bytes(done.weights_path.read_bytes())
    figures = BoxFigures(0.75, 0.5, "1 people in 1 pictures").for_card()

    add_figures(path, figures)
    add_figures(path, figures)

    assert read_card(path).accuracy == figures
    assert read_card(path).source == read_card(done.weights_path).source


# Runs in a separate process: audit hooks record Python's actions even if errors are swallowed.
OBSERVED_RUN = """
import json, os, sys
from pathlib import Path
import PIL.Image, torch

FOLDER = os.path.realpath(sys.argv[1])
seen = []

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        seen.append(f"network: {event} {arguments}")
    elif event == "subprocess.Popen":
        seen.append(f"process: {arguments[1]}")
    elif event == "open" and isinstance(arguments[0], (str, bytes)):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if arguments[2] & (os.O_WRONLY | os.O_RDWR) and not path.startswith((FOLDER, "/dev/")):
            seen.append(f"write: {path}")

from distilpose.model.data.people import PeopleFolder
from distilpose.model.train.detector.data import write_detector_data
from distilpose.model.train.detector.run import DetectorRun
from distilpose.model.train.detector.trainer import DetectorSettings
sys.addaudithook(watch)
folder = Path(FOLDER)
data = write_detector_data(PeopleFolder(folder / "people"), folder / "data")
length = DetectorSettings(epochs=1, image_size_px=64, batch_size=2)
DetectorRun(length, data, folder / "out").fit()
print(json.dumps({
    "seen": seen,
    "threads": torch.get_num_threads(),
    "patched": [PIL.Image.open.__module__, torch.save.__module__],
}))
"""


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The actions of a fresh process that trained, with an account for reporting."""
    folder = tmp_path_factory.mktemp("observed")
    write_people(folder / "people")
    home = folder / "home"
    (folder / "temp").mkdir()
    home.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(folder / "temp"),
        "ULTRALYTICS_API_KEY": "ul_" + 40 * "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", OBSERVED_RUN, str(folder)],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    report: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    left_behind = [path.name for path in home.iterdir()]
    return report | {"stderr": finished.stderr, "left behind": left_behind}


def test_training_reaches_no_network_and_writes_only_into_its_folder(
    observed: dict[str, Any],
) -> None:
    assert observed["seen"] == []


def test_training_leaves_nothing_in_the_home_folder(observed: dict[str, Any]) -> None:
    assert observed["left behind"] == []


def test_training_patches_neither_pillow_nor_torch(observed: dict[str, Any]) -> None:
    assert observed["patched"] == ["PIL.Image", "torch.serialization"]
    assert observed["threads"] == 1


def test_training_prints_nothing(observed: dict[str, Any]) -> None:
    assert observed["stderr"] == ""
