"""Figures of evaluations that several commands measure, print and put into cards."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from distilpose.cli.options import picture_progress

if TYPE_CHECKING:
    from rich.table import Table

    from distilpose.model.card import Figure
    from distilpose.model.measure.evaluate import BoxesFrom, Report
    from distilpose.model.measure.reliability import Keypoints
    from distilpose.model.predict import Predictor

COCO_NAMES: Final = ("AP", "AP50", "AP75", "AP-M", "AP-L", "AR")
"""Of the fields of `CocoFigures`, in their order."""
AP_AS_SERVED: Final = "AP as served"
"""Ranked by the score that the service answers, which a calibration changes."""
RAW_CASE: Final = "raw scores clamped to 0..1"
CALIBRATED_CASE: Final = "calibrated"
CALIBRATED_LIMITATION: Final = (
    "Scores and spreads are calibrated on keypoints that are labelled: what is said of joints out "
    "of the picture was never checked."
)

RELIABILITY_NAMES: Final = {
    "ece": "ECE",
    "brier": "Brier",
    "score_rank": "score rank",
    "sigma_rank": "sigma rank",
    "inner_half": "inner half",
}


def evaluate_sources(
    predictor: "Predictor",
    folder: Path,
    *,
    boxes: "BoxesFrom" = "ground-truth",
    flip_test: bool = False,
    limit: int | None = None,
) -> list["Report"]:
    """A report for each annotation file of a folder, on its first `limit` pictures.

    Raises:
        DataError: the folder cannot be read, or nobody in a file has keypoints.
    """
    from distilpose.model.data.people import PeopleFolder
    from distilpose.model.measure.evaluate import evaluate

    sources = sorted({picture.source for picture in PeopleFolder(folder).pictures})
    with picture_progress() as on_progress:
        return [
            evaluate(
                predictor,
                PeopleFolder(folder, sources=[source]),
                boxes=boxes,
                flip_test=flip_test,
                limit=limit,
                on_progress=on_progress,
            )
            for source in sources
        ]


def keypoints_by_group(reports: Sequence["Report"]) -> dict[str, "Keypoints"]:
    """What was answered of people whose labels people had a hand in, by group, `all` first.

    Raises:
        DataError: none of them was found.
    """
    from distilpose.model.data.held_out import TRUSTED_LABELS
    from distilpose.model.measure.reliability import groups, keypoints_of

    results = [result for report in reports for result in report.results]
    trusted = [result for result in results if result.person.label in TRUSTED_LABELS]
    return {name: keypoints_of(group) for name, group in groups(trusted).items()}


def reliability_json(keypoints: Mapping[str, "Keypoints"]) -> dict[str, dict[str, Any]]:
    """The reliability figures of each group, as `json.dumps` takes them."""
    from distilpose.model.measure.reliability import measure

    return {group: asdict(measure(columns)) for group, columns in keypoints.items()}


def reliability_table(
    served: Mapping[str, "Keypoints"], *, before: Mapping[str, "Keypoints"] | None = None
) -> "Table":
    """The same as a table, a row a group; with `before`, each cell shows the change."""
    from rich.table import Table

    table = Table(box=None, collapse_padding=True, pad_edge=False)
    table.add_column("scores" if before is None else "before>after")
    for name in ("points", *RELIABILITY_NAMES.values()):
        table.add_column(name, justify="right")
    columns = [reliability_json(each) for each in (before, served) if each is not None]
    for group in served:
        rows = [measured[group] for measured in columns]
        changes = (">".join(figure_text(row[name]) for row in rows) for name in RELIABILITY_NAMES)
        table.add_row(group, str(rows[-1]["keypoints"]), *changes)
    return table


def reliability_protocol() -> str:
    """What the reliability figures mean."""
    from distilpose.model.measure.reliability import BINS

    return (
        "A score should be the probability of an OKS term of 0.5 or more: ECE (over "
        f"{BINS} bins of equal mass) and Brier are its errors. Ranks are Spearman's, of score with "
        "OKS term and of spread with error; inner half is the share of errors in the ellipse that "
        "should hold half."
    )


def reliability_figures(
    keypoints_by_case: Mapping[str, "Keypoints"], folder: Path
) -> tuple["Figure", ...]:
    """A card's figures of the same keypoints, answered in several ways."""
    from distilpose.model.card import Figure
    from distilpose.model.measure.reliability import measure

    measured = {case: measure(keypoints) for case, keypoints in keypoints_by_case.items()}
    count = next(iter(measured.values())).keypoints
    protocol = (
        f"{count} keypoints of {folder.name}, ground-truth boxes, no flip test. "
        f"{reliability_protocol()}"
    )
    return tuple(
        Figure(name=name, value=round(value, 3), protocol=protocol, case=case)
        for case, reliability in measured.items()
        for field, name in RELIABILITY_NAMES.items()
        if (value := getattr(reliability, field)) is not None
    )


def figure_text(figure: float | None) -> str:
    """A figure with three decimals, a dash for one that is not defined."""
    return "-" if figure is None else f"{figure:.3f}"
