"""Image ids of COCO results: from the callers' own ids and file names, or the position."""

import re
from collections.abc import Sequence
from typing import Final

from distilpose.service.errors import InvalidOptions
from distilpose.service.printable import excerpt

MOST_IMAGE_ID: Final = 2**63 - 1
"""Largest image id; tools keep ids in 64 bits with a sign."""

_DIGITS: Final = re.compile(r"(?:.*[/\\])?([0-9]+)(?:\.[^./\\]*)?", re.DOTALL)
"""A file name of digits, without its folders and its suffix."""


def number_of(identity: str | int | None) -> int | None:
    """The number in an image's id: itself, or of a file name such as `000000000139.jpg` 139.

    None if there is no number, or more than a number.
    """
    if not isinstance(identity, str):
        return identity
    digits = _DIGITS.fullmatch(identity)
    return int(digits[1]) if digits else None


def image_ids(identities: Sequence[str | int | None]) -> list[int]:
    """The image id of each image of a request, for COCO results.

    It is the number in the caller's id, else the image's position in the request.

    Raises:
        InvalidOptions: a number is out of range, or is the position of an image without a number.
    """
    numbers = [number_of(identity) for identity in identities]
    for index, number in enumerate(numbers):
        if number is not None and not 0 <= number <= MOST_IMAGE_ID:
            raise InvalidOptions(
                f"images[{index}]: id '{excerpt(str(number))}' is out of range for format coco, "
                f"whose image ids are 0 to {MOST_IMAGE_ID}"
            )
    given = set(numbers)
    for index, number in enumerate(numbers):
        if number is None and index in given:
            raise InvalidOptions(
                f"images[{index}]: has no number as its id, and format coco cannot take its "
                f"position, since images[{numbers.index(index)}] has {index} as its id"
            )
    return [index if number is None else number for index, number in enumerate(numbers)]
