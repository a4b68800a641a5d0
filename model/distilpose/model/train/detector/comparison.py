"""A detector's boxes and the keypoints found in them, measured before and after its training."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from distilpose.model.card import Figure
from distilpose.model.data.labels.layouts import Layout
from distilpose.model.data.people import PeopleFolder
from distilpose.model.load import Models, load_models
from distilpose.model.measure.evaluate import BoxesFrom, evaluate
from distilpose.model.train.detector.figures import BoxFigures, box_figures
from distilpose.model.train.detector.trainer import DetectorSettings

OnProgress: TypeAlias = Callable[[int, int], None]


class SourceFigures(NamedTuple):
    """Figures of one source of people with the boxes of one origin."""

    source: str
    boxes: str
    """Their origin: `ground truth`, or the detector as it was, such as `before`."""
    figures: BoxFigures | None
    """None for ground truth."""
    keypoint_ap: float | None
    """By the published ranking, without flip test; None where nobody has keypoints."""

    def for_card(self) -> tuple[Figure, ...]:
        """The box figures as a card lists them; none for ground truth."""
        return self.figures.for_card() if self.figures else ()


class Comparison(NamedTuple):
    """People to measure a detector on; the packaged student finds keypoints in its boxes."""

    folder: Path
    settings: DetectorSettings
    layout: Layout | None = None
    """Layout of the labels, where the folder holds several."""

    def before(self, on_progress: OnProgress) -> list[SourceFigures]:
        """Measure ground-truth boxes and the detector that training starts from.

        `on_progress` gets pictures done and pictures in all, of one source at a time.

        Raises:
            DataError: the folder cannot be read, or nobody is there to be found.
            WeightsError: the detector cannot be loaded.
        """
        models = self._models(self.settings.start_from)
        origins = ("ground truth", "before")
        return [row for boxes in origins for row in self._measure(models, boxes, on_progress)]

    def after(self, detector: Path, on_progress: OnProgress) -> list[SourceFigures]:
        """Measure the detector that training ended with; raises as `before` does."""
        return self._measure(self._models(detector), "after", on_progress)

    def _models(self, detector: Path | None) -> Models:
        return load_models(
            device=self.settings.device,
            dtype="float32",
            detector=detector,
            detector_image_size_px=self.settings.image_size_px,
        )

    def _measure(self, models: Models, boxes: str, on_progress: OnProgress) -> list[SourceFigures]:
        rows = []
        for people in PeopleFolder(self.folder, layout=self.layout).by_source():
            figures: BoxFigures | None = None
            boxes_from: BoxesFrom = "ground-truth"
            if boxes != "ground truth":
                figures = box_figures(models.detector, people, on_progress=on_progress)
                boxes_from = "detector"
            keypoint_ap = _keypoint_ap(models, people, boxes_from, on_progress)
            rows.append(SourceFigures(people.pictures[0].source, boxes, figures, keypoint_ap))
        return rows


def _keypoint_ap(
    models: Models, people: PeopleFolder, boxes: BoxesFrom, on_progress: OnProgress
) -> float | None:
    if not any(each.can_be_measured for picture in people.pictures for each in picture.people):
        return None
    report = evaluate(models.predictor, people, boxes=boxes, on_progress=on_progress)
    return report.published.ap
