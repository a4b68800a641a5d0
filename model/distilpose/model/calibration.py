"""Convert raw score and sigma to a probability and an expected error. Knows no networks or files.

Both are fitted functions of the raw score, the student's sigma, the joint and the size of the crop,
never of sigma alone: for a teacher's map of width s and peak A the published loss is minimal at
sigma^2 = s^2 (2 sqrt(A) - 1), so that a *small* sigma means either a sharp map or a lost keypoint,
and only the score distinguishes them.
"""

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from distilpose.model.arrays import FloatArray
from distilpose.model.configs import CROP_WIDTH
from distilpose.model.errors import DataError
from distilpose.model.skeleton import KEYPOINT_COUNT, OKS_SIGMAS

_Floats: TypeAlias = npt.NDArray[np.floating[Any]]
_Gradient: TypeAlias = Callable[[_Floats], tuple[_Floats, _Floats]]
"""Maps predictions to each sample's first derivative of the loss and its expected second one."""

_LARGEST_RAW: Final = 1.5
_SIGMA_RANGE_CELL: Final = (1 / 16, 4.0)
_DOUBLINGS: Final = 3.0
"""Crop widths are clamped to between 1/8 of the network's width and 8 times that width."""
_LARGEST_EXPONENT: Final = 6.0
MEAN_ERROR: Final = math.sqrt(math.pi / 2)
"""Mean distance from the centre of a 2-D Gaussian whose standard deviation on each axis is 1."""

_RIDGE: Final = 1.0
_STEPS: Final = 100
_STILL: Final = 1e-9
_LEAST_MEAN_ERROR_CELL: Final = 1e-3
_RISE_WITH_RAW: Final = 2
"""Number of leading features that grow with the raw score."""


class Terms(BaseModel):
    """A sum of six features and an offset for each joint."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    raw_if_wide: float
    raw_if_narrow: float
    width: float
    width_squared: float
    size: float
    size_if_small: float
    joint: tuple[float, ...] = Field(min_length=KEYPOINT_COUNT, max_length=KEYPOINT_COUNT)

    def of(self, features: "_Features") -> _Floats:
        """The sum (N, 17), clamped to the range that `exp` can handle."""
        total: _Floats = np.broadcast_to(self.joint, features.width.shape)
        for name, column in features._asdict().items():
            total = total + getattr(self, name) * column
        return np.clip(total, -_LARGEST_EXPONENT, _LARGEST_EXPONENT)


class Calibrated(NamedTuple):
    """The scores and spreads of N people, which replace raw score and sigma in answers."""

    keypoint_score: FloatArray
    """(N, 17), 0..1: the probability that the keypoint's own OKS term is 0.5 or more."""
    sigma_cell: FloatArray
    """(N, 17, 2), heatmap cells: the standard deviation of the error in x and y."""


class Calibration(BaseModel):
    """The fitted functions, stored as JSON with the weights that they belong to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    log_odds: Terms
    """Log odds of a keypoint being right."""
    log_mean_error: Terms
    """Natural logarithm of the expected distance from the truth, in heatmap cells."""

    def apply(
        self, raw_score: FloatArray, sigma_cell: FloatArray, crop_widths_px: FloatArray
    ) -> Calibrated:
        """Scores and spreads of N people, from the student's outputs (N, 17) and (N, 17, 2).

        `crop_widths_px` (N,) are the widths of their crops in the image. The result is finite for
        any input. As the raw score rises, the score never falls and the spread never grows; the
        spread keeps the student's ratio of x to y.
        """
        features = _features(raw_score, sigma_cell, crop_widths_px)
        score = 1 / (1 + np.exp(-self.log_odds.of(features)))
        scale_cell = np.exp(self.log_mean_error.of(features)) / MEAN_ERROR
        within = _within_range(sigma_cell)
        return Calibrated(
            score.astype(np.float32),
            (within * (scale_cell / _root_mean_square(within))[..., None]).astype(np.float32),
        )


class Samples(NamedTuple):
    """The student's outputs for N people, and the ground truth."""

    raw_score: FloatArray
    """Shape (N, 17)."""
    sigma_cell: FloatArray
    """Shape (N, 17, 2)."""
    crop_widths_px: FloatArray
    """Shape (N,)."""
    error_cell: FloatArray
    """Distance from the labelled keypoint, (N, 17)."""
    right: npt.NDArray[np.bool_]
    """True where that distance is within `right_within_px`, (N, 17)."""
    weight: FloatArray
    """Weight of each keypoint, (N, 17); 0 where nothing is labelled."""


def right_within_px(area_px2: float | _Floats) -> _Floats:
    """Distances (..., 17) at which each keypoint's OKS term is 0.5, for people's areas (...).

    *Source:* COCO keypoint task: exp(-d^2 / (2 area k^2)) with k twice the constant of the joint.
    """
    scales_px = (
        np.sqrt(np.asarray(area_px2, np.float64) + np.spacing(1))[..., None] * 2 * OKS_SIGMAS
    )
    return np.asarray(scales_px * math.sqrt(2 * math.log(2)))


def fit(samples: Samples) -> Calibration:
    """Fit a calibration to `samples`: logistic and gamma regression, both with a ridge penalty.

    The slopes of the raw score are never negative for the score and never positive for the spread.

    Raises:
        DataError: the samples have no right or no wrong keypoint.
    """
    counted = samples.weight > 0
    right = samples.right[counted].astype(np.float64)
    if not right.size or right.min() == right.max():
        raise DataError("a calibration needs labelled keypoints, some of them right, some wrong")
    features = _features(samples.raw_score, samples.sigma_cell, samples.crop_widths_px)
    joint = np.broadcast_to(np.arange(KEYPOINT_COUNT), counted.shape)[counted]
    design = np.column_stack(
        [*(feature[counted] for feature in features), np.eye(KEYPOINT_COUNT)[joint]]
    )
    weight = samples.weight[counted].astype(np.float64)
    error_cell = samples.error_cell[counted].astype(np.float64)

    def logistic(log_odds: _Floats) -> tuple[_Floats, _Floats]:
        likely = 1 / (1 + np.exp(-log_odds))
        return likely - right, likely * (1 - likely)

    def gamma(log_mean: _Floats) -> tuple[_Floats, _Floats]:
        return 1 - error_cell * np.exp(-log_mean), np.ones_like(error_cell)

    return Calibration(
        log_odds=_regress(design, logistic, weight, start=0, raw_slope_sign=1),
        log_mean_error=_regress(
            design,
            gamma,
            weight,
            start=math.log(np.average(error_cell, weights=weight) + _LEAST_MEAN_ERROR_CELL),
            raw_slope_sign=-1,
        ),
    )


class _Features(NamedTuple):
    """The features whose weighted sums both functions are, each (N, 17)."""

    raw_if_wide: _Floats
    raw_if_narrow: _Floats
    width: _Floats
    """The student's sigma on a log scale, 0 for 1/16 cell and 1 for 4 cells."""
    width_squared: _Floats
    size: _Floats
    """Binary logarithm of the crop's width over the network's; negative for enlarged crops."""
    size_if_small: _Floats


def _features(
    raw_score: FloatArray, sigma_cell: FloatArray, crop_widths_px: FloatArray
) -> _Features:
    raw = np.clip(np.nan_to_num(raw_score.astype(np.float64)), 0, _LARGEST_RAW)
    low, high = np.log(_SIGMA_RANGE_CELL)
    width = (np.log(_root_mean_square(_within_range(sigma_cell))) - low) / (high - low)
    times = np.maximum(np.nan_to_num(crop_widths_px.astype(np.float64)), 1) / CROP_WIDTH
    size = np.clip(np.log2(times), -_DOUBLINGS, _DOUBLINGS)[:, None] + np.zeros_like(raw)
    return _Features(
        raw_if_wide=raw * width,
        raw_if_narrow=raw * (1 - width),
        width=width,
        width_squared=width**2,
        size=size,
        size_if_small=np.minimum(size, 0),
    )


def _within_range(sigma_cell: FloatArray) -> _Floats:
    return np.clip(np.nan_to_num(sigma_cell.astype(np.float64)), *_SIGMA_RANGE_CELL)


def _root_mean_square(sigma_cell: _Floats) -> _Floats:
    return np.asarray(np.sqrt(np.mean(sigma_cell**2, axis=-1)))


def _regress(
    design: _Floats, gradient: _Gradient, weight: _Floats, *, start: float, raw_slope_sign: int
) -> Terms:
    """The terms of minimum loss, without the features whose slope would have the wrong sign."""
    kept = np.ones(design.shape[1])
    while True:
        slopes, constant = _minimum(design * kept, gradient, weight, start=start)
        wrong = slopes[:_RISE_WITH_RAW] * raw_slope_sign < 0
        if not wrong.any():
            break
        kept[:_RISE_WITH_RAW][wrong] = 0
    names = _Features._fields
    joint = tuple((slopes[len(names) :] + constant).tolist())
    return Terms(**dict(zip(names, slopes.tolist(), strict=False)), joint=joint)


def _minimum(
    design: _Floats, gradient: _Gradient, weight: _Floats, *, start: float
) -> tuple[_Floats, float]:
    """Slopes and constant of minimum loss, by Fisher scoring; the ridge spares the constant."""
    design = np.column_stack([design, np.ones(len(design))])
    ridge = np.append(np.full(design.shape[1] - 1, _RIDGE), 0)
    solution = np.append(np.zeros(design.shape[1] - 1), start)
    for _ in range(_STEPS):
        first, second = gradient(design @ solution)
        curvature = (design * (weight * second)[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(curvature, design.T @ (weight * first) + ridge * solution)
        solution = solution - step
        if np.abs(step).max() < _STILL:
            break
    return solution[:-1], float(solution[-1])
