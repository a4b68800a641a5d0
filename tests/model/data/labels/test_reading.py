"""Documents as pictures: ids, duplicates, what belongs to nothing, and what stops."""

import math
from typing import Any

import pytest

from coco_documents import annotation, category, document, faults, good, image, names, read
from distilpose.model.errors import DataError


def test_the_same_person_twice_is_left_out_once_without_a_region() -> None:
    found = read(document([annotation(1), annotation(2), *good(2)]))
    assert [person.annotation_id for person in found.pictures[0].people] == [1, 1000, 1001]
    assert names(found) == ["twice"]
    assert faults(found)[0].origin.entry == "annotation 2"


@pytest.mark.parametrize("other", [{"bbox": [10, 20, 40, 61]}, {"iscrowd": 1}, {"keypoints": None}])
def test_people_who_differ_are_all_kept(other: dict[str, Any]) -> None:
    found = read(document([annotation(1), annotation(2, **other)]))
    assert len(found.pictures[0].people) == 2


def test_an_equal_person_in_another_picture_is_kept() -> None:
    images = [image(1, "a.png"), image(2, "b.png")]
    found = read(document([annotation(1), annotation(2, image_id=2)], images=images))
    assert [len(picture.people) for picture in found.pictures] == [1, 1]


def test_a_picture_listed_twice_is_left_out_once() -> None:
    found = read(document([annotation()], images=[image(), image()]))
    assert [(picture.id, len(picture.people)) for picture in found.pictures] == [(1, 1)]
    assert names(found) == ["picture twice"]


def test_people_of_a_picture_under_another_id_are_regions_of_the_first() -> None:
    images = [image(1), image(2)]
    again, other = annotation(2, image_id=2), annotation(3, image_id=2, bbox=[0, 0, 9, 9])
    found = read(document([annotation(1), again, other, *good(2)], images=images))
    [picture] = found.pictures
    regions = [person.box_xyxy_px.tolist() for person in picture.people if person.is_left_out]
    assert regions == [[0, 0, 9, 9]]
    assert names(found) == ["picture twice", "lost picture", "lost picture"]


def test_one_id_of_two_pictures_stops() -> None:
    images = [image(1, "a.png"), image("1", "b.png")]
    with pytest.raises(DataError, match=r'picture "1" appears more than once: for a\.png and'):
        read(document([annotation()], images=images))


def test_ids_of_digits_are_numbers() -> None:
    found = read(document([annotation("07", image_id=31)], images=[image("31")]))
    [picture] = found.pictures
    assert (picture.id, picture.people[0].annotation_id) == (31, 7)
    assert names(found) == ["text ids"]


def test_ids_of_other_texts_are_numbered_in_the_files_order() -> None:
    images = [image("b", "b.png"), image(5, "5.png"), image("a", "a.png")]
    entries = [annotation("x", image_id="a"), annotation("y", image_id="b")]
    found = read(document(entries, images=images))
    assert [(picture.id, picture.file_name) for picture in found.pictures] == [
        (6, "b.png"),
        (5, "5.png"),
        (7, "a.png"),
    ]
    assert [p.annotation_id for picture in found.pictures for p in picture.people] == [2, 1]


@pytest.mark.parametrize("number", [2**70, -(2**70), 1.5, True, None, [1], {}, math.nan, 10**400])
def test_ids_of_any_type_are_small_numbers(number: Any) -> None:
    found = read(document(good(2, image_id=8), images=[image(8), image(number, "b.png")]))
    assert [picture.id for picture in found.pictures] == [8, 9]


@pytest.mark.parametrize("picture", [9, "9", None, [1], {}, math.nan, True])
def test_an_unknown_picture_is_left_out(picture: Any) -> None:
    found = read(document([annotation(5, image_id=picture), *good(2)]))
    assert len(found.pictures[0].people) == 2
    assert names(found) == ["unknown picture"]


def test_an_unknown_category_is_left_out_and_its_box_ignored() -> None:
    found = read(document([annotation(5, category_id=9), *good(2)]))
    assert [person.is_left_out for person in found.pictures[0].people] == [True, False, False]
    assert names(found) == ["unknown category"]


def test_other_categories_are_counted() -> None:
    categories = [category(), {"id": 2, "name": "dog"}]
    found = read(document([annotation(5, category_id=2), *good(2)], categories=categories))
    assert (found.record.annotations["mine"], found.record.others["mine"]) == (2, 1)
    assert names(found) == []


@pytest.mark.parametrize("entry", [None, 7, "person", [], True])
def test_an_annotation_that_is_no_object_is_left_out(entry: Any) -> None:
    found = read(document([entry, *good(2)]))
    assert names(found) == ["entry"]
    assert faults(found)[0].origin.entry == "annotation at 0"


@pytest.mark.parametrize(
    "fields",
    [
        {"file_name": None},
        {"file_name": ""},
        {"file_name": 7},
        {"file_name": "a\0.png"},
        {"file_name": "\ud800.png"},
        {"width": 0},
        {"height": "90"},
        {"width": math.nan},
        {"width": 10**400},
        {"shard": 7},
        {"shard": "a\0.tar"},
    ],
)
def test_a_picture_that_cannot_be_used_is_left_out_with_its_people(fields: dict[str, Any]) -> None:
    images = [image(1), image(2, "b.png") | fields]
    found = read(document([annotation(1, image_id=2), *good(2)], images=images))
    assert [picture.id for picture in found.pictures] == [1]
    assert names(found) == ["picture entry", "lost picture"]


def test_a_picture_that_is_no_object_is_left_out() -> None:
    found = read(document(good(2), images=[None, image(1)]))
    assert faults(found)[0].origin.entry == "picture at 0"


@pytest.mark.parametrize("complete", [[], "no", 0, False])
def test_boxes_are_complete_only_where_the_file_says_so(complete: Any) -> None:
    found = read(document(good(2), images=[image(boxes_complete=complete)]))
    assert not found.pictures[0].boxes_complete


def test_more_than_half_left_out_stops_with_the_reasons() -> None:
    scores = [annotation(number, keypoints=[1, 2, 0.9] * 17) for number in range(3)]
    with pytest.raises(DataError) as caught:
        read(document([*scores, annotation(9, image_id=4), *good(3)]))
    assert str(caught.value) == (
        "more than half are left out of 7 people: 4 (score 3, unknown picture 1); the first is "
        "annotation 0 of mine.json, a fractional visibility, which looks like a score: "
        "visibility 0.9 of nose"
    )


def test_half_left_out_does_not_stop() -> None:
    assert read(document([annotation(5, image_id=4), *good(1)])).record.left_out.total() == 1


def test_nobody_left_stops() -> None:
    with pytest.raises(DataError, match="nobody is left of 1 people"):
        read(document([annotation(5, image_id=4)]))


def test_nobody_to_begin_with_is_no_fault() -> None:
    assert names(read(document([]))) == []


@pytest.mark.parametrize("name", ["images", "annotations", "categories"])
def test_a_missing_list_stops(name: str) -> None:
    content = document([annotation()])
    others: list[Any] = [None, {}, "x", 7, True]
    for value in others:
        with pytest.raises(DataError, match=f"'{name}' is not a list"):
            read(content | {name: value})
    del content[name]
    with pytest.raises(DataError, match=f"no '{name}'"):
        read(content)


@pytest.mark.parametrize("content", [None, [], "x", 7, True])
def test_a_document_that_is_no_object_stops(content: Any) -> None:
    with pytest.raises(DataError, match="not an object"):
        read(content)


def test_notes_say_how_many_are_left_out_and_repaired() -> None:
    entries = [annotation(5, image_id=4), annotation(6, area=0), *good(3)]
    assert read(document(entries)).record.notes() == [
        "Left out: 1 (unknown picture 1) of 5 labels.",
        "Repaired: 1 (area 1) of 5 labels.",
    ]
