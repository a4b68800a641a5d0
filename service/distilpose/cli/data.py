"""`distilpose data`: what is wrong with a data set, and its people as a cache for training."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distilpose.cli.options import picture_progress, told_errors

if TYPE_CHECKING:
    from rich.table import Table

    from distilpose.model.data_check import Report

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_OUT_FILE = click.Path(dir_okay=False, path_type=Path)
_EXAMPLES = 3


@click.group()
def command() -> None:
    """Check a data set, or cut its people into a cache."""


@command.command()
@click.argument("folder", type=_FOLDER)
@click.option("--against", type=_FOLDER, help="Folder that must share no picture with FOLDER.")
@click.option(
    "--decode", is_flag=True, help="Decode every picture: finds broken ones and scaled copies."
)
@click.option("--sheet", "sheet_path", type=_OUT_FILE, help="Write a contact sheet (PNG) here.")
@click.option("--json", "json_path", type=_OUT_FILE, help="Write everything that was found here.")
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
    from distilpose.model import data_check, data_sheet
    from distilpose.model.encode import encode
    from distilpose.model.people import PeopleFolder

    with told_errors():
        people = PeopleFolder(folder)
        other = PeopleFolder(against) if against else None
        with picture_progress() as on_progress:
            report = data_check.check(people, against=other, decode=decode, on_progress=on_progress)
        _print(report, decode=decode, against=against)
        if json_path:
            findings = [finding.to_json() for finding in report.findings]
            json_path.write_text(json.dumps(findings, indent=2) + "\n")
        if sheet_path:
            sheet_path.write_bytes(encode(data_sheet.sheet(people, report, against=other), "png"))
    sys.exit(0 if report.is_usable else 1)


@command.command()
@click.argument("folder", type=_FOLDER)
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
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
    from distilpose.model.people import PeopleFolder
    from distilpose.model.train.cache import build_cache
    from distilpose.service.cpus import usable_cpus

    with told_errors():
        people = PeopleFolder(folder, sources=source or None)
        with picture_progress() as on_progress:
            built = build_cache(
                people, out, workers=workers or usable_cpus(), on_progress=on_progress
            )
    size_gb = built.crops_NHWC.nbytes / 1e9
    click.echo(f"{out}: {len(built)} people, {size_gb:.2f} GB, digest {built.digest[:12]}")


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
