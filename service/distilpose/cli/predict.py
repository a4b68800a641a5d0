"""`distilpose predict`: poses of photos or folders, without a server."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from distilpose.cli.options import (
    SHARE,
    model_options,
    refuse_sigma_without,
    reported_errors,
    sigma_option,
)
from distilpose.cli.outputs import OUT_FOLDER, identity

if TYPE_CHECKING:
    from distilpose.model.predict import Predictor
    from distilpose.service.domain import Options

_JPEG_SUFFIXES = {".jpg", ".jpeg"}


class _Photo(NamedTuple):
    """One photo, and the path that its drawing gets below the folder of drawings."""

    path: Path
    drawing: Path


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
    from distilpose.model.container import usable_cpus
    from distilpose.model.load import load_models
    from distilpose.model.runtime.devices import use_threads
    from distilpose.service.intake import checked_options
    from distilpose.service.settings import load_settings

    refuse_sigma_without(out, sigma=sigma)
    found = list(_photos(photos))
    if out:
        _refuse_losses(found, out)
    given = {
        "min_box_score": min_box_score,
        "min_keypoint_score": min_keypoint_score,
        "flip_test": flip_test,
        "draw_sigma": sigma,
    }
    with reported_errors():
        settings = load_settings()
        options = checked_options(given).resolve(settings, images=1)
        use_threads(usable_cpus())
        if out:
            out.mkdir(parents=True, exist_ok=True)
        predictor = load_models(**models).predictor
        failed = 0
        for photo in _with_progress(found):
            drawing = out / photo.drawing if out else None
            max_pixels = settings.limits.max_pixels
            line, ok = _predict(predictor, photo.path, options, drawing, max_pixels=max_pixels)
            click.echo(json.dumps(line))
            failed += not ok
    sys.exit(1 if failed else 0)


def _photos(arguments: Sequence[Path]) -> Iterator[_Photo]:
    for argument in arguments:
        if argument.is_dir():
            for path in sorted(p for p in argument.rglob("*") if _looks_like_a_photo(p)):
                yield _Photo(path, _drawing_of(path.relative_to(argument)))
        else:
            yield _Photo(argument, _drawing_of(Path(argument.name)))


def _looks_like_a_photo(path: Path) -> bool:
    from distilpose.model.formats import SUFFIXES

    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def _drawing_of(name: Path) -> Path:
    """The same name, with .jpg added where it would not say that the drawing is a JPEG."""
    is_jpeg = name.suffix.lower() in _JPEG_SUFFIXES
    return name if is_jpeg else name.with_name(f"{name.name}.jpg")


def _refuse_losses(photos: Sequence[_Photo], out: Path) -> None:
    """Return if no drawing would replace a photo, or the drawing of another one.

    Raises:
        click.UsageError: naming both photos.
    """
    given = {identity(photo.path): photo.path for photo in photos}
    drawn: dict[object, Path] = {}
    for path, drawing in photos:
        target = identity(out / drawing)
        if target in given:
            text = f"the drawing of {path} would replace the photo {given[target]}"
            raise click.UsageError(f"--out {out}: {text}; choose a folder without photos")
        other = drawn.setdefault(target, path)
        if identity(other) != identity(path):
            text = f"{other} and {path} would both be drawn as {out / drawing}"
            raise click.UsageError(f"--out {out}: {text}; draw them into folders of their own")


def _with_progress(photos: list[_Photo]) -> Iterator[_Photo]:
    """The photos, with a bar on standard error where that is a terminal and there are several."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = len(photos) < 2 or not console.is_terminal
    yield from track(photos, description="photos", console=console, disable=hidden)


def _predict(
    predictor: "Predictor", path: Path, options: "Options", drawing: Path | None, *, max_pixels: int
) -> tuple[dict[str, Any], bool]:
    from distilpose.model import pictures
    from distilpose.model.drawing.encode import encode
    from distilpose.model.drawing.skeletons import draw_poses
    from distilpose.model.errors import PictureError

    try:
        image = pictures.read(path.read_bytes(), max_pixels=max_pixels)
    except (PictureError, OSError) as err:
        detail = err.strerror if isinstance(err, OSError) else str(err)
        return {"file": str(path), "error": detail}, False
    [found] = predictor.detect([image], min_box_score=options.min_box_score)
    poses = predictor.poses(image, *found, flip_test=options.flip_test)
    if drawing:
        visible = [options.visible(pose) for pose in poses]
        drawn = draw_poses(image, poses, visible=visible, draw_sigma=options.draw_sigma)
        drawing.parent.mkdir(parents=True, exist_ok=True)
        drawing.write_bytes(encode(drawn, "jpeg"))
    return _line(path, image.shape[1::-1], poses, options), True


def _line(path: Path, size_wh: Any, poses: Sequence[Any], options: "Options") -> dict[str, Any]:
    from distilpose.service.domain import ImageAnswer
    from distilpose.service.rest.answer import images_out

    [entry] = images_out([ImageAnswer(str(path), size_wh, poses)], options, statuses={})
    fields = entry.model_dump(exclude_unset=True, exclude={"index", "id"})
    return {"file": str(path), **fields}
