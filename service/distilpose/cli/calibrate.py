"""`distilpose calibrate`: scores that are probabilities, spreads that are the error's scale."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from distilpose.cli.options import (
    IN_FILE,
    IN_FOLDER,
    device_option,
    layout_option,
    picture_progress,
    reported_errors,
)
from distilpose.cli.outputs import OUT_FILE, OUT_FOLDER, overwrite_option, writing
from distilpose.cli.tables import reliability_table

if TYPE_CHECKING:
    from distilpose.model.card import Figure
    from distilpose.model.measure.calibrate import Comparison

_REPORT: Final = ("json", "png")
"""Suffixes of the report's files."""


@click.command()
@click.argument("weights", type=IN_FILE)
@click.argument("people", type=IN_FOLDER)
@click.option("--out", required=True, type=OUT_FILE)
@click.option(
    "--eval", "eval_folder", type=IN_FOLDER, help="People to measure on, before and after."
)
@click.option(
    "--report",
    type=OUT_FOLDER,
    help="Write the figures and a picture of the curves into this folder; needs --eval.",
)
@overwrite_option
@layout_option
@device_option
def command(
    weights: Path,
    people: Path,
    out: Path,
    eval_folder: Path | None,
    report: Path | None,
    overwrite: bool,
    layout: Any,
    device: str,
) -> None:
    """Write WEIGHTS to OUT with a calibration that fits the held-out people of PEOPLE.

    Held out are the pictures whose id is divisible by 20.
    """
    if report and not eval_folder:
        raise click.UsageError(
            "--report needs --eval: a calibration proves nothing on its own data"
        )
    figures_file, curves = (report / f"reliability.{each}" if report else None for each in _REPORT)
    files = {"--out": out, "--report": figures_file, "--report's picture": curves}
    reads = [weights, people, eval_folder]
    with (
        reported_errors(),
        writing(files, reads, overwrite=overwrite) as outputs,
        picture_progress() as on_progress,
    ):
        from distilpose.model.data.labels.layouts import layout_for
        from distilpose.model.load import load_models
        from distilpose.model.measure.calibrate import compare, fit
        from distilpose.model.measure.figures import recalibrated_card
        from distilpose.model.runtime.pytorch.devices import use_threads
        from distilpose.model.weights import read_tensors, write_tensors

        use_threads()
        models = load_models(weights=weights, calibrate=False, device=device, dtype="float32")
        engine = models.predictor.engine
        fitted = fit(engine, people, layout=layout, on_progress=on_progress)
        for note in fitted.label_notes:
            click.echo(f"{people}: {note}", err=True)
        click.echo(f"fitted on {fitted.crops} crops of {fitted.people} people")
        tensors, card, _ = read_tensors(weights)
        figures: tuple[Figure, ...] = ()
        if eval_folder:
            comparison = compare(
                engine,
                fitted.calibration,
                eval_folder,
                layout=layout_for(eval_folder, layout),
                on_progress=on_progress,
            )
            figures = comparison.figures(eval_folder.name)
            _print(comparison)
            if figures_file and curves:
                with outputs.writing(figures_file) as json_path, outputs.writing(curves) as png:
                    comparison.write(json_path, png)
        new_card = recalibrated_card(card, figures)
        with outputs.writing(out) as unfinished:
            write_tensors(unfinished, tensors, new_card, calibration=fitted.calibration)
        click.echo(f"wrote {out}: {card.architecture} {card.version}, calibrated")


def _print(comparison: "Comparison") -> None:
    from rich.console import Console

    from distilpose.model.card import figure_text

    before, after = comparison.before, comparison.after
    console = Console()
    console.print(reliability_table(after.keypoints, before=before.keypoints))
    for raw, fitted in zip(before.reports, after.reports, strict=True):
        aps = (raw.published.ap, raw.served.ap, fitted.served.ap)
        published, served, calibrated = map(figure_text, aps)
        console.print(
            f"AP of {', '.join(raw.sources)}: {published} by the published ranking, as served "
            f"{served} before and {calibrated} after",
            soft_wrap=True,
        )
