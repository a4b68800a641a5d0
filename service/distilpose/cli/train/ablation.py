"""`distilpose train ablation`: what each part of a run is worth, over several seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distilpose.cli.options import reported_errors
from distilpose.cli.train.display import TrainDisplay
from distilpose.cli.train.options import overrides_of, run_options, teacher_option

if TYPE_CHECKING:
    from distilpose.model.train.ablation import Changes, Outcome
    from distilpose.model.train.settings import TrainSettings

_FIGURES = {"ap": "AP", "ap50": "AP50", "mean_oks": "mean OKS", "pck": "PCK@0.2"}


@click.command()
@run_options
@teacher_option
@click.option(
    "--rows",
    "rows_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML of rows and what each changes. Default: the paper's ablation.",
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True)
def command(
    config: Path,
    out: Path,
    budget: str | None,
    crops: int | None,
    overrides: Sequence[str],
    teacher: Path | None,
    rows_file: Path | None,
    seeds: int,
) -> None:
    """Do the run in CONFIG once for each row and seed, and compare them.

    The paper's rows add its parts one by one to coordinates read from the tokens, the last of them
    distillation from the teacher. A budget is that of the whole table, --crops are those of a row.
    Runs whose figures are in OUT are not done again.
    """
    with reported_errors():
        from distilpose.model.train.ablation import Ablation, read_rows

        named = {"teacher": str(teacher)} if teacher else {}
        if rows_file:
            rows = read_rows(rows_file)
        else:
            rows = _paper_rows(config, overrides_of(overrides, budget=budget, crops=crops) | named)
        shared = overrides_of(overrides, budget=budget, crops=crops, runs=len(rows) * seeds) | named
        ablation = Ablation(config, out, shared, rows, seeds)
        runs = ablation.runs()
        for number, (row, seed, settings) in enumerate(runs, start=1):
            display = TrainDisplay(title=f"{number}/{len(runs)} {row}, seed {seed}")
            try:
                ablation.take(row, seed, settings, display)
            finally:
                display.close()
        table = markdown(ablation.outcomes(), runs[0][2])
    (out / "ablation.md").write_text(table)
    click.echo(table, nl=False)


def _paper_rows(config: Path, overrides: "Changes") -> "dict[str, Changes]":
    from distilpose.model.errors import ConfigError
    from distilpose.model.train.ablation import paper_rows
    from distilpose.model.train.settings import load_run

    teacher = load_run(config, overrides).teacher
    if teacher is None:
        raise ConfigError("--teacher: the row of distillation needs one")
    return paper_rows(teacher)


def markdown(outcomes: Sequence["Outcome"], settings: "TrainSettings") -> str:
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


def _cell(outcome: "Outcome", figure: str) -> str:
    """The mean, and its spread if there is any to know."""
    mean = f"{outcome.mean(figure):.3f}"
    return f"{mean} ± {outcome.spread(figure):.3f}" if len(outcome.figures) > 1 else mean
