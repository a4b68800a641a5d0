"""`distilpose predict`: poses of photos or folders, without a server."""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distilpose.cli.options import (
    SHARE,
    model_options,
    progress,
    refuse_sigma_without,
    reported_errors,
    sigma_option,
)
from distilpose.cli.outputs import OUT_FOLDER, overwrite_option, writing_planned
from distilpose.model.files.outputs import Output, Outputs

if TYPE_CHECKING:
    from distilpose.service.photos import Photo


@click.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out",
    type=OUT_FOLDER,
    help="Folder for drawn pictures (JPEG); made if missing. A drawing has its photo's path below "
    "the folder that was given, whose name comes first if there are several; p.jpg and p.png "
    "become p.jpg and p-2.jpg. What an earlier run drew is replaced, and is no photo if OUT lies "
    "in a folder of PHOTOS.",
)
@sigma_option
@click.option(
    "--min-box-score",
    type=SHARE,
    help="Drop boxes below. Default: detector.min_box_score of `distilpose config`.",
)
@click.option(
    "--min-keypoint-score",
    type=SHARE,
    help="Keypoints below are not visible, and not drawn. Default: limits.min_keypoint_score of "
    "`distilpose config`.",
)
@click.option(
    "--max-people",
    type=click.IntRange(1),
    help="Keep the people with the best box scores, at most so many; `people_found` counts all, up "
    "to 300. Default: limits.max_people of `distilpose config`, 50 unless changed.",
)
@overwrite_option
@model_options
def command(
    photos: Sequence[Path],
    out: Path | None,
    sigma: bool,
    min_box_score: float | None,
    min_keypoint_score: float | None,
    max_people: int | None,
    overwrite: bool,
    **models: Any,
) -> None:
    """Print one JSON line for each photo of PHOTOS (files or folders).

    A photo that cannot be read gives a line with its error, and exit code 1 at the end.
    """
    from distilpose.service.photos import photos_in

    refuse_sigma_without(out, sigma=sigma)
    found, left_out = photos_in(photos)
    if left_out:
        click.echo(f"left out: {left_out} files in the folders that distilpose wrote", err=True)
    if not found:
        raise click.UsageError("there is no photo in what was given")
    if out:
        found = [photo._replace(drawing=out / photo.drawing) for photo in found]
    given = {
        "min_box_score": min_box_score,
        "min_keypoint_score": min_keypoint_score,
        "max_people": max_people,
        "draw_sigma": sigma,
    }
    failed = 0
    with (
        reported_errors(),
        writing_planned(
            _drawings(found) if out else [],
            [*(photo.path for photo in found), models["weights"], models["detector"]],
            overwrite=overwrite,
            folder=out,
        ) as outputs,
        progress("photos", hidden=len(found) < 2) as on_progress,
    ):
        from distilpose.service.offline import answer_lines

        draw = partial(_draw, outputs) if out else None
        for line in answer_lines(found, given, draw=draw, on_progress=on_progress, **models):
            click.echo(json.dumps(line))
            failed += "error" in line
    sys.exit(1 if failed else 0)


def _drawings(photos: "Sequence[Photo]") -> list[Output]:
    return [
        Output(drawing, f"the drawing of {path},", "predict --out")
        for drawing, path in {photo.drawing: photo.path for photo in photos}.items()
    ]


def _draw(outputs: Outputs, drawing: Path, jpeg: bytes) -> None:
    with outputs.writing(drawing) as unfinished:
        unfinished.write_bytes(jpeg)
