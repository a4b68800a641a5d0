"""Early figures from cached people."""

import numpy as np
import pytest

from distilpose.model import geometry
from distilpose.model.data.people import PeopleFolder
from distilpose.model.train.feed.cache import build_cache
from distilpose.model.train.feed.table import PeopleTable
from distilpose.model.train.validate import figures
from tiny_people import write_people


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> PeopleTable:
    folder = write_people(tmp_path_factory.mktemp("people"))
    return build_cache(PeopleFolder(folder), folder / "cache", workers=1).table


def truth(people: PeopleTable) -> np.ndarray:
    regions = geometry.CropRegions(people.center_xy_px, people.region_wh_px)
    return geometry.image_to_crop(people.xy_px, regions)


def test_the_truth_is_perfect(people: PeopleTable) -> None:
    scores = np.ones((len(people), 17), np.float32)
    assert figures(truth(people), scores, people) == pytest.approx((1, 1, 1, 1), abs=1e-4)


def test_the_corner_is_worthless(people: PeopleTable) -> None:
    scores = np.ones((len(people), 17), np.float32)
    early = figures(np.zeros_like(truth(people)), scores, people)
    assert early.ap == 0
    assert early.mean_oks < 0.1


def test_untrained_scores_do_not_rank_people_out(people: PeopleTable) -> None:
    # Below 0.2 the published person score is 0 for all; ranked alike, the truth is still found.
    scores = np.full((len(people), 17), 0.1, np.float32)
    alike = figures(truth(people), scores, people, scores_trained=False)
    assert alike.ap == pytest.approx(1, abs=1e-4)
