"""`distilpose train ablation`: what each part of a run is worth, over several seeds."""

from pathlib import Path
from typing import Any

import click

from distilpose.cli.options import IN_FILE, reported_errors
from distilpose.cli.train.display import TrainDisplay
from distilpose.cli.train.options import overrides_of, run_options, teacher_option, writing_runs


@click.command()
@run_options
@teacher_option
@click.option(
    "--rows",
    "rows_file",
    type=IN_FILE,
    help="YAML of rows and what each changes. Default: the paper's ablation.",
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True)
def command(
    config: Path,
    out: Path,
    rows_file: Path | None,
    seeds: int,
    overwrite: bool,
    **changes: Any,
) -> None:
    """Do the run in CONFIG once for each row and seed, and compare them.

    The paper's rows add its parts one by one to coordinates read from the tokens, the last of them
    distillation from the teacher. A budget is that of the whole table, --crops are those of a row.
    Runs whose figures are in OUT are not done again.
    """
    with reported_errors():
        from distilpose.model.train.ablation import Ablation, paper_rows, read_rows
        from distilpose.model.train.settings import load_run

        if rows_file:
            rows = read_rows(rows_file)
        else:
            rows = paper_rows(load_run(config, overrides_of(**changes)).teacher)
        shared = overrides_of(**changes, runs=len(rows) * seeds)
        ablation = Ablation(config, out, shared, rows, seeds)
        runs = ablation.runs()
        networks = {ablation.folder(row, seed): each.network for row, seed, each in runs}
        with writing_runs(
            networks,
            [config, rows_file],
            command="ablation",
            overwrite=overwrite,
            page=ablation.page,
        ):
            for number, (row, seed, settings) in enumerate(runs, start=1):
                with TrainDisplay(title=f"{number}/{len(runs)} {row}, seed {seed}") as display:
                    ablation.take(row, seed, settings, display)
            click.echo(ablation.write_table(), nl=False)
