"""Calibrations with constant answers."""

import math

from distilpose.model.calibration import MEAN_ERROR, Calibration, Terms
from distilpose.model.skeleton import KEYPOINT_COUNT


def constant_calibration(*, score: float, sigma_cell: float) -> Calibration:
    """Returns this score and this spread for any input; the spread keeps its ratio of x to y."""
    zero = dict.fromkeys(set(Terms.model_fields) - {"joint"}, 0.0)
    log_odds, log_mean_error = math.log(score / (1 - score)), math.log(sigma_cell * MEAN_ERROR)
    return Calibration(
        log_odds=Terms(**zero, joint=(log_odds,) * KEYPOINT_COUNT),
        log_mean_error=Terms(**zero, joint=(log_mean_error,) * KEYPOINT_COUNT),
    )
