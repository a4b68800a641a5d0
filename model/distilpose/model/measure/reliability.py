"""Reliability: scores as probabilities and spreads as the scale of the error, measured and drawn.

Knows the results of an evaluation, and nothing of the calibration behind their scores.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from distilpose.model.calibration import MEAN_ERROR, right_within_px
from distilpose.model.data.held_out import TRUSTED_LABELS
from distilpose.model.errors import DataError
from distilpose.model.measure.evaluate import PersonResult, Report

BINS: Final = 15
"""Of equal mass: each holds as much weight of keypoints as the others."""
BOX_SIDES_PX: Final = (64, 128, 256)
"""Boundaries of the size groups, as the square root of the box's area."""
NAMES: Final = {
    "ece": "ECE",
    "brier": "Brier",
    "score_rank": "score rank",
    "sigma_rank": "sigma rank",
    "inner_half": "inner half",
}
"""Fields of `Reliability` that are figures -> their names in tables and cards."""
PROTOCOL: Final = (
    "A score should be the probability of an OKS term of 0.5 or more: ECE (over "
    f"{BINS} bins of equal mass) and Brier are its errors. Ranks are Spearman's, of score with "
    "OKS term and of spread with error; inner half is the share of errors in the ellipse that "
    "should hold half."
)
"""The meaning of these figures, to be shown beside them."""

_BORDER_PX: Final = 1.0
_INNER_HALF: Final = 2 * math.log(2)
"""Squared radius, in standard deviations, of the circle that holds half of a 2-D Gaussian."""
_DPI: Final = 100

_Floats = npt.NDArray[np.float64]


class Keypoints(NamedTuple):
    """Labelled keypoints and what was answered of them, a row each; every column is (M,)."""

    score: _Floats
    """0..1."""
    oks_term: _Floats
    """Similarity of this keypoint alone, 0..1."""
    right: _Floats
    """1 where that is 0.5 or more, else 0."""
    sigma_px: _Floats
    """Root mean square of the spreads in x and y."""
    error_px: _Floats
    in_inner_half: _Floats
    """1 where the truth lies in the ellipse that should hold half of all errors, else 0."""
    weight: _Floats
    """Trust in the label, above 0."""


@dataclass(frozen=True)
class Reliability:
    """Figures of some keypoints. Ranks are Spearman's, None where all values are the same."""

    keypoints: int
    ece: float
    """Expected calibration error over `BINS` bins."""
    brier: float
    score_rank: float | None
    """Of the score with the OKS term."""
    sigma_rank: float | None
    """Of the spread with the error, both in image pixels."""
    inner_half: float
    """Share of errors inside the ellipse that should hold half of them."""


class CurvePoint(NamedTuple):
    """One bin of a reliability curve: the value promised and the value observed."""

    promised: float
    observed: float
    mass: float
    """The bin's share of all weight."""


def keypoints_by_group(reports: Sequence[Report]) -> dict[str, Keypoints]:
    """Return the keypoints of everyone found who was labelled by people, by group, `all` first.

    Raises:
        DataError: nobody of them was found.
    """
    results = [result for report in reports for result in report.results]
    trusted = [result for result in results if result.person.label in TRUSTED_LABELS]
    return {name: keypoints_of(group) for name, group in groups(trusted).items()}


def groups(results: Sequence[PersonResult]) -> dict[str, list[PersonResult]]:
    """The people who were found: `all`, by source, by box size, and by being cut off by the border.

    Raises:
        DataError: nobody with a trusted keypoint was found.
    """
    found = [each for each in results if each.pose is not None and _weight(each).any()]
    if not found:
        raise DataError("nobody with labelled keypoints was found, so scores cannot be checked")
    grouped: dict[str, list[PersonResult]] = {}
    for result in found:
        for name in (result.picture.source, _size_group(result), _border_group(result)):
            grouped.setdefault(name, []).append(result)
    return {"all": found} | {name: grouped[name] for name in sorted(grouped)}


def keypoints_of(group: Sequence[PersonResult]) -> Keypoints:
    """The labelled keypoints of people who were found, as `groups` gives them."""
    poses = [result.pose for result in group if result.pose is not None]
    truth_xy_px = np.array([result.person.keypoints_xy_px for result in group], np.float64)
    offset_px = np.array([pose.keypoints_xy_px for pose in poses]) - truth_xy_px
    sigma_px = np.array([pose.sigma_px for pose in poses], np.float64)
    error_px = np.linalg.norm(offset_px, axis=-1)
    radius_px = right_within_px(np.array([result.person.area_px2 for result in group]))
    weight = np.array([_weight(result) for result in group], np.float64)
    deviations_squared = np.sum((offset_px / sigma_px) ** 2, axis=-1)
    columns = Keypoints(
        score=np.array([pose.keypoint_score for pose in poses], np.float64),
        oks_term=0.5 ** ((error_px / radius_px) ** 2),
        right=(error_px <= radius_px).astype(np.float64),
        sigma_px=np.sqrt(np.mean(sigma_px**2, axis=-1)),
        error_px=error_px,
        in_inner_half=(deviations_squared <= _INNER_HALF).astype(np.float64),
        weight=weight,
    )
    return Keypoints(*(column[weight > 0] for column in columns))


def measure(keypoints: Keypoints) -> Reliability:
    """The figures of M keypoints, each counting by its weight."""
    weight = keypoints.weight
    return Reliability(
        keypoints=len(weight),
        ece=sum(abs(p.promised - p.observed) * p.mass for p in score_curve(keypoints)),
        brier=float(np.average((keypoints.score - keypoints.right) ** 2, weights=weight)),
        score_rank=rank_correlation(keypoints.score, keypoints.oks_term, weight),
        sigma_rank=rank_correlation(keypoints.sigma_px, keypoints.error_px, weight),
        inner_half=float(np.average(keypoints.in_inner_half, weights=weight)),
    )


def to_json(keypoints: Mapping[str, Keypoints]) -> dict[str, dict[str, Any]]:
    """The figures of each group, as `json.dumps` takes them."""
    return {group: asdict(measure(columns)) for group, columns in keypoints.items()}


def score_curve(keypoints: Keypoints) -> list[CurvePoint]:
    """Mean score and share of right keypoints in bins of rising score."""
    return _curve(keypoints.score, keypoints.right, keypoints.weight)


def spread_curve(keypoints: Keypoints) -> list[CurvePoint]:
    """Mean error that the spreads promise and mean error in bins of rising spread, image pixels."""
    return _curve(keypoints.sigma_px * MEAN_ERROR, keypoints.error_px, keypoints.weight)


def rank_correlation(some: _Floats, other: _Floats, weight: _Floats) -> float | None:
    """Spearman's correlation of two columns (M,), -1..1; None where a column is constant."""
    ranks = np.stack([_ranks(some, weight), _ranks(other, weight)])
    (a, both), (_, b) = np.cov(ranks, aweights=weight, ddof=0)
    return float(both / math.sqrt(a * b)) if a > 0 and b > 0 else None


def picture(before: Keypoints, after: Keypoints) -> bytes:
    """A PNG of the curves of scores and of spreads, before and after calibration."""
    figure = Figure(figsize=(11, 5), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    scores, spreads = figure.subplots(1, 2)
    scores.set(xlabel="score", ylabel="share of right keypoints", xlim=(0, 1), ylim=(0, 1))
    spreads.set(xlabel="mean error that sigma promises, px", ylabel="mean error, px")
    spreads.set(xscale="log", yscale="log")
    for name, keypoints in (("before", before), ("after", after)):
        ece = measure(keypoints).ece
        _draw(scores, score_curve(keypoints), label=f"{name}, expected error {ece:.3f}")
        _draw(spreads, spread_curve(keypoints), label=name)
    for axes in (scores, spreads):
        axes.axline((1, 1), (2, 2), color="grey", linestyle=":", label="as promised")
        axes.set_aspect("equal", adjustable="datalim" if axes is spreads else "box")
        axes.legend()
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _draw(axes: Axes, curve: Sequence[CurvePoint], *, label: str) -> None:
    promised, observed, _ = zip(*curve, strict=True)
    axes.plot(promised, observed, marker="o", label=label)


def _curve(promised: _Floats, observed: _Floats, weight: _Floats) -> list[CurvePoint]:
    order = np.argsort(promised, kind="stable")
    before = np.cumsum(weight[order]) - weight[order] / 2
    numbers = (before / weight.sum() * BINS).astype(int)
    rows_of_bins = [order[numbers == number] for number in np.unique(numbers)]
    return [
        CurvePoint(
            float(np.average(promised[rows], weights=weight[rows])),
            float(np.average(observed[rows], weights=weight[rows])),
            float(weight[rows].sum() / weight.sum()),
        )
        for rows in rows_of_bins
    ]


def _ranks(values: _Floats, weight: _Floats) -> _Floats:
    """Middle ranks in units of weight, equal values sharing one."""
    _, places = np.unique(values, return_inverse=True)
    mass = np.bincount(places, weights=weight)
    return np.asarray((np.cumsum(mass) - mass / 2)[places])


def _weight(result: PersonResult) -> npt.NDArray[np.float32]:
    return result.person.keypoint_weight * (result.person.visibility > 0)


def _size_group(result: PersonResult) -> str:
    x1, y1, x2, y2 = result.person.box_xyxy_px.tolist()
    side_px = math.sqrt((x2 - x1) * (y2 - y1))
    reached = [limit for limit in BOX_SIDES_PX if side_px >= limit]
    return f"side >= {reached[-1]:3} px" if reached else f"side <  {BOX_SIDES_PX[0]:3} px"


def _border_group(result: PersonResult) -> str:
    x1, y1, x2, y2 = result.person.box_xyxy_px.tolist()
    width, height = result.picture.size_wh
    cut_off = min(x1, y1, width - x2, height - y2) <= _BORDER_PX
    return "cut off" if cut_off else "whole"
