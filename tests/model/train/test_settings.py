"""A run's settings: from a file, with overrides, rejecting invalid ones."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from distilpose.model.errors import ConfigError
from distilpose.model.train.feed.augment import AugmentSettings
from distilpose.model.train.settings import (
    DataSettings,
    LossSettings,
    OptimiserSettings,
    RunSettings,
    SizeSettings,
    load_run,
)
from prose import NOUN_CLAUSE

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
        ("network: tokenpose-x", "'tokenpose-x' is unknown; known: distilpose-n"),
        ("nonsense: 1", "nonsense"),
        ("run: {epochs: 1, steps: 2}", "give one of steps, crops, epochs and budget_seconds"),
        ("run: {}", "give one of steps, crops, epochs and budget_seconds"),
        ("teacher: x.safetensors", "teacher: only a student has one"),
        ("network: distilpose-s", "loss.map: only a student on the trunk has it"),
        ("optimiser: {trunk_frozen: 0.1}", "tokenpose-s has no pretrained trunk"),
        ("joint: true", "joint"),
        ("augment_strength: -1", "augment_strength"),
        ("optimiser: {trunk_rate: 0.5}", "optimiser.trunk_rate: tokenpose-s has no pretrained"),
        ("optimiser: {learning_rate: .inf}", r"optimiser\.learning_rate: .* finite"),
        ("augment: {scale: .nan}", r"augment\.scale: .* finite"),
        ("loss: {point: token}", r"loss\.point: tokenpose-s is a teacher; only a student has it"),
        ("loss: {map: 0.5}", r"loss\.map: tokenpose-s is a teacher"),
        ("loss: {dense: 0.5}", r"loss\.dense: tokenpose-s is a teacher"),
        ("loss: {attention: 0.5}", r"loss\.attention: tokenpose-s is a teacher"),
        ("loss: {vis_dist: 0.5}", r"loss\.vis_dist: tokenpose-s is a teacher"),
        ("run: {steps: 1, seed: -1}", r"run\.seed: .* greater than or equal to 0"),
        ("run: {steps: 1, small_first: {until: 1, height: 0}}", r"height: .* greater than 0"),
        ("data: {people: a, cache: b, repeat: {c: -1}}", r"data\.repeat\.c: .* equal to 0"),
        ("data: {people: a, cache: b, label_weight: {c: -1}}", r"label_weight\.c: .* equal to 0"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, change: str, message: str) -> None:
    name = change.split(":", maxsplit=1)[0]
    kept = [line for line in TEACHER.splitlines() if not line.startswith(f"{name}:")]
    with pytest.raises(ConfigError, match=message):
        load_run(write(tmp_path, "\n".join([*kept, change])))


ON_TRUNK = TEACHER.replace("tokenpose-s", "distilpose-n")


OFF = dict.fromkeys(
    [f"loss.{name}" for name in ("reg", "reg2hm", "score", "map", "dense", "attention")], 0
)
NOT_DISTILLED = {"loss.vis_dist": 0, "loss.kpt_dist": 0}


def test_a_student_may_learn_from_its_teacher_alone(tmp_path: Path) -> None:
    settings = load_run(write(tmp_path, ON_TRUNK), {**OFF, **NOT_DISTILLED, "teacher": "t"})
    assert settings.loss.heatmap_dist > 0


def test_what_is_off_may_be_said_of_any_network(tmp_path: Path) -> None:
    off = {"loss.map": 0, "loss.dense": 0, "loss.attention": 0}
    assert load_run(write(tmp_path, TEACHER), off).loss.map == 0


def test_a_student_needs_no_teacher_and_has_scores(tmp_path: Path) -> None:
    settings = load_run(write(tmp_path, ON_TRUNK))
    assert settings.teacher is None
    assert settings.trains_scores
    assert not load_run(tmp_path / "run.yaml", {"loss.score": 0}).trains_scores


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"loss.heatmaps_of": "teacher"}, r"teacher: needed where loss\.heatmaps_of is"),
        ({"loss.point": "token"}, r"loss\.map: must be 0"),
        ({"run.small_first": {"until": 0.5}}, "distilpose-n learns at its full size alone"),
        ({"loss.cross_entropy": 0.1}, r"loss\.cross_entropy: distilpose-n is a student"),
        (OFF, "loss: one of reg, reg2hm, score, map, dense, attention must be above 0"),
        (
            {**OFF, "loss.heatmaps_of": "teacher", "teacher": "t", **NOT_DISTILLED},
            "loss: one of reg, .*, vis_dist, kpt_dist must be above 0",
        ),
    ],
)
def test_what_a_student_on_the_trunk_cannot_do_is_refused(
    tmp_path: Path, overrides: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_run(write(tmp_path, ON_TRUNK), overrides)


def test_a_published_student_has_no_point_of_its_token_alone(tmp_path: Path) -> None:
    off = {"loss.map": 0, "loss.dense": 0, "loss.attention": 0, "loss.point": "token"}
    with pytest.raises(ConfigError, match=r"loss\.point: only a student on the trunk"):
        load_run(write(tmp_path, ON_TRUNK.replace("-n", "-s")), off)


def test_the_run_files_are_those_of_the_networks_that_are_trained() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "runs").iterdir())
    assert names == ["distilpose-n.yaml", "distilpose-s-published.yaml", "tokenpose-n.yaml"]


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "runs").glob("*.yaml")), ids=str)
def test_the_documented_runs_are_valid(path: Path) -> None:
    assert load_run(path).network in path.stem


@pytest.mark.parametrize("text", ["- 1", "a: [", "null"])
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"run\.yaml"):
        load_run(write(tmp_path, text), {"run.steps": 1})


def described() -> Iterator[tuple[str, str]]:
    groups = (DataSettings, OptimiserSettings, LossSettings, SizeSettings, RunSettings)
    for group in (*groups, AugmentSettings):
        for name, field in group.model_fields.items():
            yield f"{group.__name__}.{name}", field.description or ""


@pytest.mark.parametrize(("name", "text"), list(described()))
def test_a_description_is_a_sentence_that_stands_alone(name: str, text: str) -> None:
    assert re.fullmatch(r"[A-Z].{15,}\.", text), name
    assert not NOUN_CLAUSE.match(text), name


def test_a_network_of_another_role_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, TEACHER)
    assert load_run(path, role="teacher").network == "tokenpose-s"
    with pytest.raises(ConfigError, match=r"run\.yaml: tokenpose-s is not a student"):
        load_run(path, role="student")
