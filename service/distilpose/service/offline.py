"""Finds the people in photo files without a server: one line of JSON for each photo."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from distilpose.model import pictures
from distilpose.model.drawing.encode import encode
from distilpose.model.drawing.skeletons import draw_poses
from distilpose.model.errors import PictureError
from distilpose.model.files.cache import cache_at
from distilpose.model.load import load_models
from distilpose.model.predict import Predictor
from distilpose.service.domain import ImageAnswer, Options
from distilpose.service.intake import checked_options
from distilpose.service.photos import Photo
from distilpose.service.rest.answer import images_out
from distilpose.service.settings import Settings, load_settings


def answer_lines(
    photos: Sequence[Photo],
    given: Mapping[str, Any],
    *,
    weights: Path | None,
    detector: Path | None,
    device: str,
    draw: Callable[[Path, bytes], None] | None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[dict[str, Any]]:
    """Yield the line of each photo, and have its poses drawn if `draw` is given.

    That gets the drawing's path and its bytes (JPEG), and the line names the path. `given` are
    options as `options_of` takes them. Without `weights` or a `detector`, the packaged ones are
    used. `on_progress` receives the number of photos done and the total after each photo.

    Raises:
        SettingsError: the environment has settings that are unknown or out of range.
        InvalidOptions: an option is unknown or out of range.
        ModelError: the models cannot be loaded.
        OSError: a drawing cannot be written.
    """
    settings = load_settings()
    options = options_of(given, settings)
    predictor = load_models(
        weights=weights, detector=detector, device=device, cache=cache_at(settings.model.cache)
    ).predictor
    for done, (path, drawing) in enumerate(photos, start=1):
        line = answer_line(
            predictor,
            path,
            options,
            max_pixels=settings.limits.max_pixels,
            draw=partial(draw, drawing) if draw else None,
        )
        yield line | ({"drawing": str(drawing)} if draw and "error" not in line else {})
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
    draw: Callable[[bytes], object] | None = None,
) -> dict[str, Any]:
    """The people in a photo as JSON can hold them: `file`, and as in an answer by REST.

    A photo that cannot be read has an `error` in their place. `draw` gets the photo with its
    poses drawn (JPEG).

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
    if draw:
        visible = [options.visible(pose) for pose in poses]
        drawn = draw_poses(image, poses, visible=visible, draw_sigma=options.draw_sigma)
        draw(encode(drawn, "jpeg"))
    size_wh = (image.shape[1], image.shape[0])
    answer = ImageAnswer(str(path), size_wh, poses, people_found=len(found.scores))
    [entry] = images_out([answer], options, statuses={})
    return {"file": str(path), **entry.model_dump(exclude_unset=True, exclude={"index", "id"})}
