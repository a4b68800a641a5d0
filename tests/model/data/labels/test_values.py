"""Values of any type as ids, and in messages."""

from typing import Any

import pytest

from distilpose.model.data.labels.values import key_of, numbered, shown


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (7, 7),
        (7.0, 7),
        ("7", 7),
        (" 007 ", 7),
        ("a", "a"),
        ("-7", "-7"),
        ("²", "²"),
        (True, None),
        (1.5, None),
        (None, None),
        ([7], None),
    ],
)
def test_ids_refer_as_numbers_or_texts(value: Any, key: Any) -> None:
    assert key_of(value) == key


def test_what_has_no_number_is_numbered_after_the_largest() -> None:
    assert numbered(["b", 4, None, "a", "b", None]) == [5, 4, 6, 7, 5, 8]
    assert numbered(["b", -4]) == [1, -4]


def test_values_are_shown_in_ascii_and_cut() -> None:
    assert shown("\ud800\n") == '"\\ud800\\n"'
    assert shown(["x" * 99]) == '["' + "x" * 38 + "..."
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    assert shown(deep) == "list"
