"""Documents of labels with things changed at random, as broken tools and hands might write them."""

import copy
import json
import math
import random
from pathlib import Path
from typing import Any, Final

from coco_documents import POINTS, annotation, category, document, flat, image
from labelled import encoded, noise

JUNK: Final[tuple[Any, ...]] = (
    None, True, False, "", "x", "7", "person", "\ud800", "\0", "[/red]", "a" * 300,
    -1, 0, 1, 2, 3, 7, 0.5, -0.5, 1.5, 1e-320, 1e308, 2**63, -(2**63), 10**400,
    math.nan, math.inf, -math.inf, [], {}, [[]], [None], [1, 2], {"a": 1}, {"id": 1},
)  # fmt: skip
"""Values of every JSON type, and numbers at the limits."""
NUDGES: Final = (-3, -1, -0.25, 0.5, 1, 1000)
PICTURES: Final = 3
PEOPLE: Final = 9
_SECTIONS: Final = ("annotations",) * 6 + ("images",) * 2 + ("categories",)


def whole() -> dict[str, Any]:
    """A document without a fault."""
    images = [image(number, f"{number}.png") for number in range(1, PICTURES + 1)]
    people = [
        annotation(
            number,
            image_id=1 + number % PICTURES,
            bbox=[5 * number, 20, 50, 60],
            keypoints=flat((x + 5 * number, y, visibility) for x, y, visibility in POINTS),
            label="human",
        )
        for number in range(PEOPLE)
    ]
    return document(people, images=images, categories=[category(), {"id": 2, "name": "dog"}])


def mutated(seed: int) -> dict[str, Any]:
    """The document with one to three things changed, the same for the same seed."""
    draw = random.Random(seed)  # noqa: S311 - nothing secret
    content = {"content": whole()}
    for _ in range(draw.randint(1, 3)):
        _change(content, draw)
    changed: dict[str, Any] = content["content"]
    return changed


def _change(content: Any, draw: random.Random) -> None:
    """Replace, remove, double, wrap or exchange a value somewhere."""
    parent, key = _somewhere(content, draw)
    match draw.randrange(5):
        case 0:
            parent[key] = copy.deepcopy(draw.choice(JUNK))
        case 1 if type(parent[key]) in {int, float}:
            parent[key] += draw.choice(NUDGES)
        case 2 if parent is not content:
            del parent[key]
        case 3 if isinstance(parent, list):
            parent.insert(draw.randint(0, len(parent)), copy.deepcopy(parent[key]))
        case 4:
            other, place = _somewhere(content, draw)
            parent[key] = copy.deepcopy(other[place])
        case _:
            parent[key] = [parent[key]]


def _somewhere(content: Any, draw: random.Random) -> tuple[Any, Any]:
    """A container within the content, and the key of one of its values: mostly a deep one."""
    place, key, depth = content, "content", 0
    while True:
        value = place[key]
        if not isinstance(value, (dict, list)) or not value or draw.random() < 0.01 * 3**depth:
            return place, key
        place, depth = value, depth + 1
        key = draw.choice(_keys(place))


def _keys(place: Any) -> Any:
    if isinstance(place, list):
        return range(len(place))
    return [key for key in _SECTIONS if key in place] or list(place)


def write_pictures(folder: Path) -> None:
    for number in range(1, PICTURES + 1):
        (folder / f"{number}.png").write_bytes(encoded(noise(number)))


def write_labels(folder: Path, content: Any) -> None:
    (folder / "mine.json").write_text(json.dumps(content))
