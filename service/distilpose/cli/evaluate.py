"""`distilpose evaluate`: what weights reach on a COCO-keypoints folder, and by which protocol."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distilpose.cli.options import model_options, picture_progress, told_errors

if TYPE_CHECKING:
    from distilpose.model.evaluate import Report
    from distilpose.model.people import PeopleFolder
    from distilpose.model.predict import Predictor


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--boxes",
    type=click.Choice(["ground-truth", "detector"]),
    default="ground-truth",
    show_default=True,
)
@click.option("--flip-test/--no-flip-test", default=True, show_default=True)
@click.option(
    "--source", multiple=True, help="Only annotation files of this stem; repeatable. Default: all."
)
@click.option("--limit", type=click.IntRange(1), help="Only the first pictures.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the report here.")
@click.option(
    "--pictures",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write contact sheets of the worst ten and of ten at random into this folder.",
)
@model_options
def command(
    folder: Path,
    boxes: Any,
    flip_test: bool,
    source: tuple[str, ...],
    limit: int | None,
    json_path: Path | None,
    pictures: Path | None,
    **models: Any,
) -> None:
    """AP, AR, PCK and OKS of weights on FOLDER (COCO keypoints), with the protocol."""
    from distilpose.model.devices import use_threads
    from distilpose.model.load import load_models
    from distilpose.model.people import PeopleFolder
    from distilpose.service.cpus import usable_cpus

    with told_errors():
        people = PeopleFolder(folder, sources=source or None)
        use_threads(usable_cpus())
        loaded = load_models(**models)
        report = _measure(loaded.predictor, people, boxes, flip_test, limit)
    engine = loaded.predictor.engine
    student = {
        "architecture": loaded.card.architecture,
        "version": loaded.card.version,
        "sha256": loaded.sha256,
        "dtype": str(engine.dtype).removeprefix("torch."),
        "device": engine.device.type,
    }
    _print(report, student)
    if json_path:
        json_path.write_text(json.dumps({"student": student, **report.to_json()}, indent=2) + "\n")
    if pictures:
        _write_sheets(people, report, pictures)


def _measure(
    predictor: "Predictor", people: "PeopleFolder", boxes: Any, flip_test: bool, limit: int | None
) -> "Report":
    from distilpose.model.evaluate import evaluate

    with picture_progress() as on_progress:
        return evaluate(
            predictor,
            people,
            boxes=boxes,
            flip_test=flip_test,
            limit=limit,
            on_progress=on_progress,
        )


def _print(report: "Report", student: dict[str, str]) -> None:
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{student['architecture']} {student['version']}, {student['dtype']}")
    table.add_column("ranking")
    for name in ("AP", "AP50", "AP75", "AP-M", "AP-L", "AR"):
        table.add_column(name, justify="right")
    for ranking in ("published", "served"):
        figures = asdict(getattr(report, ranking)).values()
        table.add_row(ranking, *("-" if v is None else f"{v:.3f}" for v in figures))
    console = Console()
    console.print(table)
    pck = "-" if report.pck is None else f"{report.pck:.3f}"
    console.print(f"mean OKS {report.mean_oks:.3f}, PCK@0.2 {pck}")
    for sentence in report.protocol():
        console.print(f"  {sentence}", style="dim", soft_wrap=True)


def _write_sheets(people: "PeopleFolder", report: "Report", folder: Path) -> None:
    from distilpose.model.encode import encode
    from distilpose.model.evaluate import sheet

    folder.mkdir(parents=True, exist_ok=True)
    for name, results in (("worst", report.worst(10)), ("random", report.at_random(10))):
        (folder / f"{name}.png").write_bytes(encode(sheet(people, results), "png"))
