"""`distilpose calibrate`: scores that are probabilities, spreads that are the error's scale."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from distilpose.cli.figures import (
    AP_AS_SERVED,
    CALIBRATED_CASE,
    CALIBRATED_LIMITATION,
    RAW_CASE,
    evaluate_sources,
    figure_text,
    keypoints_by_group,
    reliability_figures,
    reliability_json,
    reliability_table,
)
from distilpose.cli.options import device_options, picture_progress, reported_errors
from distilpose.cli.outputs import OUT_FILE, OUT_FOLDER, refuse_replacing

if TYPE_CHECKING:
    from distilpose.model.calibration import Calibration
    from distilpose.model.card import Card, Figure
    from distilpose.model.measure.evaluate import Report
    from distilpose.model.measure.reliability import Keypoints
    from distilpose.model.runtime.engine import PoseEngine

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class _Measured(NamedTuple):
    """One way of answering on the evaluation folder."""

    reports: list["Report"]
    """Of each source."""
    keypoints: dict[str, "Keypoints"]
    """Of each group of people."""


@click.command()
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("people", type=_FOLDER)
@click.option("--out", required=True, type=OUT_FILE)
@click.option("--eval", "eval_folder", type=_FOLDER, help="People to measure before and after on.")
@click.option(
    "--report",
    type=OUT_FOLDER,
    help="Write the figures and a picture of the curves into this folder; needs --eval.",
)
@click.option(
    "--draws", type=click.IntRange(1), default=4, show_default=True, help="Boxes a person."
)
@click.option("--limit", type=click.IntRange(1), help="Only the first pictures of each folder.")
@device_options
def command(
    weights: Path,
    people: Path,
    out: Path,
    eval_folder: Path | None,
    report: Path | None,
    draws: int,
    limit: int | None,
    **device: Any,
) -> None:
    """Write WEIGHTS to OUT with a calibration that fits the held-out people of PEOPLE.

    Held out are the pictures whose id is divisible by 20.
    """
    if report and not eval_folder:
        raise click.UsageError(
            "--report needs --eval: a calibration proves nothing on its own data"
        )
    refuse_replacing({"--out": out}, [weights, people, eval_folder])
    with reported_errors():
        from distilpose.model.container import usable_cpus
        from distilpose.model.load import load_models
        from distilpose.model.runtime.devices import use_threads
        from distilpose.model.weights import read_tensors, write_tensors

        use_threads(usable_cpus())
        engine = load_models(weights=weights, calibrate=False, **device).predictor.engine
        calibration = _fit(engine, people, draws, limit)
        tensors, card, _ = read_tensors(weights)
        figures: tuple[Figure, ...] = ()
        if eval_folder:
            before = _measure(engine, eval_folder, None, limit)
            after = _measure(engine, eval_folder, calibration, limit)
            cases = {RAW_CASE: before.keypoints["all"], CALIBRATED_CASE: after.keypoints["all"]}
            figures = reliability_figures(cases, eval_folder)
            _print(before, after)
            if report:
                _write_report(report, before, after, calibration)
        write_tensors(out, tensors, _renewed(card, figures), calibration=calibration)
        click.echo(f"wrote {out}: {card.architecture} {card.version}, calibrated")


def _fit(engine: "PoseEngine", folder: Path, draws: int, limit: int | None) -> "Calibration":
    from distilpose.model.calibration import fit
    from distilpose.model.data.held_out import observe
    from distilpose.model.data.people import PeopleFolder

    with picture_progress() as on_progress:
        samples = observe(
            engine, PeopleFolder(folder), draws=draws, limit=limit, on_progress=on_progress
        )
    click.echo(
        f"fitted on {len(samples.raw_score)} crops of {len(samples.raw_score) // draws} people"
    )
    return fit(samples)


def _measure(
    engine: "PoseEngine", folder: Path, calibration: "Calibration | None", limit: int | None
) -> _Measured:
    from distilpose.model.predict import Predictor

    reports = evaluate_sources(Predictor(engine, calibration=calibration), folder, limit=limit)
    return _Measured(reports, keypoints_by_group(reports))


def _renewed(card: "Card", reliability: "tuple[Figure, ...]") -> "Card":
    """The card without what the new calibration makes untrue, with figures of before and after."""
    return card.model_copy(
        update={
            "accuracy": tuple(each for each in card.accuracy if each.name != AP_AS_SERVED),
            "reliability": reliability,
            "limitations": (
                *(each for each in card.limitations if "calibrated" not in each),
                CALIBRATED_LIMITATION,
            ),
        }
    )


def _print(before: _Measured, after: _Measured) -> None:
    from rich.console import Console

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


def _write_report(
    folder: Path, before: _Measured, after: _Measured, calibration: "Calibration"
) -> None:
    from distilpose.model.measure.reliability import picture

    measured_by_time = {
        name: {
            "reports": [report.to_json() for report in measured.reports],
            "reliability": reliability_json(measured.keypoints),
        }
        for name, measured in (("before", before), ("after", after))
    }
    folder.mkdir(parents=True, exist_ok=True)
    document = {"calibration": calibration.model_dump(), **measured_by_time}
    (folder / "reliability.json").write_text(json.dumps(document, indent=2) + "\n")
    png = picture(before.keypoints["all"], after.keypoints["all"])
    (folder / "reliability.png").write_bytes(png)
