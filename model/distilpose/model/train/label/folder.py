"""One call from a folder of photos to a file of labels."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from distilpose.model.data.person import DOUBTFUL_LABEL
from distilpose.model.load import load_models
from distilpose.model.runtime.pytorch.devices import use_threads
from distilpose.model.train.label import file
from distilpose.model.train.label.photos import LabelledFolder, label_photos, photo_paths


class Written(NamedTuple):
    """The photos that were labelled, and a count of the people in the file."""

    labelled: LabelledFolder
    with_keypoints: int
    """People of whom a keypoint is trusted."""
    without_keypoints: int
    """People who have a box alone."""
    doubtful: int
    """Neither surely people nor surely background."""


def label_folder(
    folder: Path,
    out: Path,
    *,
    weights: Path | None,
    device: str,
    min_box_score: float,
    recursive: bool,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Written:
    """Label the people in the photos of `folder`, and write the labels to `out`.

    The network is a student or a teacher, the packaged student where `weights` is None. All CPUs
    are used. `on_progress` gets photos done and photos in all.

    Raises:
        DataError: there is no photo, or `out` cannot be written.
        WeightsError: a weights file is missing or unreadable.
        ConfigError: the device is not available.
    """
    paths = photo_paths(folder, recursive=recursive)
    use_threads()
    models = load_models(weights=weights, device=device, allow_teacher=True)
    labelled = label_photos(
        models.predictor, folder, paths, min_box_score=min_box_score, on_progress=on_progress
    )
    info = file.about(models, min_box_score=min_box_score)
    document = file.document(labelled.photos, info)
    file.write(out, document)
    people = Counter(entry["label"] for entry in document["annotations"])
    return Written(
        labelled, people[file.PSEUDO_LABEL], people[file.BOX_LABEL], people[DOUBTFUL_LABEL]
    )
