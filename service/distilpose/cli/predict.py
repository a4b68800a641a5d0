"""`distilpose predict`: poses of photos or folders, without a server."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distilpose.cli.options import (
    SHARE,
    model_options,
    refuse_sigma_without,
    sigma_option,
    told_errors,
)

if TYPE_CHECKING:
    from distilpose.model.predict import Predictor
    from distilpose.service.domain import Options

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif"}


@click.command()
@click.argument("photos", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for drawn pictures; made if missing.",
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
@click.option("--flip-test", is_flag=True, help="Average with the mirrored crop.")
@model_options
def command(
    photos: Sequence[Path],
    out: Path | None,
    sigma: bool,
    min_box_score: float | None,
    min_keypoint_score: float | None,
    flip_test: bool,
    **models: Any,
) -> None:
    """Print one JSON line for each photo of PHOTOS (files or folders).

    A photo that cannot be read gives a line with its error, and exit code 1 at the end.
    """
    from distilpose.model.devices import use_threads
    from distilpose.model.load import load_models
    from distilpose.service.cpus import usable_cpus
    from distilpose.service.intake import checked_options
    from distilpose.service.settings import load_settings

    refuse_sigma_without(out, sigma=sigma)
    paths = list(_photos(photos))
    given = {
        "min_box_score": min_box_score,
        "min_keypoint_score": min_keypoint_score,
        "flip_test": flip_test,
        "draw_sigma": sigma,
    }
    with told_errors():
        settings = load_settings()
        options = checked_options(given).resolve(settings, images=1)
        use_threads(usable_cpus())
        predictor = load_models(**models).predictor
    if out:
        out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path in _with_progress(paths):
        line, ok = _predict(predictor, path, options, out, max_pixels=settings.limits.max_pixels)
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
    predictor: "Predictor", path: Path, options: "Options", out: Path | None, *, max_pixels: int
) -> tuple[dict[str, Any], bool]:
    from distilpose.model.draw import draw_poses
    from distilpose.model.encode import encode
    from distilpose.service import images
    from distilpose.service.errors import ServiceError

    try:
        data = path.read_bytes()
        header = images.read_header(data, max_pixels=max_pixels)
        image = images.decode(data, header)
    except (ServiceError, OSError) as err:
        detail = err.strerror if isinstance(err, OSError) else str(err)
        return {"file": str(path), "error": detail}, False
    [found] = predictor.detect([image], min_box_score=options.min_box_score)
    poses = predictor.poses(image, *found, flip_test=options.flip_test)
    if out:
        visible = [options.visible(pose) for pose in poses]
        drawn = draw_poses(image, poses, visible=visible, draw_sigma=options.draw_sigma)
        (out / f"{path.stem}.jpg").write_bytes(encode(drawn, "jpeg"))
    return _line(path, image.shape[1::-1], poses, options), True


def _line(path: Path, size_wh: Any, poses: Sequence[Any], options: "Options") -> dict[str, Any]:
    from distilpose.service.domain import ImageAnswer
    from distilpose.service.schemas_answer import images_out

    [entry] = images_out([ImageAnswer(str(path), size_wh, poses)], options, statuses={})
    fields = entry.model_dump(exclude_unset=True, exclude={"index", "id"})
    return {"file": str(path), **fields}
