"""The sheet of held-out people with a network's answers."""

import numpy as np
import pytest
import torch

from distilpose.model.data.people import PeopleFolder
from distilpose.model.drawing.skeletons import TRUTH_RGB
from distilpose.model.train import examples
from distilpose.model.train.feed.cache import EVALUATION, build_cache
from distilpose.model.train.feed.loader import Loader
from tiny_people import write_people

TILE_WH = (240, 320)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Loader:
    folder = write_people(tmp_path_factory.mktemp("people"))
    cache = build_cache(PeopleFolder(folder), folder / "cache", crop_format=EVALUATION, workers=1)
    return Loader(
        cache, np.arange(6), batch_size=64, seed=0, device=torch.device("cpu"), resident=False
    )


def answers(x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    """Six people with all their keypoints at one place of the crop, 0..1."""
    return np.full((6, 17, 2), (x, y), np.float32), np.ones((6, 17), np.float32)


def test_everyone_is_on_the_sheet_with_the_labels_in_green(people: Loader) -> None:
    sheet_HWC = examples.sheet(people, *answers(0.5, 0.5))
    height, width = sheet_HWC.shape[:2]
    assert width > 5 * TILE_WH[0]  # five per row
    assert 2 * TILE_WH[1] < height < 3 * TILE_WH[1]
    green = np.all(np.abs(sheet_HWC.astype(int) - TRUTH_RGB) < 40, axis=2)
    # The first person's labels: shoulders above ankles, all within the first tile.
    rows, columns = np.nonzero(green[: TILE_WH[1], : TILE_WH[0]])
    assert rows.min() < 120
    assert rows.max() > 200
    assert 60 < columns.mean() < 180


def test_answers_are_drawn_where_they_are(people: Loader) -> None:
    left, right = (examples.sheet(people, *answers(x, 0.02)) for x in (0.1, 0.9))
    changed = (left != right).any(axis=2)[: TILE_WH[1], : 8 + TILE_WH[0]]
    rows, columns = np.nonzero(changed)
    assert rows.max() < 8 + 0.1 * TILE_WH[1]
    assert columns.min() < 8 + 0.2 * TILE_WH[0]
    assert columns.max() > 8 + 0.8 * TILE_WH[0]
