"""The labelled people who have a box."""

import numpy as np

from distilpose.model.measure.box_recall import BoxRecall, have_box, in_words, recall_by_size

NOBODY = np.zeros((0, 4), np.float32)


def test_a_box_of_half_the_union_is_a_persons_own() -> None:
    people = np.array([[0, 0, 10, 10], [100, 0, 110, 10]], np.float32)
    found = np.array([[0, 0, 10, 5], [100, 0, 110, 4.9]], np.float32)

    assert have_box(people, found) == [True, False]


def test_one_box_is_not_for_two() -> None:
    people = np.array([[0, 0, 10, 10], [0, 0, 10, 9]], np.float32)

    assert have_box(people, people[:1]) == [True, False]


def test_without_boxes_nobody_has_one() -> None:
    assert have_box(np.array([[0, 0, 10, 10]], np.float32), NOBODY) == [False]
    assert have_box(NOBODY, NOBODY) == []


def test_sizes_part_at_32_and_96_pixels() -> None:
    areas_px2 = [1023.9, 1024, 9215.9, 9216, 90_000]

    by_size = recall_by_size(areas_px2, [False, True, False, True, True])

    assert by_size == {
        "all": BoxRecall(5, 3),
        "small": BoxRecall(1, 0),
        "medium": BoxRecall(2, 1),
        "large": BoxRecall(2, 2),
    }
    assert by_size["medium"].share == 0.5


def test_nobody_of_a_size_has_no_recall() -> None:
    assert recall_by_size([], [])["all"].share is None


def test_recall_in_words_has_a_dash_where_nobody_is_of_a_size() -> None:
    recall = {"all": BoxRecall(4, 3), "small": BoxRecall(0, 0), "large": BoxRecall(4, 3)}
    assert in_words(recall) == "0.750 of 4 (- of 0 small, 0.750 of 4 large)"
