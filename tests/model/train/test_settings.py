"""A run's settings: from a file, with overrides, refusing what does not fit."""

from pathlib import Path

import pytest

from distilpose.model.errors import ConfigError
from distilpose.model.train.settings import load_run

ROOT = Path(__file__).parents[3]
TEACHER = """
network: tokenpose-s
data: {people: people, cache: cache}
run: {epochs: 3}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_run_is_its_file(tmp_path: Path) -> None:
    settings = load_run(write(tmp_path, TEACHER))
    assert (settings.network, settings.run.epochs) == ("tokenpose-s", 3)
    assert settings.data.people == Path("people")


def test_overrides_outrank_the_file(tmp_path: Path) -> None:
    overrides = {"run.epochs": None, "run.steps": 7, "loss.cross_entropy": 0.5}
    settings = load_run(write(tmp_path, TEACHER), overrides)
    assert (settings.run.epochs, settings.run.steps) == (None, 7)
    assert settings.loss.cross_entropy == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("network: tokenpose-x", "'tokenpose-x' is unknown; known: distilpose-s"),
        ("nonsense: 1", "nonsense"),
        ("run: {epochs: 1, steps: 2}", "give one of steps, epochs and budget_seconds"),
        ("run: {}", "give one of steps, epochs and budget_seconds"),
        ("network: distilpose-s", "teacher: a student needs one, unless joint"),
        ("joint: true", "joint: only a student learns jointly"),
        ("teacher: x.safetensors", "teacher: only a student has one"),
        ("augment_strength: -1", "augment_strength"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, change: str, message: str) -> None:
    name = change.split(":", maxsplit=1)[0]
    kept = [line for line in TEACHER.splitlines() if not line.startswith(f"{name}:")]
    with pytest.raises(ConfigError, match=message):
        load_run(write(tmp_path, "\n".join([*kept, change])))


def test_a_student_without_a_teacher_learns_coordinates_alone(tmp_path: Path) -> None:
    text = TEACHER.replace("tokenpose-s", "distilpose-s")
    alone = "loss: {vis_dist: 0, kpt_dist: 0, score: 0, reg2hm: 0}"
    assert load_run(write(tmp_path, text + alone)).teacher is None


def test_a_joint_student_needs_no_teacher_and_has_scores(tmp_path: Path) -> None:
    text = TEACHER.replace("tokenpose-s", "distilpose-s") + "joint: true"
    settings = load_run(write(tmp_path, text))
    assert settings.teacher is None
    assert settings.trains_scores


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "runs").glob("*.yaml")), ids=str)
def test_the_documented_runs_are_valid(path: Path) -> None:
    assert load_run(path).network in path.stem


@pytest.mark.parametrize("text", ["- 1", "a: [", "null"])
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"run\.yaml"):
        load_run(write(tmp_path, text), {"run.steps": 1})
