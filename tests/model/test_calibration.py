"""Calibration: the fit, and the properties that hold for any input."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from distilpose.model.calibration import Calibration, Samples, Terms, fit, right_within_px
from distilpose.model.errors import DataError

ANY_FLOAT = st.floats(width=32, allow_nan=True, allow_infinity=True)
SLOPES = st.floats(-1e6, 1e6)


def terms(**values: Any) -> Terms:
    zero = dict.fromkeys(set(Terms.model_fields) - {"joint"}, 0.0)
    return Terms(**{"joint": (0.0,) * 17, **zero, **values})


def calibration(log_odds: Terms | None = None, log_mean_error: Terms | None = None) -> Calibration:
    return Calibration(
        log_odds=log_odds or terms(), log_mean_error=log_mean_error or terms(width=1.0)
    )


def crowd(count: int = 600, *, rises: bool = True, seed: int = 0) -> Samples:
    """People whose keypoints are right with probability raw score and miss by 4 - 3 raw cells."""
    generator = np.random.default_rng(seed)
    raw = generator.uniform(0, 1, (count, 17)).astype(np.float32)
    sure = raw if rises else 1 - raw
    spread_cell = 4 - 3 * sure
    return Samples(
        raw_score=raw,
        sigma_cell=generator.uniform(0.5, 3, (count, 17, 2)).astype(np.float32),
        crop_widths_px=generator.uniform(40, 800, count).astype(np.float32),
        error_cell=generator.rayleigh(spread_cell).astype(np.float32),
        right=generator.uniform(size=raw.shape) < sure,
        weight=np.ones_like(raw),
    )


@pytest.fixture(scope="module")
def fitted() -> Calibration:
    return fit(crowd())


def test_a_keypoint_is_right_within_the_distance_where_its_oks_term_is_one_half() -> None:
    # The nose's constant is 0.026: sqrt(2 ln 2) * 100 px * 2 * 0.026.
    assert right_within_px(10_000.0)[0] == pytest.approx(6.1225, abs=1e-4)
    assert right_within_px(np.array([1.0, 4.0])).shape == (2, 17)


@pytest.mark.parametrize("wanted", [0.2, 0.5, 0.8])
def test_of_keypoints_with_a_score_that_share_is_right(fitted: Calibration, wanted: float) -> None:
    fresh = crowd(seed=1)
    score, _ = fitted.apply(fresh.raw_score, fresh.sigma_cell, fresh.crop_widths_px)
    near = np.abs(score - wanted) < 0.05
    assert near.sum() > 300
    assert fresh.right[near].mean() == pytest.approx(wanted, abs=0.06)


@pytest.mark.parametrize("raw_score", [0.1, 0.5, 0.9])
def test_the_spread_is_the_standard_deviation_of_the_error(
    fitted: Calibration, raw_score: float
) -> None:
    raw = np.full((1, 17), raw_score, np.float32)
    _, sigma_cell = fitted.apply(raw, np.full((1, 17, 2), 1.5, np.float32), np.array([192.0]))
    np.testing.assert_allclose(sigma_cell, 4 - 3 * raw_score, rtol=0.2)


def test_a_joint_that_is_harder_to_find_has_lower_scores() -> None:
    samples = crowd()
    samples.right[:, 9] &= np.random.default_rng(2).uniform(size=600) < 0.5
    same = np.full((1, 17), 0.7, np.float32)
    score, _ = fit(samples).apply(same, np.ones((1, 17, 2), np.float32), np.array([192.0]))
    assert score[0, 9] < score[0, :9].min() - 0.15


def test_small_people_are_distinguished_from_large_ones() -> None:
    samples = crowd()
    samples.right[samples.crop_widths_px < 100] = False
    calibrated = fit(samples)
    raw, sigma_cell = np.full((2, 17), 0.7, np.float32), np.ones((2, 17, 2), np.float32)
    score, _ = calibrated.apply(raw, sigma_cell, np.array([50.0, 400.0], np.float32))
    assert (score[0] < score[1] - 0.3).all()


def test_unlabelled_keypoints_do_not_enter() -> None:
    samples = crowd(50)
    samples.weight[:, ::3] = 0
    before = fit(samples)
    samples.right[:, ::3] ^= True
    samples.error_cell[:, ::3] = np.nan
    assert fit(samples) == before


def test_a_weight_counts_like_as_many_people() -> None:
    once = crowd(50)
    twice = once._replace(
        **{name: np.concatenate([column, column]) for name, column in once._asdict().items()}
    )
    doubled = once._replace(weight=once.weight * 2)
    assert fit(doubled).log_odds.width == pytest.approx(fit(twice).log_odds.width)


def test_a_slope_of_the_wrong_sign_is_left_out() -> None:
    backwards = fit(crowd(rises=False))
    for part in (backwards.log_odds, backwards.log_mean_error):
        assert (part.raw_if_wide, part.raw_if_narrow) == (0, 0)


@pytest.mark.parametrize("right", [True, False])
def test_samples_that_are_all_the_same_are_refused(right: bool) -> None:
    samples = crowd(5)
    samples.right[:] = right
    with pytest.raises(DataError, match="some of them right, some wrong"):
        fit(samples)


def test_samples_without_labels_are_refused() -> None:
    samples = crowd(5)
    with pytest.raises(DataError, match="needs labelled keypoints"):
        fit(samples._replace(weight=np.zeros_like(samples.weight)))


def test_errors_of_zero_can_be_fitted() -> None:
    samples = crowd(50)
    samples.error_cell[:] = 0
    calibrated = fit(samples).apply(samples.raw_score, samples.sigma_cell, samples.crop_widths_px)
    assert (calibrated.sigma_cell > 0).all()
    assert calibrated.sigma_cell.max() < 0.05


def test_the_ratio_of_x_to_y_is_the_students() -> None:
    sigma_cell = np.tile(np.array([0.5, 1.5], np.float32), (1, 17, 1))
    raw = np.zeros((1, 17), np.float32)
    answered = calibration(log_mean_error=terms(joint=(np.log(2.0),) * 17)).apply(
        raw, sigma_cell, np.array([192.0], np.float32)
    )
    np.testing.assert_allclose(answered.sigma_cell[..., 1] / answered.sigma_cell[..., 0], 3)
    mean_square = (answered.sigma_cell**2).mean(axis=-1)
    # A mean error of 2 cells is a standard deviation of 2 / sqrt(pi / 2) on each axis.
    np.testing.assert_allclose(mean_square, 8 / np.pi, rtol=1e-5)


@given(
    raw=arrays(np.float32, (2, 17), elements=ANY_FLOAT),
    sigma_cell=arrays(np.float32, (2, 17, 2), elements=ANY_FLOAT),
    widths=arrays(np.float32, (2,), elements=ANY_FLOAT),
    slopes=st.lists(SLOPES, min_size=6, max_size=6),
)
def test_answers_are_finite_whatever_comes_in(
    raw: Any, sigma_cell: Any, widths: Any, slopes: list[float]
) -> None:
    names = [name for name in Terms.model_fields if name != "joint"]
    wild = terms(**dict(zip(names, slopes, strict=True)))
    score, spread_cell = calibration(wild, wild).apply(raw, sigma_cell, widths)
    assert ((score >= 0) & (score <= 1)).all()
    assert (np.isfinite(spread_cell) & (spread_cell > 0)).all()


@given(
    raw=st.lists(st.floats(-1, 3, width=32), min_size=2, max_size=2),
    sigma_cell=st.floats(1 / 64, 10, width=32),
    width_px=st.floats(5, 5000, width=32),
)
def test_a_higher_raw_score_never_scores_lower_nor_spreads_wider(
    fitted: Calibration, raw: list[float], sigma_cell: float, width_px: float
) -> None:
    raws = np.repeat(np.sort(np.array(raw, np.float32))[:, None], 17, axis=1)
    answered = fitted.apply(
        raws, np.full((2, 17, 2), sigma_cell, np.float32), np.full(2, width_px, np.float32)
    )
    assert (answered.keypoint_score[1] >= answered.keypoint_score[0] - 1e-6).all()
    assert (answered.sigma_cell[1] <= answered.sigma_cell[0] * (1 + 1e-6)).all()


def test_nobody_has_no_scores() -> None:
    nobody = np.zeros((0, 17), np.float32)
    score, sigma_cell = calibration().apply(nobody, nobody[..., None].repeat(2, -1), nobody[:, 0])
    assert (score.shape, sigma_cell.shape) == ((0, 17), (0, 17, 2))


def test_a_calibration_comes_back_from_json(fitted: Calibration) -> None:
    assert Calibration.model_validate_json(fitted.model_dump_json()) == fitted


@pytest.mark.parametrize("broken", [{"joint": [0.0] * 16}, {"width": "NaN"}, {"extra": 1.0}])
def test_broken_terms_are_refused(broken: dict[str, Any]) -> None:
    document = terms().model_dump() | broken
    with pytest.raises(ValidationError):
        Terms.model_validate_json(json.dumps(document))
