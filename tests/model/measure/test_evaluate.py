"""Evaluation of a predictor that knows the answers, and of the real one on its own answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from distilpose.model import weights
from distilpose.model.data.people import PeopleFolder
from distilpose.model.errors import DataError, NotFinite
from distilpose.model.header import read_card
from distilpose.model.load import load_models, packaged_student
from distilpose.model.measure import accuracy
from distilpose.model.measure.evaluate import evaluate
from distilpose.model.networks import build
from distilpose.model.predict import Predictor
from distilpose.model.runtime.pytorch.teacher import TeacherEngine
from distilpose.service.domain import ImageAnswer, Options
from distilpose.service.rest.answer import images_out
from knowing import (
    LEFT,
    LEFT_XYXY,
    RIGHT,
    RIGHT_XYXY,
    Knowing,
    person,
    write_annotations,
    write_folder,
)
from photos import photo_path
from tiny_people import write_people


def test_right_poses_in_ground_truth_boxes_have_figures_of_one(tmp_path: Path) -> None:
    people_folder = write_folder(tmp_path, [person(LEFT), person(RIGHT)], [person(LEFT)])

    report = evaluate(Knowing(), people_folder)

    assert report.published.ap == pytest.approx(1)
    assert report.served.ap == pytest.approx(1)
    assert report.mean_oks == pytest.approx(1)
    assert report.pck == 1


def test_wrong_poses_have_figures_of_zero(tmp_path: Path) -> None:
    report = evaluate(Knowing(shift_px=90.0), write_folder(tmp_path, [person(LEFT)]))

    assert report.published.ap == 0
    assert report.mean_oks < 0.1
    assert report.pck == 0


def test_ground_truth_boxes_are_those_of_labelled_people_with_score_one(tmp_path: Path) -> None:
    crowd = person(LEFT, iscrowd=1)
    people_folder = write_folder(tmp_path, [person(LEFT, labelled=False), person(RIGHT), crowd])
    predictor = Knowing()

    report = evaluate(predictor, people_folder)

    assert predictor.asked == [([RIGHT_XYXY], [1.0], False)]
    assert report.protocol()[0].startswith("People: 1 with keypoints in 1 pictures of coco; 2 ")


def test_a_pose_on_a_person_without_keypoints_is_ignored(tmp_path: Path) -> None:
    people_folder = write_folder(tmp_path, [person(LEFT, labelled=False), person(RIGHT)])
    predictor = Knowing(detections=[(LEFT_XYXY, 0.9), (RIGHT_XYXY, 0.4)])

    report = evaluate(predictor, people_folder, boxes="detector")

    assert report.served.ap == pytest.approx(1)


def test_an_annotation_left_out_is_a_region_to_ignore_and_counted(tmp_path: Path) -> None:
    score = person(LEFT, id=17)
    score["keypoints"][2] = 0.87
    predictor = Knowing(detections=[(LEFT_XYXY, 0.9), (RIGHT_XYXY, 0.4)])

    report = evaluate(predictor, write_folder(tmp_path, [score, person(RIGHT)]), boxes="detector")

    assert report.served.ap == pytest.approx(1)
    assert report.protocol()[1] == "Left out: 1 (score 1) of 2 labels."
    figures = report.to_json()
    assert (figures["people"], figures["left_out"], figures["repaired"]) == (1, {"score": 1}, {})


def test_a_false_pose_on_somebody_labelled_twice_stays_false(tmp_path: Path) -> None:
    predictor = Knowing(detections=[(LEFT_XYXY, 0.4), (LEFT_XYXY, 0.9)])
    once = evaluate(predictor, write_folder(tmp_path, [person(LEFT)]), boxes="detector")
    twice = evaluate(
        predictor, write_folder(tmp_path, [person(LEFT), person(LEFT)]), boxes="detector"
    )

    assert twice.served == once.served
    assert len(twice.results) == 1


def test_detector_boxes_are_taken_from_one_hundredth_on(tmp_path: Path) -> None:
    predictor = Knowing(detections=[(LEFT_XYXY, 0.5)])

    report = evaluate(predictor, write_folder(tmp_path, [person(LEFT)]), boxes="detector")

    assert predictor.asked == [0.01, ([LEFT_XYXY], [0.5], False)]
    assert "Boxes: the detector's, from score 0.01." in report.protocol()


def test_detector_boxes_are_taken_from_the_score_that_is_asked_for(tmp_path: Path) -> None:
    predictor = Knowing(detections=[(LEFT_XYXY, 0.5)])
    people_folder = write_folder(tmp_path, [person(LEFT)])

    report = evaluate(predictor, people_folder, boxes="detector", min_box_score=0.25)

    assert predictor.asked[0] == 0.25
    assert "Boxes: the detector's, from score 0.25." in report.protocol()
    assert report.to_json()["min_box_score"] == 0.25


def test_box_recall_counts_people_with_keypoints_who_got_a_box(tmp_path: Path) -> None:
    predictor = Knowing(detections=[(LEFT_XYXY, 0.5), ([0, 0, 9, 9], 0.4)])
    nobody_to_measure = person([70.0, 20.0, 40.0, 120.0], labelled=False)
    people_folder = write_folder(tmp_path, [person(RIGHT), person(LEFT), nobody_to_measure])

    report = evaluate(predictor, people_folder, boxes="detector")

    assert [result.has_box for result in report.results] == [False, True]
    assert report.to_json()["box_recall"] == {
        "all": {"people": 2, "found": 1, "recall": 0.5},
        "small": {"people": 0, "found": 0, "recall": None},
        "medium": {"people": 2, "found": 1, "recall": 0.5},
        "large": {"people": 0, "found": 0, "recall": None},
    }
    assert any(line.startswith("Box recall: ") for line in report.protocol())


def test_ground_truth_boxes_have_no_recall_and_no_least_score(tmp_path: Path) -> None:
    report = evaluate(Knowing(), write_folder(tmp_path, [person(LEFT)]))

    assert report.to_json()["box_recall"] == {}
    assert report.to_json()["min_box_score"] is None
    assert not any("recall" in line for line in report.protocol())


def test_people_whom_the_detector_misses_count_as_wrong(tmp_path: Path) -> None:
    predictor = Knowing(detections=[(LEFT_XYXY, 0.5)])
    people_folder = write_folder(tmp_path, [person(RIGHT), person(LEFT)])

    report = evaluate(predictor, people_folder, boxes="detector")

    assert report.mean_oks == pytest.approx(0.5, abs=0.01)
    assert report.pck == 0.5
    assert report.served.ar == pytest.approx(0.5)


def test_a_picture_where_nothing_is_found_is_evaluated(tmp_path: Path) -> None:
    report = evaluate(Knowing(), write_folder(tmp_path, [person(LEFT)]), boxes="detector")

    assert report.results[0].pose is None
    assert report.published.ap == 0


def test_the_published_ranking_drops_duplicates_and_the_served_one_keeps_them(
    tmp_path: Path,
) -> None:
    people_folder = write_folder(tmp_path, [person(LEFT), person(RIGHT)])
    found = [(LEFT_XYXY, 0.9), (LEFT_XYXY, 0.8), (RIGHT_XYXY, 0.7)]

    report = evaluate(Knowing(detections=found), people_folder, boxes="detector")

    assert report.published.ap == pytest.approx(1)
    assert report.served.ap == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_flip_test_reaches_the_predictor(tmp_path: Path) -> None:
    predictor = Knowing()

    report = evaluate(predictor, write_folder(tmp_path, [person(LEFT)]), flip_test=True)

    assert predictor.asked[0][2] is True
    assert "Flip test: on." in report.protocol()


def test_progress_is_reported_after_each_picture(tmp_path: Path) -> None:
    people_folder = write_folder(tmp_path, *[[person(LEFT)]] * 12)
    seen: list[tuple[int, int]] = []

    evaluate(Knowing(), people_folder, on_progress=lambda done, total: seen.append((done, total)))

    assert seen == [(done, 12) for done in range(1, 13)]


def test_a_limit_takes_the_first_pictures(tmp_path: Path) -> None:
    people_folder = write_folder(tmp_path, [person(LEFT)], [person(RIGHT)], [person(LEFT)])

    report = evaluate(Knowing(), people_folder, limit=2)

    assert [picture.id for picture in report.pictures] == [1, 2]


def test_a_folder_where_nobody_has_keypoints_is_refused(tmp_path: Path) -> None:
    people_folder = write_folder(tmp_path, [person(LEFT, labelled=False)])

    with pytest.raises(DataError, match="nobody in 1 pictures has keypoints"):
        evaluate(Knowing(), people_folder)


def test_a_missing_picture_ends_the_evaluation_with_its_name(tmp_path: Path) -> None:
    people_folder = write_folder(tmp_path, [person(LEFT)])
    (tmp_path / "000000000001.png").unlink()

    with pytest.raises(DataError, match=r"000000000001\.png"):
        evaluate(Knowing(), people_folder)


def test_a_report_as_json_has_figures_and_protocol(tmp_path: Path) -> None:
    report = evaluate(Knowing(), write_folder(tmp_path, [person(LEFT)], [person(RIGHT)]))

    found = json.loads(json.dumps(report.to_json()))

    assert found["protocol"] == report.protocol()
    assert found["boxes"] == "ground-truth"
    assert found["flip_test"] is False
    assert found["sources"] == ["coco"]
    assert (found["pictures"], found["people"]) == (2, 2)
    assert set(found["published"]) == {"ap", "ap50", "ap75", "ap_medium", "ap_large", "ar"}
    assert found["served"]["ap"] == pytest.approx(1)
    assert found["served"]["ap_large"] is None
    assert found["pck"] == 1
    assert found["coco_ids"] == [1, 2]


def test_the_worst_people_come_first(tmp_path: Path) -> None:
    predictor = Knowing(detections=[(RIGHT_XYXY, 0.5)])
    people_folder = write_folder(tmp_path, [person(RIGHT), person(LEFT)])

    worst = evaluate(predictor, people_folder, boxes="detector").worst(1)

    assert worst[0].person.box_xyxy_px.tolist() == LEFT_XYXY


def test_people_at_random_are_the_same_each_time(tmp_path: Path) -> None:
    report = evaluate(Knowing(), write_folder(tmp_path, *[[person(LEFT)]] * 20))

    chosen = [result.picture.id for result in report.at_random(10)]

    assert chosen == [result.picture.id for result in report.at_random(10)]
    assert chosen != [result.picture.id for result in report.results[:10]]
    assert len(set(chosen)) == 10


def bus_folder(folder: Path, predictor: Predictor) -> PeopleFolder:
    """The people of a photo, labelled with the poses that `predictor` finds in their boxes."""
    with Image.open(photo_path("bus.jpg")) as photo:
        photo.save(folder / "bus.png")
        pixels = np.array(photo)
    (found,) = predictor.detect([pixels], min_box_score=0.5)
    annotations = []
    for pose in predictor.poses(pixels, found.boxes_xyxy_px, found.scores):
        x1, y1, x2, y2 = pose.box_xyxy_px.tolist()
        keypoints = np.column_stack([pose.keypoints_xy_px, np.full(17, 2)]).ravel().tolist()
        entry = person([x1, y1, x2 - x1, y2 - y1], keypoints=keypoints)
        annotations.append(entry | {"id": 1, "image_id": 7})
    image = {"id": 7, "file_name": "bus.png", "width": photo.width, "height": photo.height}
    write_annotations(folder, [image], annotations)
    return PeopleFolder(folder)


@pytest.fixture(scope="module")
def packaged() -> Predictor:
    return load_models(device="cpu", dtype="float32").predictor


@pytest.mark.parametrize("boxes", ["ground-truth", "detector"])
def test_the_packaged_models_are_right_about_their_own_answers(
    tmp_path: Path, packaged: Predictor, boxes: Any
) -> None:
    people_folder = bus_folder(tmp_path, packaged)

    report = evaluate(packaged, people_folder, boxes=boxes)

    assert len(report.results) >= 3
    assert report.mean_oks == pytest.approx(1, abs=1e-3)
    assert report.pck == 1
    assert report.published.ar == pytest.approx(1)
    assert report.served.ar == pytest.approx(1)


def test_a_teacher_on_the_trunk_is_measured_from_its_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    card = read_card(packaged_student()).model_copy(update={"architecture": "tokenpose-n"})
    path = tmp_path / "teacher.safetensors"
    weights.save(path, build("tokenpose-n").state_dict(), card)
    people_folder = PeopleFolder(write_people(tmp_path / "people"))

    models = load_models(weights=path, device="cpu", dtype="float32", allow_teacher=True)
    report = evaluate(models.predictor, people_folder, flip_test=True)

    assert isinstance(models.predictor.engine, TeacherEngine)
    assert models.card.architecture == "tokenpose-n"
    assert [result.pose is None for result in report.results] == [False] * 6


def test_the_served_figures_are_those_of_the_service_s_coco_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[dict[str, Any]]] = []

    def figures(truth: dict[str, Any], results: list[dict[str, Any]]) -> accuracy.CocoFigures:
        asked.append(results)
        return coco_figures(truth, results)

    coco_figures = accuracy.coco_figures
    monkeypatch.setattr(accuracy, "coco_figures", figures)
    predictor = Knowing(detections=[(LEFT_XYXY, 0.9)])
    evaluate(predictor, write_folder(tmp_path, [person(LEFT)]), boxes="detector")

    box = np.array([LEFT_XYXY], np.float32)
    [pose] = predictor.poses(np.zeros((9, 9, 3), np.uint8), box, np.array([0.9], np.float32))
    options = Options(0.25, 50, 0.3, format="coco")
    [answer] = images_out([ImageAnswer(1, (200, 160), [pose])], options, statuses={})
    published, served = asked
    assert answer.results is not None
    assert served == [entry.model_dump() for entry in answer.results]
    assert "bbox" not in published[0]


def test_nobody_found_anywhere_has_figures_of_zero(tmp_path: Path) -> None:
    report = evaluate(Knowing(), write_folder(tmp_path, [person(LEFT)]), boxes="detector")

    assert (report.published.ap, report.served.ap, report.mean_oks) == (0, 0, 0)


def test_a_pose_that_is_not_finite_is_not_evaluated(tmp_path: Path) -> None:
    with pytest.raises(NotFinite, match="not finite"):
        evaluate(Knowing(shift_px=float("nan")), write_folder(tmp_path, [person(LEFT)]))
