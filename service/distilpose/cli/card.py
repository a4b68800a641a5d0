"""`distilpose card`: weights with a card of a person's words and of figures measured here."""

from collections.abc import Sequence
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
from distilpose.cli.outputs import OUT_FILE, overwrite_option, writing
from distilpose.model.files import trouble_of_file

if TYPE_CHECKING:
    from distilpose.model.measure.evaluate import Report
    from distilpose.model.measure.protocols import Protocol
    from distilpose.model.runtime.precision import PrecisionChoice

_SUFFIX: Final = ".safetensors"


@click.command()
@click.argument("weights", type=IN_FILE)
@click.option("--text", required=True, type=IN_FILE, help="YAML file with the words of the card.")
@click.option("--eval", "folder", required=True, type=IN_FOLDER, help="People to measure on.")
@click.option("--out", required=True, type=OUT_FILE, help="NAME.safetensors")
@overwrite_option
@layout_option
@device_option
def command(
    weights: Path,
    text: Path,
    folder: Path,
    out: Path,
    overwrite: bool,
    layout: Any,
    device: str,
) -> None:
    """Write the tensors and the calibration of WEIGHTS to OUT with a new card, and OUT's .md.

    Figures are measured from ground-truth and from detector boxes, with and without flip test, on
    each annotation file of the folder: in float32, and in the precision that `serve` would choose
    here if that is another.
    """
    page = out.with_suffix(".md")
    if out.suffix != _SUFFIX:
        raise click.UsageError(f"--out {out}: must be NAME{_SUFFIX}")
    if trouble := trouble_of_file(page):
        raise click.UsageError(f"--out {out}: {trouble}")
    files, reads = {"--out": out, "--out's page": page}, [weights, text, folder]
    with (
        reported_errors(),
        writing(files, reads, overwrite=overwrite) as outputs,
        picture_progress() as on_progress,
    ):
        from distilpose.model.card import card_markdown, read_text
        from distilpose.model.header import read_card
        from distilpose.model.load import load_models
        from distilpose.model.measure.figures import (
            CardMeasurement,
            card_without_figures,
            combined,
        )
        from distilpose.model.runtime.pytorch.devices import use_threads
        from distilpose.model.weights import read_tensors, write_tensors

        words = read_text(text)
        use_threads()
        chosen: tuple[PrecisionChoice, ...] = ("float32", "auto")
        exact, served = (
            load_models(weights=weights, allow_teacher=True, device=device, dtype=dtype)
            for dtype in chosen
        )
        same = served.predictor.engine.precision == exact.predictor.engine.precision
        figures = combined(
            *(
                CardMeasurement(models, folder, on_progress, _print, layout).figures()
                for models in ([exact] if same else [exact, served])
            )
        )
        tensors, old, _ = read_tensors(weights)
        card = card_without_figures(words, old).model_copy(update=figures)
        with outputs.writing(out) as unfinished:
            write_tensors(unfinished, tensors, card, calibration=exact.predictor.calibration)
        with outputs.writing(page) as unfinished:
            unfinished.write_text(card_markdown(read_card(out)), "utf-8")
        click.echo(f"wrote {out} and {page.name}")


def _print(protocol: "Protocol", reports: "Sequence[Report]") -> None:
    from distilpose.model.card import figure_text

    aps = ", ".join(f"{figure_text(each.published.ap)} of {each.sources[0]}" for each in reports)
    click.echo(f"{protocol.case}: AP {aps}", err=True)
