"""`distilpose data`: what is wrong with a data set, its people as a cache, labels by a network."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distilpose.cli.options import SHARE, device_options, picture_progress, reported_errors
from distilpose.cli.outputs import OUT_FILE, OUT_FOLDER, refuse_replacing

if TYPE_CHECKING:
    from rich.table import Table

    from distilpose.model.data.check import Report
    from distilpose.model.load import Models
    from distilpose.model.train.label.photos import LabelledFolder

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_WEIGHTS = click.Path(exists=True, dir_okay=False, path_type=Path)
_EXAMPLES = 3


@click.group()
def command() -> None:
    """Check a data set, cut its people into a cache, or label photos."""


@command.command()
@click.argument("folder", type=_FOLDER)
@click.option("--against", type=_FOLDER, help="Folder that must share no picture with FOLDER.")
@click.option(
    "--decode", is_flag=True, help="Decode every picture: finds broken ones and scaled copies."
)
@click.option("--sheet", "sheet_path", type=OUT_FILE, help="Write a contact sheet (PNG) here.")
@click.option("--json", "json_path", type=OUT_FILE, help="Write everything that was found here.")
def check(
    folder: Path,
    against: Path | None,
    decode: bool,
    sheet_path: Path | None,
    json_path: Path | None,
) -> None:
    """Say what is wrong with FOLDER (COCO keypoints).

    Exit code 1 where more breaks a rule than the rule tolerates.
    """
    refuse_replacing({"--json": json_path, "--sheet": sheet_path}, [folder, against])
    from distilpose.model.data import check, sheet
    from distilpose.model.data.people import PeopleFolder
    from distilpose.model.drawing.encode import encode

    with reported_errors():
        people = PeopleFolder(folder)
        other = PeopleFolder(against) if against else None
        with picture_progress() as on_progress:
            report = check.check(people, against=other, decode=decode, on_progress=on_progress)
        _print(report, decode=decode, against=against)
        if json_path:
            findings = [finding.to_json() for finding in report.findings]
            json_path.write_text(json.dumps(findings, indent=2) + "\n")
        if sheet_path:
            sheet_path.write_bytes(encode(sheet.sheet(people, report, against=other), "png"))
    sys.exit(0 if report.is_usable else 1)


@command.command()
@click.argument("folder", type=_FOLDER)
@click.argument("out", type=OUT_FOLDER)
@click.option(
    "--source", multiple=True, help="Only annotation files of this stem; repeatable. Default: all."
)
@click.option(
    "--workers", type=click.IntRange(1), help="Processes that cut. Default: one for each CPU."
)
def cache(folder: Path, out: Path, source: tuple[str, ...], workers: int | None) -> None:
    """Cut the people of FOLDER (COCO keypoints) into the folder OUT, 279 kB a person.

    A cache that is there already and fits is left as it is.
    """
    from distilpose.model.container import usable_cpus
    from distilpose.model.data.people import PeopleFolder
    from distilpose.model.train.feed.cache import build_cache

    with reported_errors():
        people = PeopleFolder(folder, sources=source or None)
        with picture_progress() as on_progress:
            built = build_cache(
                people, out, workers=workers or usable_cpus(), on_progress=on_progress
            )
    size_gb = built.crops_NHWC.nbytes / 1e9
    click.echo(f"{out}: {len(built)} people, {size_gb:.2f} GB, digest {built.digest[:12]}")


def _labels_path(_: click.Context, __: click.Parameter, path: Path) -> Path:
    if not path.name.endswith(".json.gz"):
        raise click.BadParameter(f"{path} does not end in .json.gz")
    if path.exists():
        raise click.BadParameter(f"{path} is there already, and labels are not replaced")
    return path


@command.command()
@click.argument("folder", type=_FOLDER)
@click.option(
    "--teacher",
    "teacher_path",
    type=_WEIGHTS,
    help="Weights of the network that labels, a teacher or a student; the packaged student by "
    "default.",
)
@click.option(
    "--out", type=OUT_FILE, required=True, callback=_labels_path, help="Labels, a new *.json.gz."
)
@click.option("--detector", type=_WEIGHTS, help="Detection weights; packaged by default.")
@click.option(
    "--min-box-score",
    type=SHARE,
    default=0.5,
    show_default=True,
    help="Detections from 0.2 up to this are doubtful: neither people nor background.",
)
@click.option("--recursive", is_flag=True, help="Photos of the folders in FOLDER too.")
@click.option("--limit", type=click.IntRange(1), help="Only the first photos.")
@click.option("--sheet", "sheet_path", type=OUT_FILE, help="Write a contact sheet (PNG) here.")
@device_options
def label(
    folder: Path,
    teacher_path: Path | None,
    out: Path,
    detector: Path | None,
    min_box_score: float,
    recursive: bool,
    limit: int | None,
    sheet_path: Path | None,
    **device: str,
) -> None:
    """Label the people in the photos of FOLDER, which have no labels yet, by a network.

    A keypoint's weight is its score, a probability if the network is calibrated, times the
    agreement of two views. Training finds the photos where OUT lies in FOLDER. A photo that cannot
    be read is named and left out.
    """
    refuse_replacing({"--out": out, "--sheet": sheet_path}, [folder, teacher_path, detector])
    from distilpose.model.train.label import file
    from distilpose.model.train.label.photos import label_photos, photo_paths

    with reported_errors():
        paths = photo_paths(folder, recursive=recursive)[:limit]
        models = _labelling_models(teacher_path, detector, **device)
        with picture_progress() as on_progress:
            labelled = label_photos(
                models.predictor,
                folder,
                paths,
                min_box_score=min_box_score,
                on_progress=on_progress,
            )
        info = file.about(models, min_box_score=min_box_score)
        document = file.document(labelled.photos, info)
        file.write(out, document)
        _print_labels(out, labelled, Counter(a["label"] for a in document["annotations"]))
        if sheet_path:
            _write_sheet(sheet_path, labelled)


def _labelling_models(
    weights: Path | None, detector: Path | None, *, device: str, dtype: str
) -> "Models":
    from distilpose.model.container import usable_cpus
    from distilpose.model.load import load_models
    from distilpose.model.runtime.devices import use_threads

    use_threads(usable_cpus())
    return load_models(
        weights=weights, detector=detector, device=device, dtype=dtype, allow_teacher=True
    )


def _print_labels(out: Path, labelled: "LabelledFolder", people: Counter[str]) -> None:
    for reason in labelled.left_out:
        click.echo(f"left out: {reason}", err=True)
    click.echo(
        f"{out}: {len(labelled.photos)} photos, {len(labelled.left_out)} left out; "
        f"{people['pseudo']} people with keypoints, {people['box']} without, "
        f"{people['doubtful']} doubtful"
    )


def _write_sheet(path: Path, labelled: "LabelledFolder") -> None:
    from distilpose.model.drawing.encode import encode
    from distilpose.model.train.label.sheet import sheet

    if any(len(photo.people.scores) for photo in labelled.photos):
        path.write_bytes(encode(sheet(labelled), "png"))
    else:
        click.echo("nobody was found: there is no sheet")


def _print(report: "Report", *, decode: bool, against: Path | None) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_people_table(report))
    console.print(_rules_table(report))
    for result in report.results:
        if result.breaches:
            console.print(f"{result.rule.name}: {result.rule.meaning}", soft_wrap=True)
        for finding in report.of(result.rule)[:_EXAMPLES]:
            where = f"picture {finding.picture.id}, {finding.picture.file_name}"
            console.print(f"  {where}: {finding.breach.detail}", style="dim", soft_wrap=True)
    if not decode:
        console.print("Pictures were not decoded: --decode finds broken ones and scaled copies.")
    if against is None:
        console.print("Duplicates were not looked for: --against finds them.")


def _people_table(report: "Report") -> "Table":
    from rich.table import Table

    counts = report.people_by_label()
    labels = sorted({label for _, label in counts})
    table = Table(title="People", title_justify="left")
    table.add_column("source")
    for column in ("pictures", *labels):
        table.add_column(column, justify="right")
    for source in sorted({picture.source for picture in report.pictures}):
        pictures = sum(picture.source == source for picture in report.pictures)
        of_label = [counts[source, label] for label in labels]
        table.add_row(source, f"{pictures}", *(f"{count}" if count else "-" for count in of_label))
    return table


def _rules_table(report: "Report") -> "Table":
    from rich.table import Table

    table = Table(title="Findings", title_justify="left")
    table.add_column("rule")
    table.add_column("broken", justify="right")
    table.add_column("of")
    for column in ("share", "tolerated", ""):
        table.add_column(column, justify="right")
    for result in report.results:
        table.add_row(
            result.rule.name,
            f"{result.breaches}",
            f"{result.total} {result.rule.of}",
            f"{result.share:.2%}",
            f"{result.rule.tolerated_share:.1%}",
            "ok" if result.is_tolerated else "[bold red]WRONG[/]",
        )
    return table
