from datetime import date
from pathlib import Path

import numpy as np
import pytest

from calibrations import constant_calibration
from distilpose.model.card import Card, CardText, Figure
from distilpose.model.load import Models, load_models
from distilpose.model.measure.figures import (
    CardMeasurement,
    card_without_figures,
    combined,
    recalibrated_card,
    reliability_figures,
)
from distilpose.model.measure.protocols import PROTOCOLS, Protocol
from distilpose.model.measure.reliability import Keypoints
from distilpose.model.predict import Predictor
from labelled import FRONTAL, person, picture, write_folder

WORDS = CardText(
    version="7",
    source="Copied.",
    training_data="Unknown.",
    licences=("Apache-2.0",),
    limitations=("Heard that calibrated cameras work best.",),
)


def card(*, calibrated: bool) -> Card:
    old = Card(
        **WORDS.model_dump(),
        architecture="distilpose-n",
        created=date(2026, 1, 2),
        crops_seen=3,
        calibrated=calibrated,
    )
    return card_without_figures(WORDS, old)


def figure(name: str) -> Figure:
    return Figure(name=name, value=0.5, protocol="Counted.")


def test_words_are_new_and_facts_of_the_weights_stay() -> None:
    new = card(calibrated=False)
    assert (new.version, new.crops_seen, new.created) == ("7", 3, date(2026, 1, 2))
    assert new.limitations == WORDS.limitations
    assert new.accuracy == new.reliability == new.cost == ()


def test_a_calibration_adds_its_limitation_once_and_takes_no_other_away() -> None:
    once = card(calibrated=True)
    assert once.limitations[0] == WORDS.limitations[0]
    assert len(once.limitations) == 2
    assert recalibrated_card(once, ()).limitations == once.limitations
    assert recalibrated_card(card(calibrated=False), ()).limitations == once.limitations


def test_a_new_calibration_replaces_the_figures_that_depend_on_it() -> None:
    old = card(calibrated=True).model_copy(
        update={
            "accuracy": (figure("AP"), figure("AP as served")),
            "reliability": (figure("ECE"),),
            "cost": (figure("GMACs"),),
        }
    )
    new = recalibrated_card(old, (figure("Brier"),))
    assert [each.name for each in new.accuracy] == ["AP"]
    assert [each.name for each in new.reliability] == ["Brier"]
    assert [each.name for each in new.cost] == ["GMACs"]


def test_reliability_has_a_row_for_each_way_of_scoring() -> None:
    score = np.array([0.2, 0.8])
    one = np.ones(2)
    keypoints = Keypoints(score, score, np.array([0.0, 1.0]), score * 9, score * 9, one, one)

    figures = reliability_figures({"raw": keypoints, "fitted": keypoints}, "street")

    assert {each.case for each in figures} == {"raw", "fitted"}
    assert figures[0].protocol.startswith("2 keypoints of street, ground-truth boxes")
    values = {each.name: each.value for each in figures if each.case == "raw"}
    assert values == pytest.approx(
        {"ECE": 0.2, "Brier": 0.04, "score rank": 1, "sigma rank": 1, "inner half": 1}
    )


@pytest.fixture(scope="module")
def models() -> Models:
    loaded = load_models(device="cpu", engine="torch")
    calibrated = Predictor(
        loaded.predictor.engine,
        loaded.detector,
        calibration=constant_calibration(score=0.75, sigma_cell=1.0),
    )
    return Models(calibrated, loaded.detector, loaded.card, loaded.sha256)


def test_everything_a_card_says_is_measured_on_each_source(models: Models, tmp_path: Path) -> None:
    for picture_id, source in enumerate(("coco", "sport"), start=1):
        people = [person(picture_id, FRONTAL)]
        if source == "sport":
            people.append(person(picture_id, bbox=(5, 5, 20, 20)) | {"keypoints": [9, 9, 0.5] * 17})
        write_folder(tmp_path, [picture(picture_id)], people, source=source)
    measured: list[tuple[Protocol, int]] = []

    figures = CardMeasurement(
        models,
        tmp_path,
        on_progress=lambda done, total: None,
        on_protocol=lambda protocol, reports: measured.append((protocol, len(reports))),
    ).figures()

    assert figures.keys() == {"accuracy", "reliability", "cost"}
    assert [reports for _, reports in measured] == [2] * len(PROTOCOLS)
    assert {protocol for protocol, _ in measured} == set(PROTOCOLS)
    protocols = list(dict.fromkeys(each.protocol for each in figures["accuracy"]))
    assert ["of coco" in each for each in protocols] == [True, False]
    note = "Left out: 1 (score 1) of 2 labels."
    assert [note in each for each in protocols] == [False, True]
    assert {each.case for each in figures["reliability"]} == {
        "raw scores clamped to 0..1",
        "calibrated",
    }
    sizes = {each.name: each.value for each in figures["cost"]}
    assert sizes["million parameters"] == 4.52


def test_figures_of_two_measurements_stand_side_by_side_and_what_is_the_same_once() -> None:
    size = Figure(name="GMACs", value=0.61, protocol="One crop.")
    first, second = (Figure(name="AP", value=value, protocol=f"{value}") for value in (0.5, 0.4))
    measured = [{"accuracy": (each,), "cost": (size,)} for each in (first, second)]
    assert combined(*measured) == {"accuracy": (first, second), "cost": (size,)}
