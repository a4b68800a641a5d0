"""Literal people in, literal figures out."""

import numpy as np
import pytest

from distilpose.model import similarity
from distilpose.model.skeleton import OKS_SIGMAS

SPREAD_XY_PX = np.stack([np.arange(17) * 10.0, np.arange(17) * 5.0], -1).astype(np.float32)
ALL = np.ones(17, dtype=bool)


def test_oks_of_the_labelled_pose_itself_is_one() -> None:
    assert similarity.oks(SPREAD_XY_PX, SPREAD_XY_PX, area_px2=100.0) == 1


def test_oks_is_half_at_the_distance_that_the_constants_say() -> None:
    area_px2 = 900.0
    half_px = 2 * OKS_SIGMAS * np.sqrt(2 * np.log(2) * area_px2)
    moved = SPREAD_XY_PX + np.stack([half_px, np.zeros(17)], -1)

    assert similarity.oks(moved, SPREAD_XY_PX, area_px2=area_px2) == pytest.approx(0.5)


def test_oks_counts_only_the_chosen_keypoints() -> None:
    moved = SPREAD_XY_PX.copy()
    moved[0] += 10_000
    without_nose = ALL.copy()
    without_nose[0] = False

    assert similarity.oks(moved, SPREAD_XY_PX, area_px2=100.0, counted=without_nose) == 1
    assert similarity.oks(moved, SPREAD_XY_PX, area_px2=100.0, counted=ALL) == pytest.approx(
        16 / 17
    )


def test_oks_of_nobody_counted_is_zero() -> None:
    assert similarity.oks(SPREAD_XY_PX, SPREAD_XY_PX, area_px2=100.0, counted=~ALL) == 0


def test_oks_of_many_found_against_one_has_a_value_each() -> None:
    found_NK2 = np.stack([SPREAD_XY_PX, SPREAD_XY_PX + 1000])

    assert similarity.oks(found_NK2, SPREAD_XY_PX, area_px2=100.0).tolist() == [1, 0]


def test_nothing_to_suppress_keeps_nothing() -> None:
    assert similarity.suppress_duplicates(np.zeros((0, 17, 2)), np.zeros(0), np.zeros(0)) == []


@pytest.mark.parametrize(
    ("oks_people_by_poses", "matches"),
    [
        ([[0.9, 0.8], [0.95, 0.1]], [1, 0]),
        ([[0.9], [0.5]], [0, None]),
        ([[0.0, 0.3]], [1]),
        ([[0.0]], [None]),
        (np.zeros((2, 0)), [None, None]),
    ],
)
def test_people_are_matched_most_similar_first_and_no_pose_twice(
    oks_people_by_poses: list[list[float]], matches: list[int | None]
) -> None:
    assert similarity.match_people(np.array(oks_people_by_poses)) == matches


def test_pck_counts_keypoints_within_a_fifth_of_the_torso() -> None:
    truth = np.zeros((1, 17, 2), np.float32)
    truth[0, 12] = [0, 100]
    moved = truth.copy()
    moved[0, 0] += [19, 0]
    moved[0, 1] += [21, 0]

    assert similarity.pck(moved, truth, ALL[None]) == pytest.approx(16 / 17)


def test_pck_leaves_out_people_without_shoulder_or_hip() -> None:
    labelled = ALL[None].copy()
    labelled[0, 5] = False

    assert similarity.pck(SPREAD_XY_PX[None], SPREAD_XY_PX[None], labelled) is None


def test_pck_counts_a_person_who_was_not_found_as_wrong() -> None:
    truth = np.stack([SPREAD_XY_PX, SPREAD_XY_PX])
    lost = truth.copy()
    lost[1] = np.nan

    assert similarity.pck(lost, truth, np.stack([ALL, ALL])) == 0.5
