"""Training processes that are killed or asked to stop, and all that comes after them."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from distilpose.model.data.people import PeopleFolder
from distilpose.model.load import load_models
from distilpose.model.measure.evaluate import evaluate
from distilpose.model.train import checkpoint
from photos import photo
from servers import Server
from tiny_people import write_people

pytestmark = pytest.mark.slow

TRIES = 10
SECONDS = 120
UNFINISHED = ".checkpoint.pt.unfinished"
Steps = list[int]


@dataclass
class Killed:
    """The files that a killed process left of a teacher's run."""

    config: Path
    out: Path
    people: Path
    step: int
    """Of the checkpoint from before."""
    logged: Steps


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "distilpose.cli", *map(str, arguments)]


def run(*arguments: object) -> None:
    subprocess.run(command(*arguments), check=True, timeout=SECONDS)


def write_run(path: Path, network: str, people: Path, **values: Any) -> Path:
    """A run of six people that saves after every step and has no near end."""
    settings = {
        "network": network,
        "data": {"people": str(people), "cache": str(people / "cache")},
        "run": {
            "steps": 10_000,
            "batch_size": 2,
            "log_every_steps": 1,
            "checkpoint_every_seconds": 0.001,
            "device": "cpu",
            "precision": "float32",
        },
    }
    path.write_text(yaml.safe_dump(settings | values))
    return path


def logged_steps(out: Path) -> Steps:
    return [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]


def size_bytes(path: Path) -> int:
    """0 where there is no such file, or no longer."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def wait_for_bytes(process: "subprocess.Popen[bytes]", *paths: Path) -> None:
    limit = time.monotonic() + SECONDS
    while not all(map(size_bytes, paths)):
        assert process.poll() is None, "the run has ended"
        assert time.monotonic() < limit
        time.sleep(0.001)


def kill_while_saving(process: "subprocess.Popen[bytes]", out: Path) -> bool:
    """SIGKILL while a second checkpoint is half written; whether it came in time for that."""
    whole, unfinished = out / "checkpoint.pt", out / UNFINISHED
    wait_for_bytes(process, whole, unfinished)
    process.kill()
    process.wait()
    return 0 < size_bytes(unfinished) < size_bytes(whole)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    folder = tmp_path_factory.mktemp("killed")
    people = write_people(folder / "people")
    config = write_run(folder / "teacher.yaml", "tokenpose-n", people)
    for number in range(TRIES):
        out = folder / f"teacher-{number}"
        process = subprocess.Popen(command("train", "teacher", "--config", config, "--out", out))
        if kill_while_saving(process, out):
            saved = checkpoint.load(out / "checkpoint.pt", torch.device("cpu"))
            return Killed(config, out, people, saved.step, logged_steps(out))
    pytest.fail(f"{TRIES} times no checkpoint was half written when its process was killed")


@pytest.fixture(scope="module")
def teacher(killed: Killed) -> Path:
    """The killed run, gone on with for two steps."""
    last = f"run.steps={killed.step + 2}"
    train = ("train", "teacher", "--config", killed.config, "--out", killed.out)
    run(*train, "--set", last, "--resume")
    return killed.out / "tokenpose-n.safetensors"


@pytest.fixture(scope="module")
def student(killed: Killed, teacher: Path) -> Path:
    out = killed.out.with_name("student")
    config = out.with_suffix(".yaml")
    write_run(config, "distilpose-n", killed.people, teacher=str(teacher))
    run("train", "student", "--config", config, "--out", out, "--set", "run.steps=2")
    return out / "distilpose-n.safetensors"


def test_a_killed_run_goes_on_after_its_last_whole_checkpoint(
    killed: Killed, teacher: Path
) -> None:
    assert killed.step > 0
    assert logged_steps(teacher.parent)[len(killed.logged) :] == [killed.step + 1, killed.step + 2]
    saved = checkpoint.load(teacher.with_name("checkpoint.pt"), torch.device("cpu"))
    assert saved.step == killed.step + 2


def test_nothing_of_the_killed_checkpoint_stays(teacher: Path) -> None:
    assert [path.name for path in teacher.parent.glob(".*")] == [".distilpose-outputs.jsonl"]


def test_a_run_that_is_told_to_stop_saves_and_says_that_it_has_not_ended(
    killed: Killed, tmp_path: Path
) -> None:
    # A job says --resume always, and at its first start there is nothing to go on from.
    train = command("train", "teacher", "--config", killed.config, "--out", tmp_path, "--resume")
    process = subprocess.Popen(train)
    wait_for_bytes(process, tmp_path / "checkpoint.pt")
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 128 + signal.SIGTERM
    saved = checkpoint.load(tmp_path / "checkpoint.pt", torch.device("cpu"))
    assert saved.step == logged_steps(tmp_path)[-1]


def test_the_student_of_a_teacher_that_was_killed_can_be_measured(
    killed: Killed, student: Path
) -> None:
    report = student.with_name("report.json")
    exactly = ("--no-flip-test", "--device", "cpu", "--dtype", "float32")
    run("evaluate", killed.people, "--weights", student, *exactly, "--json", report)
    figures = json.loads(report.read_text())
    assert figures["network"]["sha256"] == hashlib.sha256(student.read_bytes()).hexdigest()
    assert (figures["pictures"], figures["people"]) == (2, 6)
    predictor = load_models(weights=student, device="cpu", dtype="float32").predictor
    expected = evaluate(predictor, PeopleFolder(killed.people), flip_test=False)
    assert figures["mean_oks"] == pytest.approx(expected.mean_oks, abs=1e-4)


def test_the_student_of_a_teacher_that_was_killed_serves(
    student: Path, start_server: Callable[..., Server]
) -> None:
    with start_server(MODEL__WEIGHTS=str(student)).client() as client:
        [model] = client.get("/v1/models").json()["models"]
        assert model["sha256"] == hashlib.sha256(student.read_bytes()).hexdigest()
        answer = client.post(
            "/v1/pose", content=photo("bus.jpg"), headers={"content-type": "image/jpeg"}
        )
    poses = answer.raise_for_status().json()["images"][0]["poses"]
    assert [len(pose["keypoints"]) for pose in poses] == [17] * 4
