"""The findings of a check, and the verdict on them."""

import json
from pathlib import Path
from typing import Any

import pytest

from distilpose.model.data.check import Report, check
from distilpose.model.data.people import PeopleFolder
from labelled import FRONTAL, encoded, noise, person, picture, write_folder

SWAPPED = dict(FRONTAL) | {"left_hip": FRONTAL["right_hip"], "right_hip": FRONTAL["left_hip"]}


def found(report: Report) -> list[tuple[str, int]]:
    return [(finding.breach.rule.name, finding.picture.id) for finding in report.findings]


def one_person(folder: Path, **files: bytes) -> PeopleFolder:
    named = {f"{name.removeprefix('_')}.png": data for name, data in files.items()}
    return write_folder(folder, [picture(1)], [person(1, FRONTAL)], files=named)


def test_a_good_folder_is_usable(tmp_path: Path) -> None:
    report = check(one_person(tmp_path), decode=True)
    assert found(report) == []
    assert report.is_usable


def test_a_missing_picture_is_found(tmp_path: Path) -> None:
    people_folder = one_person(tmp_path)
    (tmp_path / "1.png").unlink()
    report = check(people_folder)
    assert found(report) == [("missing", 1)]
    assert "has no picture 1.png" in report.findings[0].breach.detail
    assert not report.is_usable


@pytest.mark.parametrize("data", [b"no picture", encoded(noise(1, width=60))])
def test_a_broken_picture_or_one_of_another_size_is_found_by_decoding(
    tmp_path: Path, data: bytes
) -> None:
    people_folder = one_person(tmp_path, _1=data)
    assert found(check(people_folder)) == []
    assert found(check(people_folder, decode=True)) == [("unreadable", 1)]


def test_wrong_labels_are_found_with_their_person(tmp_path: Path) -> None:
    people = [person(1, FRONTAL), person(1, SWAPPED), person(1, bbox=(-9, 5, 90, 80))]
    report = check(write_folder(tmp_path, [picture(1)], people))
    found_in = [(finding.breach.rule.name, finding.person) for finding in report.findings]
    [shown] = report.pictures
    assert found_in == [("left/right swap", shown.people[1]), ("box outside", shown.people[2])]


@pytest.mark.parametrize(("swapped_people", "usable"), [(2, True), (3, False)])
def test_a_rule_tolerates_a_share(tmp_path: Path, swapped_people: int, usable: bool) -> None:
    labels = [SWAPPED] * swapped_people + [FRONTAL] * (100 - swapped_people)
    boxes = [(45, 5, 30, 75 + number / 10) for number in range(100)]
    people = [person(1, each, bbox=box) for each, box in zip(labels, boxes, strict=True)]
    report = check(write_folder(tmp_path, [picture(1)], [*people, person(1)]))
    result = next(each for each in report.results if each.rule.name == "left/right swap")
    assert (result.breaches, result.total) == (swapped_people, 100)
    assert result.share == swapped_people / 100
    assert report.is_usable is usable


def test_only_what_was_looked_for_has_a_result(tmp_path: Path) -> None:
    people_folder = one_person(tmp_path)
    plain = {result.rule.name for result in check(people_folder).results}
    full = check(people_folder, against=people_folder, decode=True).results
    assert {result.rule.name for result in full} - plain == {"unreadable", "duplicate"}


def test_a_copy_under_another_name_is_found_by_its_bytes(tmp_path: Path) -> None:
    data = encoded(noise(5))
    train = write_folder(tmp_path / "a", [picture(1), picture(2)], [], files={"2.png": data})
    other = write_folder(tmp_path / "b", [picture(7)], [], files={"7.png": data})
    report = check(train, against=other)
    assert found(report) == [("duplicate", 2)]
    assert report.findings[0].breach.detail == "same bytes: 7.png"
    assert report.findings[0].twin is other.pictures[0]


def test_a_copy_compressed_anew_is_found_by_decoding(tmp_path: Path) -> None:
    again = {"7.png": encoded(noise(1), "JPEG", quality=60)}
    train = one_person(tmp_path / "a")
    other = write_folder(tmp_path / "b", [picture(7), picture(8)], [], files=again)
    assert found(check(train, against=other)) == []
    assert found(check(train, against=other, decode=True)) == [("duplicate", 1)]


def test_faults_of_the_other_folder_are_not_reported(tmp_path: Path) -> None:
    train = one_person(tmp_path / "a")
    other = write_folder(
        tmp_path / "b", [picture(7)], [person(7, SWAPPED)], files={"7.png": b"no picture"}
    )
    assert found(check(train, against=other, decode=True)) == []


def test_people_are_counted_by_source_and_label(tmp_path: Path) -> None:
    people = [person(1, FRONTAL), person(1), person(1, FRONTAL, iscrowd=1)]
    write_folder(tmp_path, [picture(1)], people)
    write_folder(tmp_path, [picture(2)], [person(2, FRONTAL, label="mixed")], source="lspet")
    report = check(PeopleFolder(tmp_path))
    assert report.people_by_label() == {
        ("coco", "human"): 1,
        ("coco", "box"): 1,
        ("coco", "crowd"): 1,
        ("lspet", "mixed"): 1,
    }


def test_progress_counts_the_pictures_of_both_folders(tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    one_person(tmp_path / "a")
    folder = PeopleFolder(tmp_path / "a")
    check(folder, against=folder, on_progress=lambda *counts: progress.append(counts))
    assert progress == [(1, 2), (2, 2)]


def test_a_finding_names_picture_and_person_as_json(tmp_path: Path) -> None:
    people: list[dict[str, Any]] = [person(1, FRONTAL), person(1, SWAPPED, id=17)]
    report = check(write_folder(tmp_path, [picture(1)], people))
    assert json.loads(json.dumps(report.findings[0].to_json())) == {
        "rule": "left/right swap",
        "source": "coco",
        "picture": 1,
        "file_name": "1.png",
        "person": 1,
        "annotation": 17,
        "detail": "shoulders against hips",
    }


def test_the_tables_have_a_row_for_each_source_and_each_rule(tmp_path: Path) -> None:
    write_folder(tmp_path, [picture(1)], [person(1, SWAPPED), person(1)])
    people_folder = write_folder(tmp_path, [picture(2)], [], source="empty")
    report = check(PeopleFolder(people_folder.folder))
    assert report.people_table() == [
        ["source", "pictures", "box", "human"],
        ["coco", "1", "1", "1"],
        ["empty", "1", "-", "-"],
    ]
    head, *rows = report.rules_table()
    assert head == ["rule", "broken", "of", "share", "tolerated", ""]
    assert [row[0] for row in rows] == [rule.name for rule in report.rules]
    [swaps] = [row for row in rows if row[0] == "left/right swap"]
    assert swaps[1:4] == ["1", "1 people with keypoints", "100.00%"]
    assert swaps[5] == "WRONG"


def test_findings_are_written_as_a_list(tmp_path: Path) -> None:
    report = check(write_folder(tmp_path, [picture(1)], [person(1, SWAPPED)]))
    report.write_json(tmp_path / "findings")
    [finding] = json.loads((tmp_path / "findings").read_text())
    assert (finding["rule"], finding["picture"], finding["person"]) == ("left/right swap", 1, 0)


def test_faults_of_labels_are_results_with_a_tolerance(tmp_path: Path) -> None:
    people = [person(1, FRONTAL, bbox=(45, 5, 30, 70 + number / 100)) for number in range(1000)]
    one = check(write_folder(tmp_path / "one", [picture(1)], [person(1, area=0), *people[:999]]))
    two = [person(1, area=0), person(1, bbox=(40, 5, 30, 80), area=0)]
    more = check(write_folder(tmp_path / "two", [picture(1)], [*two, *people[:998]]))
    for report, count in ((one, 1), (more, 2)):
        [result] = [each for each in report.results if each.rule.name == "area"]
        assert (result.breaches, result.total) == (count, 1000)
    assert (one.is_usable, more.is_usable) == (True, False)


def test_what_is_left_out_is_counted_and_not_checked(tmp_path: Path) -> None:
    score = person(1, FRONTAL, bbox=(-9, 5, 90, 80)) | {"keypoints": [5, 5, 0.9] * 17}
    report = check(write_folder(tmp_path, [picture(1)], [score, person(1, FRONTAL)]))
    assert (len(report.people), found(report)) == (1, [])
    assert report.people_by_label() == {("coco", "human"): 1}
    assert report.summary().endswith("1 people in coco; 1 labels left out.")


def test_points_are_counted_by_visibility_and_people_by_size(tmp_path: Path) -> None:
    hidden = person(1, FRONTAL, bbox=(40, 5, 30, 80), area=1500)
    hidden["keypoints"][2] = 1
    people = [person(1, FRONTAL), hidden, person(1), person(1, FRONTAL, iscrowd=1)]
    report = check(write_folder(tmp_path, [picture(1)], people))
    assert report.points_table() == [
        ["source", "people", "visible", "hidden", "unlabelled", "small", "medium", "large"],
        ["coco", "2", "13", "1", "20", "2", "1", "0"],
    ]


def test_a_clean_folder_says_what_it_counted(tmp_path: Path) -> None:
    report = check(one_person(tmp_path))
    assert report.summary() == (
        "1 pictures of 120x90 to 120x90 pixels and 1 people in coco; no fault in the labels."
    )


def test_a_fault_is_written_with_its_place_and_remedy(tmp_path: Path) -> None:
    report = check(write_folder(tmp_path, [picture(1)], [person(1, FRONTAL, id=17, area=0)]))
    report.write_json(tmp_path / "findings")
    [fault] = json.loads((tmp_path / "findings").read_text())
    assert (fault["file"], fault["entry"], fault["done"]) == (
        "coco.json",
        "annotation 17",
        "0.53 of the box",
    )
