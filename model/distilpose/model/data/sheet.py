"""Draw the findings of `check`, and randomly chosen people, on one sheet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import cv2
import numpy as np

from distilpose.model.arrays import ImageHWC
from distilpose.model.configs import CROP_WIDTH
from distilpose.model.data.check import Finding, Report
from distilpose.model.data.people import PeopleFolder
from distilpose.model.data.person import Person, Picture
from distilpose.model.drawing import skeletons
from distilpose.model.drawing.encode import encode
from distilpose.model.drawing.skeletons import Tile
from distilpose.model.errors import DataError
from distilpose.model.geometry import crop_regions, image_to_crop_affine
from distilpose.model.letterbox import letterbox, square
from distilpose.model.skeleton import MIRROR_PAIRS

EACH_RULE: Final = 5
"""Most findings of one rule that are shown."""
AT_RANDOM: Final = 10
"""Most people that are shown without preference."""
_THUMBNAIL_PX: Final = 120
_MARK_RADIUS_PX: Final = 4

_Any = TypeVar("_Any")


def write_sheet(
    path: Path, people_folder: PeopleFolder, report: Report, *, against: PeopleFolder | None = None
) -> None:
    """Write the contact sheet to `path` (PNG).

    Raises:
        ArrayError: if there is nothing to show.
        OSError: the file cannot be written.

    """
    path.write_bytes(encode(sheet(people_folder, report, against=against), "png"))


def sheet(
    people_folder: PeopleFolder,
    report: Report,
    *,
    against: PeopleFolder | None = None,
) -> ImageHWC:
    """A contact sheet with some breaches of each rule, and some people chosen at random.

    Left keypoints are orange and right ones blue; a duplicate has its twin beside it. Unreadable
    pictures are left out.

    Raises:
        ArrayError: if there is nothing to show.

    """
    tiles = [
        _finding_tile(people_folder, against, finding)
        for rule in report.rules
        for finding in _some(report.of(rule), EACH_RULE)
    ]
    tiles += [
        _person_tile(people_folder, picture, person, f"random  {picture.id}")
        for picture, person in _some(_labelled(report), AT_RANDOM)
    ]
    return skeletons.contact_sheet([tile for tile in tiles if tile is not None])


def _some(everything: Sequence[_Any], count: int) -> list[_Any]:
    order = np.random.default_rng(0).permutation(len(everything))
    return [everything[index] for index in order[:count]]


def _labelled(report: Report) -> list[tuple[Picture, Person]]:
    return [
        (picture, person)
        for picture in report.pictures
        for person in picture.people
        if person.has_keypoints
    ]


def _finding_tile(
    people_folder: PeopleFolder, against: PeopleFolder | None, finding: Finding
) -> Tile | None:
    caption = f"{finding.breach.rule.name}  {finding.picture.id}"
    if finding.person is not None:
        return _person_tile(people_folder, finding.picture, finding.person, caption)
    try:
        thumbnails = [_thumbnail(people_folder, finding.picture)]
        if against is not None and finding.twin is not None:
            thumbnails.append(_thumbnail(against, finding.twin))
    except DataError:
        return None
    return Tile(np.hstack(thumbnails), caption)


def _thumbnail(people_folder: PeopleFolder, picture: Picture) -> ImageHWC:
    return letterbox(people_folder.read(picture), square(_THUMBNAIL_PX))[0]


def _person_tile(
    people_folder: PeopleFolder, picture: Picture, person: Person, caption: str
) -> Tile | None:
    if (person.box_xyxy_px[2:] <= person.box_xyxy_px[:2]).any():
        return None
    try:
        image_HWC = people_folder.read(picture)
    except DataError:
        return None
    tile = skeletons.person_tile(
        image_HWC,
        None,
        box_xyxy_px=person.box_xyxy_px,
        truth_xy_px=person.keypoints_xy_px,
        labelled=person.visibility > 0,
        caption=caption,
    )
    _mark_sides(tile.image, person)
    return tile


def _mark_sides(tile_HWC: ImageHWC, person: Person) -> None:
    """Paint the labelled left and right keypoints on a person's tile."""
    [center], [size] = crop_regions(person.box_xyxy_px)
    affine = image_to_crop_affine(center, size[0]) * (tile_HWC.shape[1] / CROP_WIDTH)
    xy_tile_px = np.rint(person.keypoints_xy_px @ affine[:, :2].T + affine[:, 2]).astype(int)
    for pair in MIRROR_PAIRS:
        for index, colour in zip(pair, (skeletons.LEFT_RGB, skeletons.RIGHT_RGB), strict=True):
            if person.visibility[index] > 0:
                x, y = xy_tile_px[index].tolist()
                cv2.circle(tile_HWC, (x, y), _MARK_RADIUS_PX, colour, cv2.FILLED, cv2.LINE_AA)
