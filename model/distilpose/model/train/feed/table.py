"""The people of a folder as a table of arrays, one row each; knows labels but no pixels."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distilpose.model.arrays import FloatArray
from distilpose.model.data.people import PeopleFolder
from distilpose.model.data.person import Person, Picture
from distilpose.model.errors import DataError
from distilpose.model.geometry import CropRegions, crop_regions, image_to_crop


class CropFormat(NamedTuple):
    """The format of stored crops: width to height is 3:4, as in the network's input."""

    height_px: int
    width_px: int
    margin: float
    """The size of a stored crop as a multiple of the network's region, in width and in height."""


@dataclass(frozen=True, eq=False)
class PeopleTable:
    """The data of N stored people; the fields are the columns."""

    xy_store_px: FloatArray
    """Keypoints (N, 17, 2) in pixels of the stored crop, 0 where not labelled."""
    weight: FloatArray
    """Trust in each keypoint (N, 17), 0..1; 0 where not labelled."""
    box_wh_store_px: FloatArray
    """Width and height (N, 2) of the person's box in pixels of the stored crop."""
    center_xy_px: FloatArray
    """Centre (N, 2) of the network's region in image pixels."""
    region_wh_px: FloatArray
    """Size (N, 2) of the network's region, without the margin, in image pixels."""
    area_px2: FloatArray
    """Area (N,) of the person's outline in the image."""
    xy_px: FloatArray
    """Keypoints (N, 17, 2) in image pixels, 0 where not labelled."""
    picture_id: npt.NDArray[np.int64]
    """Shape (N,)."""
    person_index: npt.NDArray[np.int64]
    """Index (N,) among the people of the picture."""
    label: npt.NDArray[np.str_]
    """Origin (N,) of the labels, e.g. `human`."""
    source: npt.NDArray[np.str_]
    """Stem (N,) of the annotation file."""

    def __len__(self) -> int:
        return len(self.weight)

    def take(self, rows: npt.NDArray[np.intp]) -> "PeopleTable":
        """The table of these rows, in their order."""
        return PeopleTable(**{name: column[rows] for name, column in vars(self).items()})


class PictureRows(NamedTuple):
    """The consecutive rows of one picture's people in the table."""

    picture: Picture
    """The picture, without its people."""
    first_row: int
    regions: CropRegions
    """The network's regions, without the margin."""


class _Row(NamedTuple):
    picture: Picture
    person_index: int
    person: Person
    box_xyxy_px: FloatArray


def tabulate(
    people_folder: PeopleFolder, crop_format: CropFormat
) -> tuple[PeopleTable, list[PictureRows]]:
    """The table of everyone that training may use, and the rows of each of their pictures.

    Crowds, doubtful people and people whose box is outside the picture are left out; people without
    keypoints have weights of 0.

    Raises:
        DataError: if nobody is left.

    """
    rows = [row for picture in people_folder.pictures for row in _rows(picture)]
    if not rows:
        raise DataError(f"{people_folder.folder}: nobody in it has a box to cut out")
    regions = crop_regions(np.array([row.box_xyxy_px for row in rows]))
    return _table(rows, regions, crop_format), _by_picture(rows, regions)


def training_box(box_xyxy_px: FloatArray, size_wh: tuple[int, int]) -> FloatArray | None:
    """The box (4,) that training uses, or None if it is outside the picture.

    It is a pixel smaller than labelled and ends at the centre of the picture's last pixel.
    *Source:* mmpose 0.22, with which the published networks were trained.
    """
    width, height = size_wh
    left, top = (float(edge) for edge in np.maximum(box_xyxy_px[:2], 0))
    box_w, box_h = (float(side) for side in box_xyxy_px[2:] - box_xyxy_px[:2])
    right, bottom = min(width - 1, left + box_w - 1), min(height - 1, top + box_h - 1)
    if right <= left or bottom <= top:
        return None
    return np.array([left, top, right, bottom], np.float32)


def _rows(picture: Picture) -> list[_Row]:
    without_people = replace(picture, people=())
    rows = []
    for index, person in enumerate(picture.people):
        box_xyxy_px = training_box(person.box_xyxy_px, picture.size_wh)
        if not person.is_ignored and box_xyxy_px is not None and person.area_px2 > 0:
            rows.append(_Row(without_people, index, person, box_xyxy_px))
    return rows


def _table(rows: list[_Row], regions: CropRegions, crop_format: CropFormat) -> PeopleTable:
    store_wh_px = np.array([crop_format.width_px, crop_format.height_px], np.float32)
    shown = regions._replace(sizes_wh_px=regions.sizes_wh_px * np.float32(crop_format.margin))
    boxes_xyxy_px = np.array([row.box_xyxy_px for row in rows])
    labelled = np.array([row.person.visibility > 0 for row in rows])
    xy_px = np.array([row.person.keypoints_xy_px for row in rows])
    return PeopleTable(
        xy_store_px=image_to_crop(xy_px, shown) * store_wh_px * labelled[..., None],
        weight=np.array([row.person.keypoint_weight for row in rows]) * labelled,
        box_wh_store_px=(boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2])
        * (store_wh_px / shown.sizes_wh_px),
        center_xy_px=regions.centers_xy_px,
        region_wh_px=regions.sizes_wh_px,
        area_px2=np.array([row.person.area_px2 for row in rows], np.float32),
        xy_px=xy_px,
        picture_id=np.array([row.picture.id for row in rows]),
        person_index=np.array([row.person_index for row in rows]),
        label=np.array([row.person.label for row in rows]),
        source=np.array([row.picture.source for row in rows]),
    )


def _by_picture(rows: list[_Row], regions: CropRegions) -> list[PictureRows]:
    ids = np.array([row.picture.id for row in rows])
    firsts = np.flatnonzero(np.diff(ids, prepend=ids[0] - 1))
    lasts = [*firsts[1:], len(rows)]
    return [
        PictureRows(
            rows[first].picture,
            int(first),
            CropRegions(regions.centers_xy_px[first:last], regions.sizes_wh_px[first:last]),
        )
        for first, last in zip(firsts, lasts, strict=True)
    ]
