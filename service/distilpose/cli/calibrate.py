"""`distilpose calibrate`: scores that are probabilities, spreads that are the error's scale."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from distilpose.cli.options import device_options, picture_progress, told_errors

if TYPE_CHECKING:
    from rich.table import Table

    from distilpose.model.calibration import Calibration
    from distilpose.model.engine import PoseEngine
    from distilpose.model.evaluate import Report
    from distilpose.model.reliability import Keypoints
    from distilpose.model.weights import Card

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_LIMITATION = (
    "Scores and spreads are calibrated on keypoints that are labelled: what is said of joints out "
    "of the picture was never checked."
)


class _Measured(NamedTuple):
    """One way of answering on the evaluation folder."""

    reports: list["Report"]
    """Of each source."""
    keypoints: dict[str, "Keypoints"]
    """Of each group of people."""


@click.command()
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("people", type=_FOLDER)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--eval", "eval_folder", type=_FOLDER, help="People to measure before and after on.")
@click.option(
    "--report",
    type=click.Path(file_okay=False, path_type=Path),
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
    with told_errors():
        from distilpose.model.devices import use_threads
        from distilpose.model.load import load_models
        from distilpose.model.weights import read_tensors, write_tensors
        from distilpose.service.cpus import usable_cpus

        use_threads(usable_cpus())
        engine = load_models(weights=weights, calibrate=False, **device).predictor.engine
        calibration = _fit(engine, people, draws, limit)
        tensors, card, _ = read_tensors(weights)
        if eval_folder:
            before = _measure(engine, eval_folder, None, limit)
            after = _measure(engine, eval_folder, calibration, limit)
            card = _with_figures(card, before, after, eval_folder)
            _print(before, after)
            if report:
                _write_report(report, before, after, calibration)
        write_tensors(out, tensors, _with_limitation(card), calibration=calibration)
        click.echo(f"wrote {out}: {card.architecture} {card.version}, calibrated")


def _fit(engine: "PoseEngine", folder: Path, draws: int, limit: int | None) -> "Calibration":
    from distilpose.model.calibration import fit
    from distilpose.model.people import PeopleFolder
    from distilpose.model.train.held_out import observe

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
    from distilpose.model.evaluate import evaluate
    from distilpose.model.people import PeopleFolder
    from distilpose.model.predict import Predictor
    from distilpose.model.reliability import groups, keypoints_of
    from distilpose.model.train.held_out import TRUSTED_LABELS

    predictor = Predictor(engine, calibration=calibration)
    sources = sorted({picture.source for picture in PeopleFolder(folder).pictures})
    reports = [
        evaluate(predictor, PeopleFolder(folder, sources=[source]), limit=limit)
        for source in sources
    ]
    results = [result for report in reports for result in report.results]
    trusted = [result for result in results if result.person.label in TRUSTED_LABELS]
    return _Measured(
        reports, {name: keypoints_of(group) for name, group in groups(trusted).items()}
    )


def _with_figures(card: "Card", before: _Measured, after: _Measured, folder: Path) -> "Card":
    """The card with the figures of all groups together, in place of those of an earlier run."""
    from distilpose.model.reliability import BINS, measure
    from distilpose.model.weights import Figure

    raw, fitted = measure(before.keypoints["all"]), measure(after.keypoints["all"])
    protocol = (
        f"{fitted.keypoints} keypoints of {folder.name}, ground-truth boxes, no flip test; right "
        "means an OKS term of 0.5 or more"
    )
    figures = (
        ("ECE of keypoint scores, clamped raw scores", raw.ece, f"{BINS} bins of equal mass; "),
        ("ECE of keypoint scores, calibrated", fitted.ece, f"{BINS} bins of equal mass; "),
        ("Brier score of keypoint scores, calibrated", fitted.brier, ""),
        ("share of errors in the ellipse for half of them", fitted.inner_half, ""),
    )
    measured = tuple(
        Figure(name=name, value=round(value, 4), protocol=how + protocol)
        for name, value, how in figures
    )
    names = {figure.name for figure in measured}
    kept = tuple(figure for figure in card.accuracy if figure.name not in names)
    return card.model_copy(update={"accuracy": kept + measured})


def _with_limitation(card: "Card") -> "Card":
    """The card with what is true of calibrated weights, in place of what it said of calibration."""
    others = tuple(each for each in card.limitations if "calibrated" not in each)
    return card.model_copy(update={"limitations": (*others, _LIMITATION)})


def _print(before: _Measured, after: _Measured) -> None:
    from rich.console import Console

    console = Console()
    console.print(_reliability_table(before, after))
    for raw, fitted in zip(before.reports, after.reports, strict=True):
        aps = (raw.published.ap, raw.served.ap, fitted.served.ap)
        published, served, calibrated = ("-" if ap is None else f"{ap:.3f}" for ap in aps)
        console.print(
            f"AP of {', '.join(raw.sources)}: {published} by the published ranking, as served "
            f"{served} before and {calibrated} after",
            soft_wrap=True,
        )


def _reliability_table(before: _Measured, after: _Measured) -> "Table":
    from rich.table import Table

    from distilpose.model.reliability import measure

    table = Table(box=None, collapse_padding=True, pad_edge=False)
    table.add_column("before>after")
    for name in ("points", "ECE", "Brier", "score rank", "sigma rank", "inner half"):
        table.add_column(name, justify="right")
    for group, keypoints in before.keypoints.items():
        raw, fitted = asdict(measure(keypoints)), asdict(measure(after.keypoints[group]))
        count = raw.pop("keypoints")
        changes = (f"{_told(raw[name])}>{_told(fitted[name])}" for name in raw)
        table.add_row(group, str(count), *changes)
    return table


def _told(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.3f}"


def _write_report(
    folder: Path, before: _Measured, after: _Measured, calibration: "Calibration"
) -> None:
    from distilpose.model.reliability import measure, picture

    told = {
        name: {
            "reports": [report.to_json() for report in measured.reports],
            "reliability": {
                group: asdict(measure(keypoints)) for group, keypoints in measured.keypoints.items()
            },
        }
        for name, measured in (("before", before), ("after", after))
    }
    folder.mkdir(parents=True, exist_ok=True)
    document = {"calibration": calibration.model_dump(), **told}
    (folder / "reliability.json").write_text(json.dumps(document, indent=2) + "\n")
    png = picture(before.keypoints["all"], after.keypoints["all"])
    (folder / "reliability.png").write_bytes(png)
