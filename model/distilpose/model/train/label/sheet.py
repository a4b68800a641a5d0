"""Draw some of the people that a network labelled."""

from pathlib import Path
from typing import Final

import numpy as np

from distilpose.model import crop, geometry, pictures
from distilpose.model.arrays import ImageHWC
from distilpose.model.drawing import skeletons
from distilpose.model.drawing.encode import encode
from distilpose.model.drawing.skeletons import Tile
from distilpose.model.poses.pose import Pose
from distilpose.model.train.label.photos import LabelledFolder, LabelledPhoto
from distilpose.model.train.label.trust import MIN_WEIGHT

_PEOPLE_AT_MOST: Final = 30
_CAPTION_LETTERS: Final = 16


def write_sheet(path: Path, labelled: LabelledFolder) -> bool:
    """Write the contact sheet (PNG) and return True; only return False if nobody was found.

    Raises:
        DataError: a photo can no longer be read.
    """
    if not any(len(photo.people.scores) for photo in labelled.photos):
        return False
    path.write_bytes(encode(sheet(labelled), "png"))
    return True


def sheet(labelled: LabelledFolder) -> ImageHWC:
    """A contact sheet of at most 30 people at random; a keypoint without a label is left out.

    The number at the top and in the caption is the mean weight of all 17 keypoints.

    Raises:
        ArrayError: nobody was found.
        DataError: a photo can no longer be read.
    """
    everyone = [
        (photo, index) for photo in labelled.photos for index in range(len(photo.people.scores))
    ]
    order = np.random.default_rng(0).permutation(len(everyone))[:_PEOPLE_AT_MOST]
    return skeletons.contact_sheet(
        [_tile(labelled.folder, *everyone[place]) for place in sorted(order)]
    )


def _tile(folder: Path, photo: LabelledPhoto, index: int) -> Tile:
    box_xyxy_px = photo.people.boxes_xyxy_px[index]
    xy_px, weight = photo.labels.keypoints_xy_px[index], photo.labels.weight[index]
    pose = Pose(box_xyxy_px, 1.0, xy_px, weight, weight, np.zeros_like(xy_px))
    image_HWC = pictures.read(folder / photo.file_name)
    drawn_HWC = skeletons.draw_poses(image_HWC, [pose], visible=[weight >= MIN_WEIGHT])
    [tile_HWC] = crop.cut(drawn_HWC, geometry.crop_regions(box_xyxy_px))
    return Tile(tile_HWC, f"{weight.mean():.2f} {photo.file_name[-_CAPTION_LETTERS:]}")
