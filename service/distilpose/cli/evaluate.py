"""`distilpose evaluate`: the accuracy of weights on a COCO-keypoints folder, with the protocol."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distilpose.cli.options import (
    SHARE,
    layout_option,
    model_options,
    picture_progress,
    reported_errors,
)
from distilpose.cli.outputs import OUT_FOLDER, overwrite_option, refuse_among_labels, writing
from distilpose.cli.tables import reliability_table
from distilpose.model.files import followed, trouble_of_file
from distilpose.model.files.folder import OutputFolder
from distilpose.model.files.outputs import OutputRefused
from distilpose.model.runtime.precision import PRECISIONS

if TYPE_CHECKING:
    from rich.table import Table

    from distilpose.model.measure.network import NetworkReport


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--boxes",
    type=click.Choice(["ground-truth", "detector"]),
    default="ground-truth",
    show_default=True,
)
@click.option(
    "--min-box-score",
    type=SHARE,
    help="Score that detector boxes count from; with --boxes detector only.  [default: 0.01]",
)
@click.option("--flip-test/--no-flip-test", default=True, show_default=True)
@click.option(
    "--source",
    multiple=True,
    help="Only annotation files or splits of this name; repeatable. Default: all.",
)
@click.option("--limit", type=click.IntRange(1), help="Only the first pictures.")
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report here.",
)
@click.option(
    "--pictures",
    type=OUT_FOLDER,
    help="Draw the twenty worst people into this new or empty folder, with a table of them "
    "(worst.csv), and contact sheets of these and of ten at random.",
)
@overwrite_option
@layout_option
@model_options
@click.option(
    "--dtype",
    type=click.Choice(["auto", *PRECISIONS]),
    default="auto",
    show_default=True,
    help="Precision of both networks; auto: bfloat16 where the hardware computes in it.",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "torch", "openvino"]),
    default="auto",
    show_default=True,
    help="auto: openvino on an x86 CPU.",
)
def command(
    folder: Path,
    boxes: Any,
    min_box_score: float | None,
    flip_test: bool,
    source: tuple[str, ...],
    limit: int | None,
    json_path: Path | None,
    pictures: Path | None,
    overwrite: bool,
    layout: Any,
    **models: Any,
) -> None:
    """AP, AR, PCK and OKS of weights on the labelled people of FOLDER, with the protocol.

    Says too whether the served scores can be trusted, and what the network costs. Weights of a
    teacher are measured as well.
    """
    if min_box_score is not None and boxes != "detector":
        raise click.UsageError("--min-box-score needs --boxes detector: other boxes have no score")
    gallery_folder = _gallery_folder(json_path, pictures)
    reads = [folder, models["weights"], models["detector"]]
    with reported_errors(), writing({"--json": json_path}, reads, overwrite=overwrite) as outputs:
        refuse_among_labels("--json", json_path, [folder])
        from distilpose.model.data.people import PeopleFolder
        from distilpose.model.load import load_models
        from distilpose.model.measure import gallery
        from distilpose.model.measure.evaluate import evaluate
        from distilpose.model.measure.network import report_network
        from distilpose.model.runtime.pytorch.devices import use_threads

        people = PeopleFolder(folder, sources=source or None, layout=layout)
        use_threads()
        loaded = load_models(allow_teacher=True, **models)
        how = {"boxes": boxes, "flip_test": flip_test, "limit": limit}
        if min_box_score is not None:
            how["min_box_score"] = min_box_score
        with picture_progress() as on_progress:
            accuracy = evaluate(loaded.predictor, people, on_progress=on_progress, **how)
        measured = report_network(loaded, accuracy)
        _print(measured)
        if json_path:
            with outputs.writing(json_path) as unfinished:
                unfinished.write_text(json.dumps(measured.to_json(), indent=2) + "\n")
        if gallery_folder:
            with gallery_folder.writing() as unfinished:
                gallery.write(people, accuracy, unfinished)


def _gallery_folder(json_path: Path | None, pictures: Path | None) -> OutputFolder | None:
    """The folder of pictures; None without.

    Raises:
        click.UsageError: it has something else in it, or the report cannot be written or might have
            the name of a picture or their table.
    """
    if json_path and (trouble := _trouble_of_report(json_path, pictures)):
        raise click.UsageError(f"--json {json_path}: {trouble}")
    if not pictures:
        return None
    besides = [json_path] if json_path else []
    try:
        return OutputFolder(pictures, "--pictures", "evaluate --pictures", besides=besides)
    except OutputRefused as err:
        raise click.UsageError(str(err)) from err


def _trouble_of_report(json_path: Path, pictures: Path | None) -> str | None:
    report, folder = followed(json_path), followed(pictures) if pictures else None
    if report == folder:
        return "is the folder of --pictures too"
    if report.parent != folder:
        return trouble_of_file(json_path)
    if json_path.suffix != ".json":
        return "in the folder of --pictures, end in .json"
    return trouble_of_file(json_path) if folder.is_dir() else None


def _print(measured: "NetworkReport") -> None:
    from rich.console import Console

    console = Console()
    console.print(_accuracy_table(measured))
    for sentence in measured.summary():
        console.print(sentence, soft_wrap=True)
    if keypoints := measured.keypoints:
        console.print(reliability_table(keypoints))
    for sentence in measured.protocol():
        console.print(f"  {sentence}", style="dim", soft_wrap=True)


def _accuracy_table(measured: "NetworkReport") -> "Table":
    from rich.table import Table

    from distilpose.model.card import figure_text
    from distilpose.model.measure.figures import COCO_NAMES

    card, speed = measured.models.card, measured.speed
    table = Table(title=f"{card.architecture} {card.version}, {speed.dtype}")
    table.add_column("ranking")
    for name in COCO_NAMES:
        table.add_column(name, justify="right")
    for ranking in ("published", "served"):
        figures = asdict(getattr(measured.accuracy, ranking)).values()
        table.add_row(ranking, *map(figure_text, figures))
    return table
