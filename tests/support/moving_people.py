"""A clip with known ground truth: people cut from photos, moving in front of a street.

They cross each other, go behind a column and leave the picture. Every picture is computed from its
number alone.
"""

import io
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from PIL import Image

from distilpose.model.arrays import ImageHWC
from distilpose.model.skeleton import MIRROR_ORDER
from photos import photo

SIZE_WH = (960, 640)
FRAMES_A_SECOND = 25
LEAST_SEEN = 0.3
"""A person with a smaller visible share counts as absent."""
_COLUMN_X_PX = (610, 690)
_FEATHER_PX = 1.2
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Cutout:
    """A person in a photo: the outline (N, 2), and the keypoints (17, 2)."""

    photo: str
    outline_xy_px: Array
    keypoints_xy_px: Array
    labelled: Array
    """Shape (17,)."""

    @cached_property
    def picture_HWA(self) -> Array:
        """The person alone: red, green and blue, 0..255, and opacity, 0..1, as floats."""
        whole = np.array(Image.open(io.BytesIO(photo(self.photo))).convert("RGB"))
        mask = np.zeros(whole.shape[:2], np.uint8)
        cv2.fillPoly(mask, [self.outline_xy_px.astype(np.int32)], 255)
        opaque = cv2.GaussianBlur(mask, (0, 0), _FEATHER_PX)[..., None] / np.float32(255)
        return np.concatenate([whole.astype(np.float32), opaque], axis=-1)


def _points(text: str) -> Array:
    return np.array([pair.split(",") for pair in text.split()], np.float32)


_EVERYTHING = np.ones(17, bool)
_UPPER_BODY = np.arange(17) < 11
COAT = Cutout(
    "bus.jpg",
    _points(
        "108,405 130,397 155,405 160,440 158,465 185,490 200,560 203,590 185,600 190,690 185,720 "
        "200,840 212,870 216,900 178,902 172,860 158,760 145,700 118,710 110,800 104,895 52,902 "
        "52,875 66,840 78,700 62,690 65,560 64,500 92,480 105,455"
    ),
    _points(
        "143,445 147,436 133,437 153,442 111,443 158,485 90,495 180,553 103,565 182,562 157,560 "
        "159,636 107,638 166,744 96,748 178,846 72,837"
    ),
    _EVERYTHING,
)
SCARF = Cutout(
    "bus.jpg",
    _points(
        "268,412 285,406 302,415 308,440 304,462 325,480 345,530 345,560 325,580 330,650 343,690 "
        "335,715 300,745 285,810 295,850 262,857 245,825 248,710 225,695 232,600 222,560 226,510 "
        "250,485 268,465"
    ),
    _points(
        "294,447 300,439 286,440 311,446 270,451 320,495 253,490 329,539 230,550 292,527 257,531 "
        "308,628 256,633 307,720 268,728 271,805 257,814"
    ),
    _EVERYTHING,
)
COACH = Cutout(
    "zidane.jpg",
    _points(
        "990,46 925,70 898,108 909,222 830,262 757,282 748,708 1128,708 1102,600 1076,504 1145,408 "
        "1041,420 1030,330 1016,282 1040,240 1054,180 1059,114 1024,58"
    ),
    _points(
        "1012,199 1028,176 988,171 1034,193 909,183 1028,327 830,323 1101,481 724,478 1079,437 "
        "968,459 1031,651 836,629 0,0 0,0 0,0 0,0"
    ),
    _UPPER_BODY,
)


@dataclass(frozen=True)
class Walk:
    """A person's path through the clip: pixels, seconds and pixels a second of the picture."""

    cutout: Cutout
    is_mirrored: bool
    height_px: float
    """Height at the start."""
    growth: float
    """Relative growth of the height per second."""
    x_px: float
    """Position of the centre at the start."""
    speed_px: float
    feet_px: float

    def affine(self, seconds: float) -> Array:
        """The map (2, 3) from the photo to the picture."""
        outline = self.cutout.outline_xy_px
        (left, top), (right, bottom) = outline.min(0), outline.max(0)
        height_px = self.height_px * (1 + self.growth * seconds)
        scale = height_px / (bottom - top)
        turn = -scale if self.is_mirrored else scale
        bob_px = 0.012 * height_px * math.sin(2 * math.pi * 1.8 * seconds)
        x_px = self.x_px + self.speed_px * seconds
        return np.array(
            [
                [turn, 0, x_px - turn * (left + right) / 2],
                [0, scale, self.feet_px + bob_px - scale * bottom],
            ]
        )


WALKS = (
    Walk(SCARF, False, 230, 0.02, 200, 25, 500),
    Walk(COAT, True, 250, 0.01, 840, -62, 515),
    Walk(SCARF, True, 300, -0.01, 1080, -80, 560),
    Walk(COAT, False, 330, 0.02, -60, 95, 590),
    Walk(COACH, False, 300, 0.0, -420, 150, 645),
)
"""The paths from the farthest person to the nearest: later ones hide earlier ones."""


@dataclass(frozen=True, eq=False)
class Person:
    """The ground truth of a person in a picture, in pixels."""

    number: int
    box_xyxy_px: Array
    """Box (4,), clipped to the picture."""
    keypoints_xy_px: Array
    """Keypoints (17, 2)."""
    is_seen: Array
    """True for keypoints (17,) that are labelled, in the picture and not hidden."""
    seen: float
    """Visible share of the person, 0..1."""


class Clip:
    """Pictures 0, 1, 2, ... of a static camera."""

    def __init__(self, walks: tuple[Walk, ...] = WALKS) -> None:
        self.walks = walks
        self._street = _street()

    def picture(self, index: int) -> ImageHWC:
        """Return the camera's picture."""
        canvas = self._street.astype(np.float32)
        for number, walk in enumerate(self.walks):
            figure = _placed(walk, index)
            canvas += figure[..., 3:] * (figure[..., :3] - canvas)
            if number == 1:
                left, right = _COLUMN_X_PX
                canvas[:, left:right] = self._street[:, left:right] * 0.45
        return np.rint(canvas).clip(0, 255).astype(np.uint8)

    def people(self, index: int) -> list[Person]:
        """Everybody who is visible enough, the farthest first."""
        hidden = np.zeros(SIZE_WH[::-1], bool)
        found = []
        for number, walk in reversed(list(enumerate(self.walks))):
            if number == 1:
                hidden[:, slice(*_COLUMN_X_PX)] = True
            figure = _placed(walk, index)[..., 3] > 0.5
            person = _person(number, walk, index, figure, hidden)
            if person.seen >= LEAST_SEEN:
                found.append(person)
            hidden |= figure
        return found[::-1]


def timestamp_ms(index: int) -> float:
    """Return the time of a picture."""
    return index * 1000 / FRAMES_A_SECOND


def _placed(walk: Walk, index: int) -> Array:
    affine = walk.affine(index / FRAMES_A_SECOND)
    return cv2.warpAffine(walk.cutout.picture_HWA, affine, SIZE_WH, flags=cv2.INTER_AREA)


def _person(number: int, walk: Walk, index: int, figure: Array, hidden: Array) -> Person:
    affine = walk.affine(index / FRAMES_A_SECOND)
    outline, keypoints = (
        xy_px @ affine[:, :2].T + affine[:, 2]
        for xy_px in (walk.cutout.outline_xy_px, walk.cutout.keypoints_xy_px)
    )
    labelled = walk.cutout.labelled
    if walk.is_mirrored:
        keypoints, labelled = keypoints[MIRROR_ORDER], labelled[MIRROR_ORDER]
    box = np.clip(np.concatenate([outline.min(0), outline.max(0)]), 0, [*SIZE_WH, *SIZE_WH])
    whole_px2 = float(cv2.contourArea(outline.astype(np.float32)))
    columns, rows = np.rint(keypoints).astype(int).T
    inside = (columns >= 0) & (columns < SIZE_WH[0]) & (rows >= 0) & (rows < SIZE_WH[1])
    is_hidden = hidden[rows.clip(0, SIZE_WH[1] - 1), columns.clip(0, SIZE_WH[0] - 1)]
    seen = (figure & ~hidden).sum() / whole_px2
    return Person(number, box, keypoints, labelled & inside & ~is_hidden, float(seen))


def _street() -> ImageHWC:
    """The parts of a photo without people: houses above, pavement below."""
    whole = np.array(Image.open(io.BytesIO(photo("bus.jpg"))).convert("RGB"))
    parts = np.concatenate([whole[:380], whole[916:]])
    return np.asarray(cv2.resize(parts, SIZE_WH, interpolation=cv2.INTER_AREA), np.uint8)
