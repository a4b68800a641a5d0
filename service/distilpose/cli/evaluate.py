"""`distilpose evaluate`: what weights reach on a COCO-keypoints folder, and by which protocol."""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distilpose.cli.figures import (
    COCO_NAMES,
    figure_text,
    keypoints_by_group,
    reliability_json,
    reliability_protocol,
    reliability_table,
)
from distilpose.cli.options import SHARE, model_options, picture_progress, reported_errors
from distilpose.cli.outputs import OUT_FOLDER, refuse_replacing, trouble_of_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from distilpose.model.data.people import PeopleFolder
    from distilpose.model.load import Models
    from distilpose.model.measure.box_recall import BoxRecall
    from distilpose.model.measure.cost import Cost, Speed
    from distilpose.model.measure.evaluate import Report
    from distilpose.model.measure.reliability import Keypoints
    from distilpose.model.predict import Predictor


@dataclass(frozen=True)
class _Measured:
    """One evaluation, with what is measured of the network besides."""

    models: "Models"
    report: "Report"
    cost: "Cost"
    speed: "Speed"

    @cached_property
    def keypoints(self) -> "dict[str, Keypoints]":
        """By group of people; empty where no keypoint was labelled by people, or nobody found."""
        from distilpose.model.errors import DataError

        try:
            return keypoints_by_group([self.report])
        except DataError:
            return {}

    def protocol(self) -> list[str]:
        """How the figures came about."""
        from distilpose.model.predict import TeacherPredictor
        from distilpose.model.runtime import teacher

        sentences = [*self.report.protocol(), reliability_protocol()]
        is_teacher = isinstance(self.models.predictor, TeacherPredictor)
        return [*sentences, teacher.PROTOCOL] if is_teacher else sentences

    def to_json(self) -> dict[str, Any]:
        """Everything as `json.dumps` takes it."""
        card = self.models.card
        network = {"architecture": card.architecture, "version": card.version}
        return {
            "network": network | {"sha256": self.models.sha256, "calibrated": card.calibrated},
            "cost": asdict(self.cost),
            "speed": asdict(self.speed),
            "reliability": reliability_json(self.keypoints),
            **self.report.to_json(),
            "protocol": self.protocol(),
        }


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
    "--source", multiple=True, help="Only annotation files of this stem; repeatable. Default: all."
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
@model_options
def command(
    folder: Path,
    boxes: Any,
    min_box_score: float | None,
    flip_test: bool,
    source: tuple[str, ...],
    limit: int | None,
    json_path: Path | None,
    pictures: Path | None,
    **models: Any,
) -> None:
    """AP, AR, PCK and OKS of weights on FOLDER (COCO keypoints), with the protocol.

    Says too whether the served scores can be trusted, and what the network costs. Weights of a
    teacher are measured as well.
    """
    if min_box_score is not None and boxes != "detector":
        raise click.UsageError("--min-box-score needs --boxes detector: other boxes have no score")
    with reported_errors():
        _prepare_outputs(folder, json_path, pictures)
        from distilpose.model.container import usable_cpus
        from distilpose.model.data.people import PeopleFolder
        from distilpose.model.load import load_models
        from distilpose.model.measure import gallery
        from distilpose.model.measure.cost import measure_speed, network_cost
        from distilpose.model.runtime.devices import use_threads

        people = PeopleFolder(folder, sources=source or None)
        use_threads(usable_cpus())
        loaded = load_models(allow_teacher=True, **models)
        engine = loaded.predictor.engine
        how = {"boxes": boxes, "flip_test": flip_test, "limit": limit}
        if min_box_score is not None:
            how["min_box_score"] = min_box_score
        report = _measure(loaded.predictor, people, how)
        measured = _Measured(
            loaded,
            report,
            network_cost(loaded.card.architecture),
            measure_speed(engine, engine.buckets[-1]),
        )
        _print(measured)
        if json_path:
            json_path.write_text(json.dumps(measured.to_json(), indent=2) + "\n")
        if pictures:
            gallery.write(people, report, pictures)


def _prepare_outputs(folder: Path, json_path: Path | None, pictures: Path | None) -> None:
    """Make the folder of pictures, and return if the report can be written too.

    Raises:
        click.UsageError: the report cannot be written, would replace a file of the data set, or
            might have the name of a picture or their table.
        ConfigError: the folder of pictures cannot be made or is not empty.
    """
    refuse_replacing({"--json": json_path}, [folder])
    if pictures:
        from distilpose.model.measure.gallery import prepare_folder

        if json_path and _is_within(json_path, pictures) and json_path.suffix != ".json":
            raise click.UsageError(f"--json {json_path}: in the folder of --pictures, end in .json")
        prepare_folder(pictures)
    if json_path and (trouble := trouble_of_file(json_path)):
        raise click.UsageError(f"--json {json_path}: {trouble}")


def _is_within(path: Path, folder: Path) -> bool:
    return path.parent.resolve() == folder.resolve()


def _measure(predictor: "Predictor", people: "PeopleFolder", how: dict[str, Any]) -> "Report":
    from distilpose.model.measure.evaluate import evaluate

    with picture_progress() as on_progress:
        return evaluate(predictor, people, on_progress=on_progress, **how)


def _print(measured: _Measured) -> None:
    from rich.console import Console

    from distilpose.model.similarity import PCK_FRACTION

    console = Console()
    report, cost, speed = measured.report, measured.cost, measured.speed
    console.print(_accuracy_table(measured))
    console.print(f"mean OKS {report.mean_oks:.3f}, PCK@{PCK_FRACTION} {figure_text(report.pck)}")
    if recall := report.box_recall:
        console.print(f"box recall {_in_words(recall)}", soft_wrap=True)
    console.print(
        f"{cost.parameters / 1e6:.2f} M parameters, {cost.gmacs:.2f} GMACs a crop; "
        f"{speed.crops_per_second:.1f} crops/s in batches of {speed.batch_size} "
        f"({speed.dtype} by {speed.runtime} on {speed.device}, {speed.threads} threads)",
        soft_wrap=True,
    )
    if keypoints := measured.keypoints:
        console.print(reliability_table(keypoints))
    for sentence in measured.protocol():
        console.print(f"  {sentence}", style="dim", soft_wrap=True)


def _in_words(recall: "Mapping[str, BoxRecall]") -> str:
    """The share of each size of people, and how many they are."""
    everyone, *sizes = (
        f"{figure_text(each.share)} of {each.people}{'' if size == 'all' else f' {size}'}"
        for size, each in recall.items()
    )
    return f"{everyone} ({', '.join(sizes)})"


def _accuracy_table(measured: _Measured) -> "Table":
    from rich.table import Table

    card, speed = measured.models.card, measured.speed
    table = Table(title=f"{card.architecture} {card.version}, {speed.dtype}")
    table.add_column("ranking")
    for name in COCO_NAMES:
        table.add_column(name, justify="right")
    for ranking in ("published", "served"):
        figures = asdict(getattr(measured.report, ranking)).values()
        table.add_row(ranking, *map(figure_text, figures))
    return table
