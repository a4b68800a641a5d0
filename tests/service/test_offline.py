"""Photos in files, answered without a server."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from distilpose.model.load import load_models
from distilpose.model.predict import Predictor
from distilpose.service.domain import Options
from distilpose.service.errors import InvalidOptions
from distilpose.service.intake import OptionsBody
from distilpose.service.offline import answer_line, answer_lines, options_of
from distilpose.service.photos import photos_in
from distilpose.service.settings import Settings
from photos import BUS_SIZE_WH, photo, photo_path

MAX_PIXELS = 50_000_000
OPTIONS = Options(min_box_score=0.5, max_people=30, min_keypoint_score=0.3)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_models(device="cpu", dtype="float32").predictor


def test_a_photo_is_answered_as_by_rest_and_drawn(predictor: Predictor, tmp_path: Path) -> None:
    drawing = tmp_path / "bus.jpg"
    path = photo_path("bus.jpg")
    line = answer_line(predictor, path, OPTIONS, max_pixels=MAX_PIXELS, draw=drawing.write_bytes)
    assert (line["file"], line["width"], line["height"]) == (str(path), *BUS_SIZE_WH)
    assert len(line["poses"]) >= 3
    assert line["poses"][0]["keypoints"][0]["name"] == "nose"
    with Image.open(drawing) as drawn:
        assert (drawn.format, drawn.size) == ("JPEG", BUS_SIZE_WH)


def test_the_best_people_are_kept_and_all_are_counted(predictor: Predictor) -> None:
    path = photo_path("bus.jpg")
    every = answer_line(predictor, path, OPTIONS, max_pixels=MAX_PIXELS)
    few = answer_line(predictor, path, replace(OPTIONS, max_people=2), max_pixels=MAX_PIXELS)
    assert few["poses"] == every["poses"][:2]
    assert few["people_found"] == every["people_found"] == len(every["poses"])


def test_a_photo_that_cannot_be_read_has_an_error_and_no_drawing(
    predictor: Predictor, tmp_path: Path
) -> None:
    broken, drawing = tmp_path / "broken.jpg", tmp_path / "drawn.jpg"
    broken.write_bytes(photo("bus.jpg")[:9000])
    reasons = {broken: "it has no end of image", tmp_path / "none.jpg": "No such file"}
    for path, reason in reasons.items():
        line = answer_line(
            predictor, path, OPTIONS, max_pixels=MAX_PIXELS, draw=drawing.write_bytes
        )
        assert line.keys() == {"file", "error"}
        assert reason in line["error"]
    assert not drawing.exists()


def test_a_photo_above_the_limit_of_pixels_is_not_decoded(predictor: Predictor) -> None:
    line = answer_line(predictor, photo_path("bus.jpg"), OPTIONS, max_pixels=1000)
    assert "1000" in line["error"]


def test_each_photo_gets_a_line_in_turn_and_a_drawing(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    done: list[tuple[int, int]] = []
    photos = photos_in([tmp_path]).photos
    drawn: list[Path] = []
    lines = answer_lines(
        photos,
        {"min_box_score": 0.5},
        draw=lambda path, _: drawn.append(path),
        on_progress=lambda count, total: done.append((count, total)),
        weights=None,
        detector=None,
        device="cpu",
    )
    line = next(lines)
    assert (line["poses"], line["drawing"]) == ([], "black.jpg")
    assert done == []
    assert "error" in next(lines)
    assert list(lines) == []
    assert done == [(1, 2), (2, 2)]
    assert drawn == [Path("black.jpg")]


def test_an_option_out_of_range_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptions, match="min_box_score"):
        next(
            answer_lines(
                [],
                {"min_box_score": 2},
                weights=tmp_path / "none.safetensors",
                detector=None,
                device="cpu",
                draw=None,
            )
        )


@pytest.mark.parametrize(
    ("given", "kept"), [({}, 50), ({"max_people": None}, 50), ({"max_people": 300}, 300)]
)
def test_as_many_people_are_kept_as_by_the_service_or_as_asked_for(
    given: dict[str, Any], kept: int
) -> None:
    assert options_of(given, Settings()).max_people == kept
    assert OptionsBody().resolve(Settings(), images=1).max_people == 50
