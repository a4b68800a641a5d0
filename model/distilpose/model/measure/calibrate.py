"""A calibration fitted on held-out people, and its effect measured on others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from distilpose.model import calibration as calibrations
from distilpose.model.calibration import Calibration
from distilpose.model.card import Figure
from distilpose.model.data.held_out import observe
from distilpose.model.data.labels.layouts import Layout
from distilpose.model.data.people import PeopleFolder
from distilpose.model.measure import reliability
from distilpose.model.measure.evaluate import Report
from distilpose.model.measure.figures import CALIBRATED_CASE, RAW_CASE, reliability_figures
from distilpose.model.measure.protocols import PLAIN, evaluate_sources
from distilpose.model.measure.reliability import Keypoints, keypoints_by_group
from distilpose.model.predict import Predictor
from distilpose.model.runtime.engine import PoseEngine

_DRAWS: Final = 4
"""Boxes of each person that a calibration is fitted on."""


class Fit(NamedTuple):
    """A calibration, and the number of crops and people it was fitted on."""

    calibration: Calibration
    crops: int
    people: int
    label_notes: tuple[str, ...] = ()
    """Sentences about labels that were left out or repaired."""


class Answers(NamedTuple):
    """One way of scoring, measured on the evaluation folder."""

    reports: list[Report]
    """One for each source."""
    keypoints: dict[str, Keypoints]
    """By group of people."""


class Comparison(NamedTuple):
    """The same evaluation with raw scores and with calibrated ones."""

    calibration: Calibration
    before: Answers
    after: Answers

    def figures(self, people: str) -> tuple[Figure, ...]:
        """Reliability before and after, as a card of weights measured on `people` lists it."""
        by_case = {RAW_CASE: self.before, CALIBRATED_CASE: self.after}
        return reliability_figures(
            {case: answers.keypoints["all"] for case, answers in by_case.items()}, people
        )

    def write(self, figures: Path, curves: Path) -> None:
        """Write the figures (JSON) and a picture of the curves (PNG).

        Raises:
            OSError: a file cannot be written.
        """
        document = {
            "calibration": self.calibration.model_dump(),
            "before": _json(self.before),
            "after": _json(self.after),
        }
        figures.write_text(json.dumps(document, indent=2) + "\n")
        png = reliability.picture(self.before.keypoints["all"], self.after.keypoints["all"])
        curves.write_bytes(png)


def fit(
    engine: PoseEngine,
    folder: Path,
    *,
    layout: Layout | None = None,
    on_progress: Callable[[int, int], None],
) -> Fit:
    """Fit a calibration to the held-out people of a folder, each in several jittered boxes.

    `layout` chooses where the folder holds several.
    `on_progress` gets pictures done and pictures in all after each one.

    Raises:
        DataError: nobody is held out, or a picture cannot be read.
    """
    people = PeopleFolder(folder, layout=layout)
    samples = observe(engine, people, draws=_DRAWS, on_progress=on_progress)
    crops = len(samples.raw_score)
    notes = tuple(people.labels.notes())
    return Fit(calibrations.fit(samples), crops, crops // _DRAWS, notes)


def compare(
    engine: PoseEngine,
    calibration: Calibration,
    folder: Path,
    *,
    layout: Layout | None = None,
    on_progress: Callable[[int, int], None],
) -> Comparison:
    """Measure raw and calibrated scores on each source of a folder.

    `layout` chooses where the folder holds several.
    `on_progress` gets pictures done and pictures in all, of one source at a time.

    Raises:
        DataError: the folder cannot be read, or nobody with trusted keypoints was found.
    """

    def measure(calibration: Calibration | None) -> Answers:
        predictor = Predictor(engine, calibration=calibration)
        reports = evaluate_sources(predictor, folder, PLAIN, layout=layout, on_progress=on_progress)
        return Answers(reports, keypoints_by_group(reports))

    return Comparison(calibration, before=measure(None), after=measure(calibration))


def _json(answers: Answers) -> dict[str, object]:
    return {
        "reports": [report.to_json() for report in answers.reports],
        "reliability": reliability.to_json(answers.keypoints),
    }
