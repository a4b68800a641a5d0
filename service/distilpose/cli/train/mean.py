"""`distilpose train mean`: one weights file out of several runs."""

from pathlib import Path

import click

from distilpose.cli.options import IN_FILE, reported_errors
from distilpose.cli.outputs import OUT_FILE, overwrite_option, writing


@click.command()
@click.argument("weights", nargs=-1, required=True, type=IN_FILE)
@click.option("--out", required=True, type=OUT_FILE)
@overwrite_option
def command(weights: tuple[Path, ...], out: Path, overwrite: bool) -> None:
    """Write the mean of the WEIGHTS of several runs.

    Runs that have gone on from one another, or from the same weights, err in different ways, and
    their mean errs less than each. Measure it before you use it: the mean of runs that have nothing
    in common is worth nothing.
    """
    with reported_errors(), writing({"--out": out}, weights, overwrite=overwrite) as outputs:
        from distilpose.model.train.export import write_mean

        with outputs.writing(out) as unfinished:
            card = write_mean(unfinished, weights)
        click.echo(f"wrote {out}: {card.source}")
