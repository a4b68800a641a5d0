"""`distilpose predict`: poses of photos or folders, without a server."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from distilpose.cli.options import (
    SHARE,
    model_options,
    progress,
    refuse_sigma_without,
    reported_errors,
    sigma_option,
)
from distilpose.cli.outputs import OUT_FOLDER


@click.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out",
    type=OUT_FOLDER,
    help="Folder for drawn pictures (JPEG); made if missing. A drawing has its photo's path below "
    "the folder that was given, and .jpg added unless the name ends in .jpg or .jpeg: a/x.png of "
    "folder a is x.png.jpg. An older drawing is replaced, a given photo never.",
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
@model_options
def command(
    photos: Sequence[Path],
    out: Path | None,
    sigma: bool,
    min_box_score: float | None,
    min_keypoint_score: float | None,
    max_people: int | None,
    **models: Any,
) -> None:
    """Print one JSON line for each photo of PHOTOS (files or folders).

    A photo that cannot be read gives a line with its error, and exit code 1 at the end.
    """
    from distilpose.service.offline import answer_lines, loss_by_drawing, photos_in

    refuse_sigma_without(out, sigma=sigma)
    found = list(photos_in(photos))
    if out and (loss := loss_by_drawing(found, out)):
        raise click.UsageError(f"--out {out}: {loss}")
    given = {
        "min_box_score": min_box_score,
        "min_keypoint_score": min_keypoint_score,
        "max_people": max_people,
        "draw_sigma": sigma,
    }
    failed = 0
    with reported_errors(), progress("photos", hidden=len(found) < 2) as on_progress:
        for line in answer_lines(found, given, out=out, on_progress=on_progress, **models):
            click.echo(json.dumps(line))
            failed += "error" in line
    sys.exit(1 if failed else 0)
