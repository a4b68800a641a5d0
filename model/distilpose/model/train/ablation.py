"""A table of runs that each differ in one setting, repeated over several seeds."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import torch
import yaml

from distilpose.model.errors import ConfigError
from distilpose.model.files import replacing
from distilpose.model.train import checkpoint
from distilpose.model.train.observers import Observer
from distilpose.model.train.prepare import prepare
from distilpose.model.train.settings import TrainSettings, load_run
from distilpose.model.train.validate import EarlyFigures

_DONE: Final = "figures.json"
"""The file of a finished run: its figures, and the settings that produced them."""

Changes: TypeAlias = Mapping[str, Any]
"""Values of a run's settings, by `group.field`."""

_WITHOUT_SCORE: Final[Changes] = MappingProxyType({"teacher": None, "loss.score": 0})
_WITHOUT_HEATMAP: Final[Changes] = MappingProxyType({**_WITHOUT_SCORE, "loss.reg2hm": 0})
_TOKENS_ALONE: Final[Changes] = MappingProxyType(
    {
        **_WITHOUT_HEATMAP,
        "loss.point": "token",
        "loss.map": 0,
        "loss.dense": 0,
        "loss.attention": 0,
    }
)


_FIGURES: Final = {"ap": "AP", "ap50": "AP50", "mean_oks": "mean OKS", "pck": "PCK@0.2"}
"""Columns of the table, by the fields of `EarlyFigures`."""


def paper_rows(teacher: Path | None) -> dict[str, Changes]:
    """The paper's claims on a pretrained trunk: each row adds one to the row before.

    The last row is the fourth one with an untrained trunk.

    Raises:
        ConfigError: there is no teacher.

    *Source:* the ablation of DistilPose, arXiv 2303.02455.
    """
    if teacher is None:
        raise ConfigError("--teacher: the row of distillation needs one")
    return {
        "coordinates from the tokens": _TOKENS_ALONE,
        "+ where they look": _WITHOUT_HEATMAP,
        "+ simulated heatmap": _WITHOUT_SCORE,
        "+ score": {"teacher": None},
        "+ distillation": {"teacher": str(teacher)},
        "without distillation, trunk from scratch": {
            "teacher": None,
            "start_from": "nothing",
            "optimiser.trunk_rate": 1.0,
        },
    }


class Outcome(NamedTuple):
    """The result of one row."""

    row: str
    ranked_by: str
    """The value that its AP ranks people by: `score`, or `box` if no score was trained."""
    figures: tuple[EarlyFigures, ...]
    """The figures of each seed at the end of its run."""

    def mean(self, name: str) -> float:
        """Mean of a figure over the seeds."""
        return statistics.fmean(getattr(each, name) for each in self.figures)

    def spread(self, name: str) -> float:
        """Standard deviation of a figure over the seeds; 0 for one seed."""
        values = [getattr(each, name) for each in self.figures]
        return statistics.stdev(values) if len(values) > 1 else 0.0


def read_rows(path: Path) -> dict[str, Changes]:
    """Read rows from a YAML file: names with the settings they change, none for the run itself.

    Raises:
        ConfigError: the file cannot be read or is not such a mapping.
    """
    try:
        rows = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise ConfigError(f"{path}: cannot be read: {err}") from err
    if not isinstance(rows, dict) or not all(isinstance(r or {}, dict) for r in rows.values()):
        raise ConfigError(f"{path}: expected rows, each a name with settings and their values")
    return {str(name): changes or {} for name, changes in rows.items()}


class Ablation(NamedTuple):
    """Runs of `config` with each row's changes and each seed, below the folder `out`."""

    config: Path
    out: Path
    overrides: Changes
    """Changes that apply to all rows."""
    rows: Mapping[str, Changes]
    seeds: int

    def runs(self) -> list[tuple[str, int, TrainSettings]]:
        """Row, seed and settings of every run, checked before any starts.

        Raises:
            ConfigError: settings are unknown or invalid, or there are no people to measure on.
        """
        runs = []
        for row, changes in self.rows.items():
            for seed in range(self.seeds):
                changed = {**self.overrides, **changes, "run.seed": seed}
                settings = load_run(self.config, changed)
                if settings.data.evaluate_on is None:
                    raise ConfigError(f"{self.config}: data.evaluate_on: needed to compare rows")
                runs.append((row, seed, settings))
        return runs

    @property
    def page(self) -> Path:
        """The file of the table."""
        return self.out / "ablation.md"

    def folder(self, row: str, seed: int) -> Path:
        """The folder of a run's files."""
        name = "-".join("".join(c if c.isalnum() else " " for c in row).split())
        return self.out / name / f"seed-{seed}"

    def take(self, row: str, seed: int, settings: TrainSettings, observer: Observer) -> None:
        """Do one run, or nothing if its figures already exist.

        An interrupted run continues from its checkpoint.

        Raises:
            ConfigError: the row's folder has a run of other settings.
            ModelError: as `prepare` and `fit` do.
        """
        folder = self.folder(row, seed)
        if self._figures(row, seed, settings):
            return
        begun = folder / checkpoint.NAME
        if begun.exists():
            before = checkpoint.load(begun, torch.device("cpu")).settings
            _check_same(json.loads(before), settings, row, folder)
        folder.mkdir(parents=True, exist_ok=True)
        run = prepare(settings, folder, observer=observer, resumes=True)
        run.fit()
        if run.figures and not run.stopping:
            done = {"figures": run.figures._asdict(), "settings": settings.model_dump(mode="json")}
            with replacing(folder / _DONE) as unfinished:
                unfinished.write_text(json.dumps(done) + "\n")

    def _figures(self, row: str, seed: int, settings: TrainSettings) -> EarlyFigures | None:
        """The figures of a run; None if it has not ended yet."""
        folder = self.folder(row, seed)
        try:
            done = json.loads((folder / _DONE).read_text("utf-8"))
        except FileNotFoundError:
            return None
        _check_same(done.get("settings"), settings, row, folder)
        return EarlyFigures(**done["figures"])

    def outcomes(self) -> list[Outcome]:
        """The results so far, row by row.

        Raises:
            ConfigError: figures are of other settings.
        """
        found: dict[str, Outcome] = {}
        for row, seed, settings in self.runs():
            figures = self._figures(row, seed, settings)
            if figures:
                ranked_by = "score" if settings.trains_scores else "box"
                before = found.get(row, Outcome(row, ranked_by, ()))
                found[row] = before._replace(figures=(*before.figures, figures))
        return list(found.values())

    def write_table(self) -> str:
        """Write what is there so far into `ablation.md`, and return it.

        Raises:
            ConfigError: figures are of other settings.
        """
        table = markdown(self.outcomes(), self.runs()[0][2])
        with replacing(self.page) as unfinished:
            unfinished.write_text(table)
        return table


def markdown(outcomes: Sequence[Outcome], settings: TrainSettings) -> str:
    """The table, a line a row, with the length and the start in a run's `settings` below it."""
    lines = [
        f"| row | ranked by | {' | '.join(_FIGURES.values())} |",
        f"| --- | --- |{' --- |' * len(_FIGURES)}",
    ]
    for outcome in outcomes:
        cells = [_cell(outcome, figure) for figure in _FIGURES]
        lines.append(f"| {outcome.row} | {outcome.ranked_by} | {' | '.join(cells)} |")
    seeds = max((len(outcome.figures) for outcome in outcomes), default=0)
    over = f"Mean and standard deviation over {seeds} seeds" if seeds > 1 else "One seed"
    note = f"{over}; people of `data.evaluate_on` with keypoints, ground-truth boxes, no flip test."
    run = settings.run
    lengths = {
        "steps": run.steps,
        "crops": run.crops,
        "epochs": run.epochs,
        "seconds": run.budget_seconds,
    }
    length = ", ".join(f"{value:,} {unit}" for unit, value in lengths.items() if value)
    start = settings.start_from or settings.teacher or "nothing"
    how = f"Each run: {length}, from {start}, where its row does not say otherwise."
    return "\n".join([*lines, "", note, how]) + "\n"


def _cell(outcome: Outcome, figure: str) -> str:
    """The mean, and its spread if there is any to know."""
    mean = f"{outcome.mean(figure):.3f}"
    return f"{mean} ± {outcome.spread(figure):.3f}" if len(outcome.figures) > 1 else mean


def _check_same(before: Any, settings: TrainSettings, row: str, folder: Path) -> None:
    """Check that `before` are the same settings.

    Raises:
        ConfigError: they differ.
    """
    now = settings.model_dump(mode="json")
    if before == now:
        return
    changed = _changed(before, now) if isinstance(before, dict) else []
    names = ": " + ", ".join(changed) if changed else ""
    raise ConfigError(
        f"row {row!r}: {folder} has a run of other settings{names}; remove it, or make the table "
        "in another folder"
    )


def _changed(before: dict[str, Any], now: dict[str, Any], group: str = "") -> list[str]:
    """Names of the settings that differ, in the form of `--set`."""
    names = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            names += _changed(old, new, f"{group}{name}.")
        elif old != new:
            names.append(group + name)
    return names
