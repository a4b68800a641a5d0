"""Find pictures that two data sets share: by name, by their bytes and by their look.

Knows pictures and their bytes, but not their origin.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from distilpose.model.arrays import ImageHWC
from distilpose.model.data.people import coco_ids
from distilpose.model.data.person import Picture

MAX_DIFFERENT_BITS: Final = 24
"""The maximum number of different bits, out of a look's 256: nearly all copies at half the size and
low quality are within it."""

_LOOK_SIZE: Final = 16
_PICTURES_A_BLOCK: Final = 1024


class Fingerprint(NamedTuple):
    """The properties by which a picture is recognised."""

    picture: Picture
    content: bytes | None = None
    """SHA-256 of the encoded picture, if it could be read."""
    look: npt.NDArray[np.bool_] | None = None
    """The look (256,) of the picture (see `look_of`), if it was decoded."""


class Twin(NamedTuple):
    """A picture and its duplicate in the other set."""

    picture: Picture
    other: Picture
    by: str
    """The way they were recognised, in words."""


def content_of(encoded: bytes) -> bytes:
    """SHA-256 of a picture's bytes."""
    return sha256(encoded).digest()


def look_of(image_HWC: ImageHWC) -> npt.NDArray[np.bool_]:
    """A perceptual hash, bool (256,): each place of a 16 x 17 grey picture brighter than the last.

    Changes of size, brightness and compression leave nearly all of its bits unchanged.
    """
    grey = cv2.cvtColor(image_HWC, cv2.COLOR_RGB2GRAY)
    coarse = cv2.resize(grey, (_LOOK_SIZE + 1, _LOOK_SIZE), interpolation=cv2.INTER_AREA)
    return np.asarray(coarse[:, 1:] > coarse[:, :-1]).ravel()


def twins(ones: Sequence[Fingerprint], others: Sequence[Fingerprint]) -> list[Twin]:
    """Each of `ones` that is also among `others`, once, with the most reliable sign."""
    found: dict[int, Twin] = {}
    for twin in (*_by_look(ones, others), *_by_content(ones, others), *_by_name(ones, others)):
        found[twin.picture.id] = twin  # later signs are more reliable
    return [found[one.picture.id] for one in ones if one.picture.id in found]


def _by_name(ones: Sequence[Fingerprint], others: Sequence[Fingerprint]) -> list[Twin]:
    known = {_name(other.picture): other.picture for other in others}
    return [
        Twin(one.picture, known[_name(one.picture)], f"name {_name(one.picture)}")
        for one in ones
        if _name(one.picture) in known
    ]


def _name(picture: Picture) -> str:
    """COCO's id if the file name contains it, else the file name."""
    ids = coco_ids([picture])
    return f"COCO {ids[0]}" if ids else picture.file_name


def _by_content(ones: Sequence[Fingerprint], others: Sequence[Fingerprint]) -> list[Twin]:
    known = {other.content: other.picture for other in others if other.content is not None}
    return [
        Twin(one.picture, known[one.content], "same bytes") for one in ones if one.content in known
    ]


def _by_look(ones: Sequence[Fingerprint], others: Sequence[Fingerprint]) -> list[Twin]:
    seen = [(each.picture, each.look) for each in ones if each.look is not None]
    known = [(each.picture, each.look) for each in others if each.look is not None]
    if not seen or not known:
        return []
    signs_of_known = _signs([bits for _, bits in known])
    found = []
    for first in range(0, len(seen), _PICTURES_A_BLOCK):
        block = seen[first : first + _PICTURES_A_BLOCK]
        agreement = _signs([bits for _, bits in block]) @ signs_of_known.T
        different = (_LOOK_SIZE**2 - agreement) / 2
        for (picture, _), row in zip(block, different, strict=True):
            if row.min() <= MAX_DIFFERENT_BITS:
                other, _ = known[int(row.argmin())]
                found.append(Twin(picture, other, f"same look but for {row.min():.0f} of 256"))
    return found


def _signs(bits: list[npt.NDArray[np.bool_]]) -> npt.NDArray[np.float32]:
    """Bits as 1 and -1, so that a dot product counts agreements minus differences."""
    return np.where(np.array(bits), 1, -1).astype(np.float32)
