"""Small documents of labels in COCO's form, with one thing wrong at a time."""

from typing import Any, Final

from distilpose.model.data.labels.document import as_document
from distilpose.model.data.labels.faults import Fault
from distilpose.model.data.labels.reading import Read, read_document
from distilpose.model.skeleton import KEYPOINT_COUNT, KEYPOINT_NAMES

BOX_XYWH: Final = [10, 20, 40, 60]
AREA: Final = 1000
POINTS: Final = [(12 + 2 * number, 22 + 3 * number, 2) for number in range(KEYPOINT_COUNT)]
"""A different place for each keypoint, within the box."""
MISSING: Final = object()
"""In place of a value: the field is not there."""


def image(number: Any = 1, name: Any = "a.png", **fields: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": 120, "height": 90} | fields


def annotation(number: Any = 1, **fields: Any) -> dict[str, Any]:
    """A whole person, but for the fields."""
    person = {
        "id": number,
        "image_id": 1,
        "category_id": 1,
        "bbox": BOX_XYWH,
        "area": AREA,
        "iscrowd": 0,
        "keypoints": flat(POINTS),
    } | fields
    return {name: value for name, value in person.items() if value is not MISSING}


def good(count: int, *, image_id: Any = 1) -> list[dict[str, Any]]:
    """People in boxes of their own, which keep half of a document from being left out."""
    return [
        annotation(1000 + number, image_id=image_id, bbox=[number, 20, 40, 60])
        for number in range(count)
    ]


def flat(points: Any) -> list[Any]:
    return [value for point in points for value in point]


def with_point(index: int, point: Any) -> list[Any]:
    """The keypoints, one of them replaced."""
    return flat([*POINTS[:index], point, *POINTS[index + 1 :]])


def category(number: Any = 1, name: Any = "person", **fields: Any) -> dict[str, Any]:
    return {"id": number, "name": name, "keypoints": list(KEYPOINT_NAMES)} | fields


def document(annotations: Any, *, images: Any = None, categories: Any = None) -> dict[str, Any]:
    return {
        "images": [image()] if images is None else images,
        "annotations": annotations,
        "categories": [category()] if categories is None else categories,
    }


def read(content: Any) -> Read:
    return read_document(as_document(content, source="mine", file="mine.json"))


def faults(found: Read) -> list[Fault]:
    return list(found.record.faults)


def names(found: Read) -> list[str]:
    """The rules of the faults, in order."""
    return [fault.breach.rule.name for fault in faults(found)]
