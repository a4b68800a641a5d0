"""Categories of people, and keypoints in another order than COCO's."""

from typing import Any

import pytest

from coco_documents import POINTS, annotation, category, document, flat, names, read
from distilpose.model.errors import DataError
from distilpose.model.skeleton import KEYPOINT_NAMES

BACKWARDS = list(reversed(KEYPOINT_NAMES))


def test_keypoints_are_brought_into_cocos_order_by_their_names() -> None:
    categories = [category(keypoints=BACKWARDS)]
    weights = [0.5, *[1] * 16]
    entry = annotation(keypoints=flat(reversed(POINTS)), keypoint_weight=weights)
    found = read(document([entry], categories=categories))
    [person] = found.pictures[0].people
    assert person.keypoints_xy_px.tolist() == [[x, y] for x, y, _ in POINTS]
    assert person.keypoint_weight.tolist() == [*[1] * 16, 0.5]
    assert names(found) == ["order"]


def test_names_may_be_written_with_capitals_spaces_and_hyphens() -> None:
    written = [name.title().replace("_", " -"[len(name) % 2]) for name in KEYPOINT_NAMES]
    found = read(document([annotation()], categories=[category(keypoints=written)]))
    assert names(found) == []


@pytest.mark.parametrize("keypoints", [None, []])
def test_keypoints_without_names_are_in_cocos_order(keypoints: Any) -> None:
    found = read(document([annotation()], categories=[category(keypoints=keypoints)]))
    assert found.pictures[0].people[0].keypoints_xy_px[1].tolist() == list(POINTS[1][:2])


@pytest.mark.parametrize(
    ("keypoints", "reason"),
    [
        (["head", "neck"], 'keypoints are not COCO\'s 17, but 2, of these unknown: "head", "neck"'),
        ([*KEYPOINT_NAMES[:-1], KEYPOINT_NAMES[0]], "keypoints are not COCO's 17, but 17"),
        ("nose", "not a list of names"),
        ([1] * 17, "not a list of names"),
    ],
)
def test_other_keypoints_stop(keypoints: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read(document([annotation()], categories=[category(keypoints=keypoints)]))


def test_people_of_every_category_called_person_are_taken() -> None:
    # Roboflow's group comes first, and its class lists the keypoints.
    group = {"id": 0, "name": "person", "supercategory": "none"}
    categories = [group, category(1, keypoints=BACKWARDS, supercategory="person")]
    entries = [annotation(1, category_id=1), annotation(2, category_id=0, bbox=[0, 0, 50, 60])]
    found = read(document(entries, categories=categories))
    assert len(found.pictures[0].people) == 2
    assert names(found) == ["order", "categories"]


def test_two_orders_of_keypoints_stop() -> None:
    categories = [category(1), category(2, keypoints=BACKWARDS)]
    with pytest.raises(DataError, match="categories of people have 2 orders of keypoints"):
        read(document([annotation()], categories=categories))


@pytest.mark.parametrize("name", ["Person", " PERSON ", "default"])
def test_people_are_known_by_name_or_by_their_keypoints(name: str) -> None:
    found = read(document([annotation()], categories=[category(name=name)]))
    assert len(found.pictures[0].people) == 1


@pytest.mark.parametrize(
    ("categories", "reason"),
    [
        ([], "no category is called person, only none at all"),
        ([{"id": 1, "name": "dog"}], 'no category is called person, only "dog"'),
        ([7, None, "person"], "no category is called person"),
        ([{"id": 1}], "no category is called person, only null"),
    ],
)
def test_no_category_of_people_stops_and_names_those_there(categories: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read(document([annotation()], categories=categories))


def test_ids_of_categories_may_be_texts() -> None:
    found = read(document([annotation(category_id="1")], categories=[category(1)]))
    assert len(found.pictures[0].people) == 1
