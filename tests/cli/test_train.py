"""`distilpose train`, as a user calls it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from distilpose.cli import main
from distilpose.cli.train.options import overrides_of
from distilpose.model.weights import load
from tiny_people import write_people


def train(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def config(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher's run of two small steps."""
    values: dict[str, Any] = {
        "network": "tokenpose-n",
        "data": {
            "people": str(people),
            "evaluate_on": str(people),
            "cache": str(people / "cache"),
        },
        "run": {
            "steps": 2,
            "batch_size": 2,
            "device": "cpu",
            "precision": "float32",
        },
    }
    path = tmp_path_factory.mktemp("config") / "teacher.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def teacher(config: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("teacher")
    return out, train("teacher", "--config", config, "--out", out)


def test_a_run_leaves_weights_and_says_how_it_goes(teacher: tuple[Path, Result]) -> None:
    out, result = teacher
    assert result.exit_code == 0, result.output
    assert load(out / "tokenpose-n.safetensors").card.architecture == "tokenpose-n"
    assert "100.0% step 2" in result.stderr
    assert "heatmap" in result.stderr
    assert "early figures at step 2: ap" in result.stderr


def test_a_value_can_be_overridden_and_a_run_resumed(
    teacher: tuple[Path, Result], config: Path
) -> None:
    out, _ = teacher
    result = train("teacher", "--config", config, "--out", out, "--set", "run.steps=3", "--resume")
    assert result.exit_code == 0, result.output
    assert "100.0% step 3" in result.stderr
    assert "step 1 " not in result.stderr


def test_the_papers_table_is_one_command(
    teacher: tuple[Path, Result], config: Path, tmp_path: Path
) -> None:
    weights = teacher[0] / "tokenpose-n.safetensors"
    student = ("--set", "network=distilpose-n", "--set", f"start_from={weights}")
    arguments = ("ablation", "--config", config, "--out", tmp_path, *student, "--crops", 2)
    result = train(*arguments, "--teacher", weights)
    assert result.exit_code == 0, result.output
    rows = [line.split(" | ")[:2] for line in result.stdout.splitlines() if line.startswith("| ")]
    assert rows[2:] == [
        ["| coordinates from the tokens", "box"],
        ["| + where they look", "box"],
        ["| + simulated heatmap", "box"],
        ["| + score", "score"],
        ["| + distillation", "score"],
        ["| without distillation, trunk from scratch", "score"],
    ]
    assert (tmp_path / "ablation.md").read_text() == result.stdout
    figures = json.loads((tmp_path / "distillation" / "seed-0" / "figures.json").read_text())
    [line] = [line for line in result.stdout.splitlines() if line.startswith("| + distillation |")]
    assert f"| {figures['figures']['mean_oks']:.3f} |" in line
    assert f"Each run: 2 crops, from {weights}, where its row" in result.stdout
    again = train(*arguments, "--teacher", weights)
    assert again.stdout == result.stdout
    assert "step" not in again.stderr  # finished work is not repeated


def test_the_papers_table_without_a_teacher_says_what_it_lacks(
    config: Path, tmp_path: Path
) -> None:
    result = train("ablation", "--config", config, "--out", tmp_path)
    assert result.exit_code == 1
    assert "--teacher: the row of distillation needs one" in result.stderr


def test_the_papers_table_takes_length_and_teacher_from_the_options(
    config: Path, tmp_path: Path
) -> None:
    values = yaml.safe_load(config.read_text())
    del values["run"]["steps"]
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values | {"network": "distilpose-n"}))
    options = ("--crops", 2, "--set", "teacher=none.safetensors")
    result = train("ablation", "--config", path, "--out", tmp_path / "out", *options)
    assert result.exit_code == 1
    assert "none.safetensors: no such file" in result.stderr  # by then its rows are made


def test_a_student_is_taught_by_the_file_that_is_named(
    teacher: tuple[Path, Result], config: Path, tmp_path: Path
) -> None:
    weights = teacher[0] / "tokenpose-n.safetensors"
    arguments = ("--config", config, "--out", tmp_path, "--set", "network=distilpose-n")
    result = train("student", *arguments, "--crops", 3, "--teacher", weights)
    assert result.exit_code == 0, result.output
    card = load(tmp_path / "distilpose-n.safetensors").card
    assert "taught by tokenpose-n.safetensors" in card.source
    taught_by = load(weights).card
    assert taught_by.crops_seen
    assert card.crops_seen == taught_by.crops_seen + 2 * 2  # two full steps from there


def test_a_budget_is_shared_by_the_runs_of_a_table(config: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.yaml"
    rows.write_text("as it is:\nweak:\n  augment_strength: 0.1\n")
    options = ("--rows", rows, "--seeds", 2, "--budget", "4s")
    result = train("ablation", "--config", config, "--out", tmp_path, *options)
    assert result.exit_code == 0, result.output
    assert result.stderr.count("early figures") == 4
    assert "Mean and standard deviation over 2 seeds" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", "soon"), "--budget soon: expected a number and one of s, m, h, d"),
        (("--budget", "1m", "--crops", "5"), "--budget and --crops: give one of them"),
        (("--set", "steps"), "--set steps: expected GROUP.FIELD=VALUE"),
        (("--set", "run.steps=0"), "run.steps: Input should be greater than or equal to 1"),
        (("--set", "run.stops=9"), "run.stops: Extra inputs are not permitted"),
        (("--set", "network=resnet"), "'resnet' is unknown; known: distilpose-n"),
    ],
)
def test_a_wrong_option_is_reported_in_one_line(
    config: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = train("teacher", "--config", config, "--out", tmp_path, *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_config_of_the_other_role_is_refused(config: Path, tmp_path: Path) -> None:
    result = train("student", "--config", config, "--out", tmp_path)
    assert result.exit_code == 1
    assert "tokenpose-n is not a student" in result.stderr


def test_overrides_are_those_of_all_options_together() -> None:
    given = ("data.limit=5", "loss.dense=0")
    values = overrides_of(given, budget="2m", teacher=Path("t.safetensors"), runs=4)
    assert values == {
        "data.limit": 5,
        "loss.dense": 0,
        "run.steps": None,
        "run.epochs": None,
        "run.crops": None,
        "run.budget_seconds": 30,
        "teacher": "t.safetensors",
    }
