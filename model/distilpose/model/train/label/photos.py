"""Find and label people in unlabelled photos with a predictor. Knows no documents."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from distilpose.model import pictures
from distilpose.model.arrays import ImageHWC
from distilpose.model.errors import DataError, PictureError
from distilpose.model.files.manifest import without_outputs
from distilpose.model.formats import SUFFIXES
from distilpose.model.predict import Predictor
from distilpose.model.runtime.detector import Detections
from distilpose.model.train.label.trust import Labels, label

DOUBTFUL_BOX_SCORE: Final = 0.2
"""Detections with a lower score are background; between this and the minimum score of people they
are doubtful."""


class LabelledPhoto(NamedTuple):
    """The result for one photo."""

    file_name: str
    """Path relative to the folder, with slashes."""
    size_wh: tuple[int, int]
    people: Detections
    labels: Labels
    """Labels of the people, in their order."""
    doubtful: Detections
    """Detections that are neither certainly people nor certainly background."""


class LabelledFolder(NamedTuple):
    """The result for the photos of a folder."""

    folder: Path
    photos: tuple[LabelledPhoto, ...]
    left_out: tuple[str, ...]
    """The name of each unreadable photo, with the reason."""


def photo_paths(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The files of a folder with the suffix of an accepted format, sorted by name.

    What we wrote there ourselves, such as a contact sheet, is left out.

    Raises:
        DataError: there is none.
    """
    entries = folder.rglob("*") if recursive else folder.iterdir()
    given, _ = without_outputs(entries)
    paths = sorted(path for path in given if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise DataError(f"{folder}: holds no file with the suffix of a picture")
    return paths


def label_photos(
    predictor: Predictor,
    folder: Path,
    paths: Sequence[Path],
    *,
    min_box_score: float,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> LabelledFolder:
    """Label the people that the predictor finds in the photos `paths` of `folder`.

    People are detections with at least `min_box_score`. `on_progress` receives the number of photos
    done and the total after each photo.

    Raises:
        ConfigError: the predictor has no detector.
    """
    photos: list[LabelledPhoto] = []
    left_out: list[str] = []
    for done, path in enumerate(paths, start=1):
        try:
            image_HWC = pictures.read(path)
        except (PictureError, OSError) as err:
            left_out.append(str(err))
        else:
            people, doubtful = _detect(predictor, image_HWC, min_box_score)
            labels = label(predictor, image_HWC, people.boxes_xyxy_px)
            file_name = path.relative_to(folder).as_posix()
            size_wh = (image_HWC.shape[1], image_HWC.shape[0])
            photos.append(LabelledPhoto(file_name, size_wh, people, labels, doubtful))
        on_progress(done, len(paths))
    return LabelledFolder(folder, tuple(photos), tuple(left_out))


def _detect(
    predictor: Predictor, image_HWC: ImageHWC, min_box_score: float
) -> tuple[Detections, Detections]:
    """The people, and the doubtful detections."""
    [found] = predictor.detect([image_HWC], min_box_score=min(min_box_score, DOUBTFUL_BOX_SCORE))
    sure = found.scores >= min_box_score
    people, doubtful = (
        Detections(found.boxes_xyxy_px[rows], found.scores[rows]) for rows in (sure, ~sure)
    )
    return people, doubtful
