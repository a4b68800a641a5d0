"""Options and their combinations."""

import numpy as np
import pytest

from distilpose.model.poses.pose import Pose
from distilpose.service.domain import Options


def pose(*first_scores: float) -> Pose:
    scores = np.zeros(17, np.float32)
    scores[: len(first_scores)] = first_scores
    xy_px = np.zeros((17, 2), np.float32)
    return Pose(np.array([0, 0, 1, 1], np.float32), 0.5, xy_px, scores, scores, xy_px)


def visible(*first_scores: float, least: float) -> list[bool]:
    options = Options(min_box_score=0.25, max_people=5, min_keypoint_score=least)
    seen: list[bool] = options.visible(pose(*first_scores)).tolist()
    return seen


def test_keypoints_from_the_threshold_on_are_visible() -> None:
    assert visible(0.29, 0.31, 0.018, 1, least=0.3) == [False, True, False, True, *[False] * 13]


def test_a_threshold_of_zero_makes_everything_visible() -> None:
    assert visible(0.018, least=0) == [True] * 17


@pytest.mark.parametrize("score", [0.1, 0.3, 0.7, 0.9])
def test_a_threshold_is_the_same_as_json_and_as_a_float_of_grpc(score: float) -> None:
    assert visible(score, least=score) == visible(score, least=float(np.float32(score)))
    assert visible(score, least=score)[0]
