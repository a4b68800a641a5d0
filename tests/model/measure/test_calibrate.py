import json
from pathlib import Path

import pytest
from PIL import Image

from bus_people import KEYPOINTS, PEOPLE, bus_people
from distilpose.model.errors import DataError
from distilpose.model.load import load_models
from distilpose.model.measure.calibrate import compare, fit
from distilpose.model.runtime.engine import PoseEngine


@pytest.fixture(scope="module")
def engine() -> PoseEngine:
    return load_models(device="cpu", engine="torch", calibrate=False).predictor.engine


def test_a_calibration_is_fitted_and_compared_on_other_people(
    engine: PoseEngine, tmp_path: Path
) -> None:
    held_out, others = bus_people(tmp_path / "train", 20), bus_people(tmp_path / "eval", 7)
    progress: list[tuple[int, int]] = []

    fitted = fit(engine, held_out, on_progress=lambda done, total: progress.append((done, total)))
    compared = compare(engine, fitted.calibration, others, on_progress=lambda done, total: None)
    compared.write(tmp_path / "figures.json", tmp_path / "curves.png")

    assert (fitted.crops, fitted.people) == (4 * PEOPLE, PEOPLE)
    assert progress == [(1, 1)]
    before, after = (figure for figure in compared.figures("eval") if figure.name == "ECE")
    assert after.value < before.value
    report = json.loads((tmp_path / "figures.json").read_text())
    assert report["calibration"] == fitted.calibration.model_dump(mode="json")
    for moment in ("before", "after"):
        assert report[moment]["reliability"]["all"]["keypoints"] == KEYPOINTS * PEOPLE
    with Image.open(tmp_path / "curves.png") as png:
        assert png.format == "PNG"


def test_people_none_of_whom_is_held_out_are_refused(engine: PoseEngine, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="in a picture whose id 20 divides"):
        fit(engine, bus_people(tmp_path / "train", 7), on_progress=lambda done, total: None)
