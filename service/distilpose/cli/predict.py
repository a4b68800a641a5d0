"""`distilpose predict`: poses of photos or folders, without a server."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distilpose.cli.options import model_options, told_errors

if TYPE_CHECKING:
    from distilpose.model.predict import Predictor

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif"}


@click.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for drawn pictures; made if missing.",
)
@click.option("--min-box-score", type=click.FloatRange(0, 1), default=0.25, show_default=True)
@click.option("--min-keypoint-score", type=click.FloatRange(0, 1), default=0.0, show_default=True)
@click.option("--flip-test", is_flag=True, help="Average with the mirrored crop.")
@model_options
def command(
    photos: Sequence[Path],
    out: Path | None,
    min_box_score: float,
    min_keypoint_score: float,
    flip_test: bool,
    **models: Any,
) -> None:
    """Print one JSON line for each photo of PHOTOS (files or folders).

    A photo that cannot be read gives a line with its error, and exit code 1 at the end.
    """
    from distilpose.model.devices import use_threads
    from distilpose.model.load import load_models
    from distilpose.service.cpus import usable_cpus
    from distilpose.service.domain import Options

    paths = list(_photos(photos))
    options = Options(
        min_box_score=min_box_score,
        max_people=300,
        min_keypoint_score=min_keypoint_score,
        flip_test=flip_test,
    )
    with told_errors():
        use_threads(usable_cpus())
        predictor = load_models(**models).predictor
    if out:
        out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path in _with_progress(paths):
        line, ok = _predict(predictor, path, options, out)
        click.echo(json.dumps(line))
        failed += not ok
    sys.exit(1 if failed else 0)


def _photos(arguments: Sequence[Path]) -> Iterator[Path]:
    for argument in arguments:
        if argument.is_dir():
            yield from sorted(p for p in argument.rglob("*") if p.suffix.lower() in SUFFIXES)
        else:
            yield argument


def _with_progress(paths: list[Path]) -> Iterator[Path]:
    """The paths, with a bar on standard error where that is a terminal and there are several."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = len(paths) < 2 or not console.is_terminal
    yield from track(paths, description="photos", console=console, disable=hidden)


def _predict(
    predictor: "Predictor", path: Path, options: Any, out: Path | None
) -> tuple[dict[str, Any], bool]:
    from distilpose.model.draw import draw_poses
    from distilpose.model.encode import encode
    from distilpose.service import images
    from distilpose.service.errors import ServiceError
    from distilpose.service.settings import LimitsSettings

    try:
        data = path.read_bytes()
        header = images.read_header(data, max_pixels=LimitsSettings().max_pixels)
        image = images.decode(data, header)
    except (ServiceError, OSError) as err:
        detail = err.strerror if isinstance(err, OSError) else str(err)
        return {"file": str(path), "error": detail}, False
    [found] = predictor.detect([image], min_box_score=options.min_box_score)
    poses = predictor.poses(image, *found, flip_test=options.flip_test)
    if out:
        drawn = draw_poses(image, poses, min_keypoint_score=options.min_keypoint_score)
        (out / f"{path.stem}.jpg").write_bytes(encode(drawn, "jpeg"))
    return _line(path, image.shape[1::-1], poses, options), True


def _line(path: Path, size_wh: Any, poses: Sequence[Any], options: Any) -> dict[str, Any]:
    from distilpose.service.domain import ImageAnswer
    from distilpose.service.schemas_answer import images_out

    [entry] = images_out([ImageAnswer(str(path), size_wh, poses)], options, statuses={})
    fields = entry.model_dump(exclude_unset=True, exclude={"index", "id"})
    return {"file": str(path), **fields}
