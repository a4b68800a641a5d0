"""Tables of runs: rows of the paper, rows from a file, and the stored results."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from distilpose.model.errors import ConfigError
from distilpose.model.train import checkpoint
from distilpose.model.train.ablation import Ablation, Outcome, paper_rows, read_rows
from distilpose.model.train.observers import Observers
from distilpose.model.train.validate import EarlyFigures


def config(folder: Path, **changes: Any) -> Path:
    values = {
        "network": "distilpose-n",
        "start_from": "trunk.safetensors",
        "data": {"people": "people", "evaluate_on": "held-out", "cache": "cache"},
        "run": {"steps": 4},
        **changes,
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def figures(ablation: Ablation, row: str, seed: int, ap: float) -> None:
    """Write the files that a finished run leaves."""
    [settings] = [s for name, number, s in ablation.runs() if (name, number) == (row, seed)]
    values = EarlyFigures(ap=ap, ap50=0.5, mean_oks=0.4, pck=0.3)._asdict()
    folder = ablation.folder(row, seed)
    folder.mkdir(parents=True)
    done = {"figures": values, "settings": settings.model_dump(mode="json")}
    (folder / "figures.json").write_text(json.dumps(done))


ROWS = paper_rows(Path("teacher.safetensors"))
TERMS = ("reg", "map", "dense", "attention", "reg2hm", "score")


def test_each_of_the_papers_rows_adds_a_part_to_the_one_before(tmp_path: Path) -> None:
    runs = Ablation(config(tmp_path), tmp_path, {}, ROWS, 1).runs()
    used = {
        row: (settings.loss.point, [term for term in TERMS if getattr(settings.loss, term)])
        for row, _, settings in runs
    }
    looks = ["reg", "map", "dense", "attention"]
    assert used == {
        "coordinates from the tokens": ("token", ["reg"]),
        "+ where they look": ("map", looks),
        "+ simulated heatmap": ("map", [*looks, "reg2hm"]),
        "+ score": ("map", list(TERMS)),
        "+ distillation": ("map", list(TERMS)),
        "without distillation, trunk from scratch": ("map", list(TERMS)),
    }
    taught = [settings.teacher for _, _, settings in runs]
    assert taught == [None, None, None, None, Path("teacher.safetensors"), None]
    begun = [str(settings.start_from) for _, _, settings in runs]
    assert begun == ["trunk.safetensors"] * 5 + ["nothing"]


def test_every_row_is_run_for_every_seed(tmp_path: Path) -> None:
    rows = {"as it is": {}, "harder": {"augment_strength": 0.9}}
    runs = Ablation(config(tmp_path), tmp_path, {"run.batch_size": 3}, rows, 2).runs()
    assert [(row, seed) for row, seed, _ in runs] == [
        ("as it is", 0), ("as it is", 1), ("harder", 0), ("harder", 1),
    ]  # fmt: skip
    assert [settings.run.seed for _, _, settings in runs] == [0, 1, 0, 1]
    assert [settings.augment_strength for _, _, settings in runs] == [0.4, 0.4, 0.9, 0.9]
    assert {settings.run.batch_size for _, _, settings in runs} == {3}


def test_without_a_score_loss_people_are_ranked_by_their_box(tmp_path: Path) -> None:
    ablation = Ablation(config(tmp_path), tmp_path, {}, ROWS, 1)
    for row in ROWS:
        figures(ablation, row, 0, 0.2)
    assert [outcome.ranked_by for outcome in ablation.outcomes()] == [
        "box", "box", "box", "score", "score", "score",
    ]  # fmt: skip


def test_mean_and_spread_are_over_the_seeds_that_are_done(tmp_path: Path) -> None:
    ablation = Ablation(config(tmp_path), tmp_path, {}, {"all": {}}, 3)
    figures(ablation, "all", 0, 0.1)
    figures(ablation, "all", 2, 0.3)
    (outcome,) = ablation.outcomes()
    assert outcome.mean("ap") == pytest.approx(0.2)
    assert outcome.spread("ap") == pytest.approx(0.02**0.5)
    assert outcome.mean("pck") == pytest.approx(0.3)


def test_figures_of_other_settings_are_refused(tmp_path: Path) -> None:
    path = config(tmp_path)
    figures(Ablation(path, tmp_path, {}, {"all": {}}, 1), "all", 0, 0.1)
    longer = Ablation(path, tmp_path, {"run.steps": 9, "data.limit": 5}, {"all": {}}, 1)
    [(row, seed, settings)] = longer.runs()
    message = r"row 'all': .*all/seed-0 has a run of other settings: data\.limit, run\.steps;"
    with pytest.raises(ConfigError, match=message):
        longer.take(row, seed, settings, Observers([]))
    with pytest.raises(ConfigError, match=message):
        longer.outcomes()


def test_a_row_of_other_settings_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    ablation = Ablation(config(tmp_path), tmp_path, {}, {"all": {}}, 1)
    [(row, seed, settings)] = ablation.runs()
    before = settings.model_copy(update={"augment_strength": 0.9})
    state = checkpoint.Checkpoint(
        step=1,
        spent_seconds=1.0,
        network={},
        averaged={},
        optimiser={},
        settings=before.model_dump_json(),
        data_digest="digest",
        code_version="1",
    )
    ablation.folder(row, seed).mkdir(parents=True)
    checkpoint.save(ablation.folder(row, seed) / checkpoint.NAME, state)
    with pytest.raises(ConfigError, match="of other settings: augment_strength;"):
        ablation.take(row, seed, settings, Observers([]))


def test_figures_without_settings_are_refused(tmp_path: Path) -> None:
    ablation = Ablation(config(tmp_path), tmp_path, {}, {"all": {}}, 1)
    figures(ablation, "all", 0, 0.1)
    older = {"ap": 0.1, "ap50": 0.5, "mean_oks": 0.4, "pck": 0.3}
    (ablation.folder("all", 0) / "figures.json").write_text(json.dumps(older))
    with pytest.raises(ConfigError, match=r"row 'all': .* has a run of other settings;"):
        ablation.outcomes()


def test_one_seed_has_no_spread() -> None:
    only = EarlyFigures(ap=0.1, ap50=0.2, mean_oks=0.3, pck=0.4)
    assert Outcome("all", "score", (only,)).spread("ap") == 0


def test_people_to_measure_on_are_needed(tmp_path: Path) -> None:
    path = config(tmp_path, data={"people": "people", "cache": "cache"})
    with pytest.raises(ConfigError, match=r"data\.evaluate_on: needed to compare"):
        Ablation(path, tmp_path, {}, ROWS, 1).runs()


def test_a_row_that_changes_something_unknown_is_refused_before_any_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"loss\.vis"):
        Ablation(config(tmp_path), tmp_path, {}, {"odd": {"loss.vis": 1}}, 1).runs()


def test_rows_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.yaml"
    path.write_text("as it is:\nno pseudo:\n  data.label_weight: {pseudo: 0}\n")
    assert read_rows(path) == {
        "as it is": {},
        "no pseudo": {"data.label_weight": {"pseudo": 0}},
    }


@pytest.mark.parametrize("text", ["- a\n- b\n", "row: 5\n", "row: [1]\n"])
def test_a_file_that_holds_no_rows_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="expected rows"):
        read_rows(path)


def test_the_papers_rows_need_a_teacher() -> None:
    with pytest.raises(ConfigError, match="--teacher: the row of distillation needs one"):
        paper_rows(None)


def test_a_table_has_means_with_their_spreads_and_says_of_which_runs(tmp_path: Path) -> None:
    ablation = Ablation(config(tmp_path), tmp_path, {}, {"all": {}}, 2)
    figures(ablation, "all", 0, 0.1)
    figures(ablation, "all", 1, 0.3)
    table = ablation.write_table()
    assert (tmp_path / "ablation.md").read_text() == table
    head, _, row, *notes = table.splitlines()
    assert head == "| row | ranked by | AP | AP50 | mean OKS | PCK@0.2 |"
    assert row.startswith("| all | score | 0.200 ± 0.141 | 0.500 ± 0.000 |")
    assert "over 2 seeds" in notes[1]
    assert "4 steps, from trunk.safetensors" in notes[2]
