"""`distilpose data`: what is wrong with a data set, its people as a cache, labels by a network."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distilpose.cli.options import (
    IN_FILE,
    IN_FOLDER,
    SHARE,
    Stopped,
    device_option,
    layout_option,
    picture_progress,
    reported_errors,
)
from distilpose.cli.outputs import (
    OUT_FILE,
    OUT_FOLDER,
    overwrite_option,
    refuse_among_labels,
    writing,
)

if TYPE_CHECKING:
    from rich.table import Table

    from distilpose.model.data.check import Finding, Report, RuleResult
    from distilpose.model.data.rules import Rule

_EXAMPLES = 3
_WORDS = {"source", "rule", "of"}
"""Columns that hold no numbers."""


@click.group()
def command() -> None:
    """Check a data set, cut its people into a cache, or label photos."""


@command.command("check")
@click.argument("folder", type=IN_FOLDER)
@click.option("--against", type=IN_FOLDER, help="Folder that must share no picture with FOLDER.")
@click.option(
    "--decode", is_flag=True, help="Decode every picture: finds broken ones and scaled copies."
)
@click.option("--sheet", "sheet_path", type=OUT_FILE, help="Write a contact sheet (PNG) here.")
@click.option("--json", "json_path", type=OUT_FILE, help="Write everything that was found here.")
@overwrite_option
@layout_option
def check_(
    folder: Path,
    against: Path | None,
    decode: bool,
    sheet_path: Path | None,
    json_path: Path | None,
    overwrite: bool,
    layout: Any,
) -> None:
    """Say what is wrong with the labels and pictures of FOLDER, and what is done about it.

    Exit code 0 where no rule is broken more often than it tolerates, 1 where one is, and 2 where
    the check was stopped: the labels cannot be read, more than half of them would be left out, or
    nobody is labelled.
    """
    files = {"--json": json_path, "--sheet": sheet_path}
    with (
        reported_errors(failure=Stopped),
        writing(files, [folder, against], overwrite=overwrite) as outputs,
    ):
        refuse_among_labels("--json", json_path, [folder, against])
        from distilpose.model.data.check import check
        from distilpose.model.data.labels.layouts import layout_for
        from distilpose.model.data.people import PeopleFolder
        from distilpose.model.data.sheet import write_sheet
        from distilpose.model.errors import DataError

        people = PeopleFolder(folder, layout=layout)
        other = PeopleFolder(against, layout=layout_for(against, layout)) if against else None
        with picture_progress() as on_progress:
            report = check(people, against=other, decode=decode, on_progress=on_progress)
        _print(report, decode=decode, against=against)
        if json_path:
            with outputs.writing(json_path) as unfinished:
                report.write_json(unfinished)
        if not report.people:
            raise DataError(f"{folder}: nobody is labelled in {len(report.pictures)} pictures")
        if sheet_path:
            with outputs.writing(sheet_path) as unfinished:
                write_sheet(unfinished, people, report, against=other)
    sys.exit(0 if report.is_usable else 1)


@command.command()
@click.argument("folder", type=IN_FOLDER)
@click.argument("out", type=OUT_FOLDER)
@click.option(
    "--workers", type=click.IntRange(1), help="Processes that cut. Default: one for each CPU."
)
@layout_option
def cache(folder: Path, out: Path, workers: int | None, layout: Any) -> None:
    """Cut the people of FOLDER into the folder OUT, 279 kB a person.

    A cache that is there already and fits is left as it is.
    """
    from distilpose.model.container import usable_cpus
    from distilpose.model.data.people import PeopleFolder
    from distilpose.model.train.feed.cache import build_cache

    with reported_errors():
        people = PeopleFolder(folder, layout=layout)
        for note in people.labels.notes():
            click.echo(note, err=True)
        with picture_progress() as on_progress:
            built = build_cache(
                people, out, workers=workers or usable_cpus(), on_progress=on_progress
            )
    size_gb = built.crops_NHWC.nbytes / 1e9
    click.echo(f"{out}: {len(built)} people, {size_gb:.2f} GB, digest {built.digest[:12]}")


def _labels_path(_: click.Context, __: click.Parameter, path: Path) -> Path:
    if not path.name.endswith(".json.gz"):
        raise click.BadParameter(f"{path} does not end in .json.gz")
    return path


@command.command()
@click.argument("folder", type=IN_FOLDER)
@click.option(
    "--teacher",
    "weights",
    type=IN_FILE,
    help="Weights of the network that labels, a teacher or a student; the packaged student by "
    "default.",
)
@click.option(
    "--out", type=OUT_FILE, required=True, callback=_labels_path, help="Labels, a *.json.gz."
)
@click.option(
    "--min-box-score",
    type=SHARE,
    default=0.5,
    show_default=True,
    help="Detections from 0.2 up to this are doubtful: neither people nor background.",
)
@click.option("--recursive", is_flag=True, help="Photos of the folders in FOLDER too.")
@click.option("--sheet", "sheet_path", type=OUT_FILE, help="Write a contact sheet (PNG) here.")
@overwrite_option
@device_option
def label(
    folder: Path, out: Path, sheet_path: Path | None, overwrite: bool, **options: Any
) -> None:
    """Label the people in the photos of FOLDER, which have no labels yet, by a network.

    A keypoint's weight is its score, a probability if the network is calibrated, times the
    agreement of two views. Training finds the photos where OUT lies in FOLDER. A photo that cannot
    be read is named and left out.
    """
    files, reads = {"--out": out, "--sheet": sheet_path}, [folder, options["weights"]]
    with reported_errors(), writing(files, reads, overwrite=overwrite) as outputs:
        from distilpose.model.train.label.folder import label_folder
        from distilpose.model.train.label.sheet import write_sheet

        with picture_progress() as on_progress, outputs.writing(out) as unfinished:
            written = label_folder(folder, unfinished, on_progress=on_progress, **options)
        left_out = written.labelled.left_out
        for reason in left_out:
            click.echo(f"left out: {reason}", err=True)
        click.echo(
            f"{out}: {len(written.labelled.photos)} photos, {len(left_out)} left out; "
            f"{written.with_keypoints} people with keypoints, {written.without_keypoints} without, "
            f"{written.doubtful} doubtful"
        )
        if sheet_path:
            with outputs.writing(sheet_path) as unfinished:
                if not write_sheet(unfinished, written.labelled):
                    click.echo("nobody was found: there is no sheet")


def _print(report: "Report", *, decode: bool, against: Path | None) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    console.print(_table("People", report.people_table()))
    console.print(
        _table("People with keypoints, their points, and everyone by size", report.points_table())
    )
    console.print(_table("Findings", report.rules_table()))
    for result in report.results:
        if result.breaches:
            console.print(_heading(result), soft_wrap=True)
        for example in _examples(report, result.rule):
            console.print(f"  {example}", style="dim", soft_wrap=True)
    console.print(report.summary(), soft_wrap=True)
    if not decode:
        console.print("Pictures were not decoded: --decode finds broken ones and scaled copies.")
    if against is None:
        console.print("Duplicates were not looked for: --against finds them.")


def _heading(result: "RuleResult") -> str:
    rule = result.rule
    count = f"{result.breaches} of {result.total} {rule.of}"
    done = f"; {rule.done}" if rule.done else ""
    return f"{rule.name}: {rule.meaning}, {count}{done}"


def _examples(report: "Report", rule: "Rule") -> list[str]:
    """The first findings of a rule, each with its place."""
    found = [f"{_place(each)}: {each.breach.detail}" for each in report.of(rule)[:_EXAMPLES]]
    faults = [
        f"{each.origin.file}, {each.origin.entry}: {each.breach.detail}"
        for each in report.faults_of(rule)[:_EXAMPLES]
    ]
    return found + faults


def _place(finding: "Finding") -> str:
    place = f"picture {finding.picture.id}, {finding.picture.file_name}"
    number = finding.person.annotation_id if finding.person else None
    return place if number is None else f"{place}, annotation {number} of {finding.picture.source}"


def _table(title: str, cells: Sequence[Sequence[str]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for name in cells[0]:
        table.add_column(Text(name), justify="left" if name in _WORDS else "right")
    for row in cells[1:]:
        # As texts: names of files and labels may look like markup.
        table.add_row(*(Text(each, "bold red" if each == "WRONG" else "") for each in row))
    return table
