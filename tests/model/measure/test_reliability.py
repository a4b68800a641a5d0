"""Reliability figures of keypoints whose scores and spreads are known to be good or bad."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distilpose.model.data.person import Person, Picture
from distilpose.model.errors import DataError
from distilpose.model.measure import reliability
from distilpose.model.measure.evaluate import PersonResult
from distilpose.model.measure.reliability import Keypoints
from distilpose.model.poses.pose import Pose

BOX = (10.0, 10.0, 110.0, 110.0)


def keypoints(count: int = 6000, **columns: Any) -> Keypoints:
    """Keypoints that are right with the probability of their score, and off by their spread."""
    generator = np.random.default_rng(0)
    score, sigma_px = generator.uniform(0, 1, count), generator.uniform(1, 9, count)
    right = generator.uniform(size=count) < score
    honest = Keypoints(
        score=score,
        oks_term=np.where(right, 0.9, 0.1),
        right=right.astype(np.float64),
        sigma_px=sigma_px,
        error_px=generator.rayleigh(sigma_px),
        in_inner_half=(np.arange(count) % 2).astype(np.float64),
        weight=np.ones(count),
    )
    return honest._replace(**columns)


def result(
    *, box: tuple[float, ...] = BOX, shift_px: float = 0.0, found: bool = True, **person: Any
) -> PersonResult:
    """A person of 100 x 100 px area with every keypoint at (60, 60), found `shift_px` off."""
    truth_xy_px = np.full((17, 2), 60, np.float32)
    labelled: dict[str, Any] = {
        "box_xyxy_px": np.array(box, np.float32),
        "area_px2": 10_000.0,
        "keypoints_xy_px": truth_xy_px,
        "visibility": np.full(17, 2, np.uint8),
        "keypoint_weight": np.ones(17, np.float32),
        "label": "human",
        "is_crowd": False,
    }
    pose = Pose(
        box_xyxy_px=np.array(box, np.float32),
        box_score=1.0,
        keypoints_xy_px=truth_xy_px + np.array([shift_px, 0], np.float32),
        keypoint_score=np.full(17, 0.75, np.float32),
        raw_score=np.full(17, 0.5, np.float32),
        sigma_px=np.tile(np.array([3, 4], np.float32), (17, 1)),
    )
    picture = Picture(20, "a.png", (640, 480), "coco", None, True, ())
    return PersonResult(picture, Person(**labelled | person), pose if found else None, 0.0)


def test_honest_scores_have_almost_no_calibration_error() -> None:
    assert reliability.measure(keypoints()).ece < 0.03


def test_scores_that_say_too_little_have_the_difference_as_error() -> None:
    timid = keypoints(score=np.full(6000, 0.2), right=np.ones(6000))
    assert reliability.measure(timid).ece == pytest.approx(0.8)


def test_the_brier_score_is_the_mean_square() -> None:
    half_right = keypoints(2, score=np.array([0.9, 0.9]), right=np.array([1.0, 0.0]))
    assert reliability.measure(half_right).brier == pytest.approx((0.01 + 0.81) / 2)


def test_a_keypoint_counts_by_its_weight() -> None:
    trusted = keypoints(
        2, score=np.array([0.9, 0.9]), right=np.array([1.0, 0.0]), weight=np.array([3.0, 1.0])
    )
    assert reliability.measure(trusted).brier == pytest.approx((3 * 0.01 + 0.81) / 4)


def test_bins_hold_equal_mass() -> None:
    curve = reliability.score_curve(keypoints(1500))
    assert len(curve) == 15
    assert [point.mass for point in curve] == pytest.approx([1 / 15] * 15)
    promised = [point.promised for point in curve]
    assert promised == sorted(promised)


def test_honest_spreads_promise_the_mean_error() -> None:
    curve = reliability.spread_curve(keypoints(30_000))
    assert len(curve) == reliability.BINS
    for point in curve:
        assert point.observed == pytest.approx(point.promised, rel=0.1)


def test_ranks_follow_order_not_size() -> None:
    ones = np.ones(4)
    some = np.array([1.0, 2, 3, 4])
    assert reliability.rank_correlation(some, some**9, ones) == pytest.approx(1)
    assert reliability.rank_correlation(some, -some, ones) == pytest.approx(-1)


def test_equal_values_share_a_rank() -> None:
    some, other = np.array([1.0, 1, 2]), np.array([1.0, 2, 3])
    correlation = reliability.rank_correlation(some, other, np.ones(3))
    assert correlation == pytest.approx(np.sqrt(3) / 2)


def test_a_constant_column_has_no_rank_correlation() -> None:
    assert reliability.rank_correlation(np.ones(3), np.arange(3.0), np.ones(3)) is None


def test_a_keypoint_is_right_where_its_oks_term_is_one_half() -> None:
    # At 14 px the term is 0.5 for constants from 0.05946 on: all joints below the head.
    columns = reliability.keypoints_of([result(shift_px=14.0)])
    assert columns.right.tolist() == [0] * 5 + [1] * 12
    assert columns.oks_term[0] == pytest.approx(np.exp(-(14**2) / (2 * 10_000 * 0.052**2)))
    assert columns.error_px.tolist() == pytest.approx([14.0] * 17)


@pytest.mark.parametrize(("shift_px", "inside"), [(3.5, 1), (3.6, 0)])
def test_half_of_all_errors_should_lie_within_1_18_deviations(
    shift_px: float, inside: float
) -> None:
    columns = reliability.keypoints_of([result(shift_px=shift_px)])
    assert columns.in_inner_half.tolist() == [inside] * 17
    np.testing.assert_allclose(columns.sigma_px, np.sqrt(12.5))


def test_unlabelled_and_untrusted_keypoints_are_left_out() -> None:
    visibility, weight = np.full(17, 2, np.uint8), np.ones(17, np.float32)
    visibility[0], weight[1] = 0, 0
    people = [result(visibility=visibility, keypoint_weight=weight)]
    assert len(reliability.keypoints_of(people).weight) == 15


def test_people_are_grouped_by_source_size_and_border() -> None:
    whole, cut_off = result(), result(box=(0.5, 10, 40.5, 50))
    missed = result(found=False)
    grouped = reliability.groups([whole, cut_off, missed])
    assert grouped == {
        "all": [whole, cut_off],
        "coco": [whole, cut_off],
        "cut off": [cut_off],
        "side <   64 px": [cut_off],
        "side >=  64 px": [whole],
        "whole": [whole],
    }


def test_without_anyone_found_there_is_nothing_to_measure() -> None:
    with pytest.raises(DataError, match="nobody with labelled keypoints was found"):
        reliability.groups([result(found=False)])


def test_the_picture_is_a_png_of_both_curves() -> None:
    timid = keypoints(score=np.full(6000, 0.2))
    with Image.open(BytesIO(reliability.picture(timid, keypoints()))) as png:
        assert png.format == "PNG"
        assert png.size == (1100, 500)
        colours = {colour for _, colour in png.convert("RGB").getcolors(1 << 20) or []}
    assert {(31, 119, 180), (255, 127, 14)} <= colours  # a line before and a line after
