"""Finds the people in photo files without a server: one line of JSON for each photo."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from distilpose.model import pictures
from distilpose.model.drawing.encode import encode
from distilpose.model.drawing.skeletons import draw_poses
from distilpose.model.errors import PictureError
from distilpose.model.files import identity
from distilpose.model.formats import SUFFIXES
from distilpose.model.load import load_models
from distilpose.model.predict import Predictor
from distilpose.model.runtime.devices import use_threads
from distilpose.service.domain import ImageAnswer, Options
from distilpose.service.intake import checked_options
from distilpose.service.rest.answer import images_out
from distilpose.service.settings import Settings, load_settings

_JPEG_SUFFIXES: Final = frozenset({".jpg", ".jpeg"})


class Photo(NamedTuple):
    """One photo, and the path that its drawing gets below the folder of drawings."""

    path: Path
    drawing: Path


def photos_in(paths: Sequence[Path]) -> Iterator[Photo]:
    """The photos that are given: files as they are, and of folders what has a picture's suffix.

    A drawing has its photo's path below the folder that was given. Its name gets .jpg added where
    it would not say that the drawing is a JPEG.
    """
    for given in paths:
        if given.is_dir():
            for path in sorted(path for path in given.rglob("*") if _looks_like_a_photo(path)):
                yield Photo(path, _drawing_of(path.relative_to(given)))
        else:
            yield Photo(given, _drawing_of(Path(given.name)))


def _looks_like_a_photo(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def _drawing_of(name: Path) -> Path:
    is_jpeg = name.suffix.lower() in _JPEG_SUFFIXES
    return name if is_jpeg else name.with_name(f"{name.name}.jpg")


def loss_by_drawing(photos: Sequence[Photo], out: Path) -> str | None:
    """Return a complaint about a drawing in `out` that would replace a photo or another drawing.

    It names both photos. None if there is no such drawing.
    """
    given = {identity(photo.path): photo.path for photo in photos}
    drawn: dict[object, Path] = {}
    for path, drawing in photos:
        target = identity(out / drawing)
        if target in given:
            text = f"the drawing of {path} would replace the photo {given[target]}"
            return f"{text}; choose a folder without photos"
        other = drawn.setdefault(target, path)
        if identity(other) != identity(path):
            text = f"{other} and {path} would both be drawn as {out / drawing}"
            return f"{text}; draw them into folders of their own"
    return None


def answer_lines(
    photos: Sequence[Photo],
    given: Mapping[str, Any],
    *,
    weights: Path | None,
    detector: Path | None,
    device: str,
    out: Path | None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[dict[str, Any]]:
    """Yield the line of each photo, and draw its poses below `out` if that is a folder.

    `given` are options as `options_of` takes them. Without
    `weights` or a `detector`, the packaged ones are used. `on_progress` receives the number of
    photos done and the total after each photo.

    Raises:
        SettingsError: the environment has settings that are unknown or out of range.
        InvalidOptions: an option is unknown or out of range.
        ModelError: the models cannot be loaded.
        OSError: a drawing cannot be written.
    """
    settings = load_settings()
    options = options_of(given, settings)
    use_threads()
    if out:
        out.mkdir(parents=True, exist_ok=True)
    predictor = load_models(weights=weights, detector=detector, device=device).predictor
    for done, (path, drawing) in enumerate(photos, start=1):
        yield answer_line(
            predictor,
            path,
            options,
            max_pixels=settings.limits.max_pixels,
            drawing=out / drawing if out else None,
        )
        on_progress(done, len(photos))


def options_of(given: Mapping[str, Any], settings: Settings) -> Options:
    """The options of a request, by their names; those not given are the settings'.

    `max_people` may exceed its setting, which protects a server.

    Raises:
        InvalidOptions: an option is unknown or out of range.
    """
    body = checked_options(given)
    options = body.model_copy(update={"max_people": None}).resolve(settings, images=1)
    return options if body.max_people is None else replace(options, max_people=body.max_people)


def answer_line(
    predictor: Predictor,
    path: Path,
    options: Options,
    *,
    max_pixels: int,
    drawing: Path | None = None,
) -> dict[str, Any]:
    """The people in a photo as JSON can hold them: `file`, and as in an answer by REST.

    A photo that cannot be read has an `error` in their place. Where a drawing is asked for, the
    poses are drawn into that file (JPEG), whose folders are made.

    Raises:
        OSError: the drawing cannot be written.
    """
    try:
        image = pictures.read(path.read_bytes(), max_pixels=max_pixels)
    except (PictureError, OSError) as err:
        detail = err.strerror if isinstance(err, OSError) else str(err)
        return {"file": str(path), "error": detail}
    [found] = predictor.detect([image], min_box_score=options.min_box_score)
    answered = [column[: options.max_people] for column in found]
    poses = predictor.poses(image, *answered, flip_test=options.flip_test)
    if drawing:
        visible = [options.visible(pose) for pose in poses]
        drawn = draw_poses(image, poses, visible=visible, draw_sigma=options.draw_sigma)
        drawing.parent.mkdir(parents=True, exist_ok=True)
        drawing.write_bytes(encode(drawn, "jpeg"))
    size_wh = (image.shape[1], image.shape[0])
    answer = ImageAnswer(str(path), size_wh, poses, people_found=len(found.scores))
    [entry] = images_out([answer], options, statuses={})
    return {"file": str(path), **entry.model_dump(exclude_unset=True, exclude={"index", "id"})}
