"""A student's outputs for people held out of training, beside the ground truth."""

from collections.abc import Callable
from typing import Final

import numpy as np

from distilpose.model import crop, geometry
from distilpose.model.arrays import FloatArray, ImageHWC
from distilpose.model.calibration import Samples, right_within_px
from distilpose.model.data.people import PeopleFolder
from distilpose.model.data.person import Person, Picture
from distilpose.model.errors import DataError
from distilpose.model.runtime.engine import PoseEngine

HOLDOUT_EVERY: Final = 20
"""Pictures whose id is divisible by this are held out of training, for calibration."""

TRUSTED_LABELS: Final = ("human", "mixed")
"""Labels that people made or checked; labels made by a network are unfit for calibration."""

BOX_ERROR: Final = 0.04
"""Scale of the error of a box's sides, as a share of the box. The packaged detector's sides err by
a median of 3% of the width and 1% of the height, with far more outliers than a Gaussian."""
_LARGEST_BOX_ERROR: Final = 0.3


def observe(
    engine: PoseEngine,
    people_folder: PeopleFolder,
    *,
    draws: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Samples:
    """Samples of a folder's held-out people, each in `draws` boxes with typical detector errors.

    Only people with trusted labels count, and their boxes are the same each time. A keypoint's
    weight is the trust in its label, divided by `draws`. `on_progress` receives the number of
    pictures done and the total after each picture.

    Raises:
        DataError: nobody is held out, or a picture cannot be read.
    """
    pictures = held_out_pictures(people_folder)
    if not pictures:
        raise DataError(
            f"{people_folder.folder}: nobody labelled by people is in a picture whose id "
            f"{HOLDOUT_EVERY} divides"
        )
    generator = np.random.default_rng(0)
    parts = []
    for done, picture in enumerate(pictures, start=1):
        people = _trusted(picture) * draws
        boxes_xyxy_px = jittered(
            np.array([person.box_xyxy_px for person in people]), picture.size_wh, generator
        )
        parts.append(_observe(engine, people_folder.read(picture), people, boxes_xyxy_px))
        on_progress(done, len(pictures))
    samples = Samples(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    return samples._replace(weight=samples.weight / np.float32(draws))


def held_out_pictures(people_folder: PeopleFolder) -> list[Picture]:
    """The held-out pictures that show somebody with trusted labels."""
    return [
        picture
        for picture in people_folder.pictures
        if picture.id % HOLDOUT_EVERY == 0 and _trusted(picture)
    ]


def jittered(
    boxes_xyxy_px: FloatArray, image_size_wh: tuple[int, int], generator: np.random.Generator
) -> FloatArray:
    """Boxes (N, 4) within the image, with sides moved at random by a few percent of their size."""
    sizes_px = np.tile(boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2], 2)
    errors = generator.laplace(scale=BOX_ERROR, size=boxes_xyxy_px.shape)
    moved = boxes_xyxy_px + errors.clip(-_LARGEST_BOX_ERROR, _LARGEST_BOX_ERROR) * sizes_px
    return geometry.clip_boxes(moved.astype(np.float32), image_size_wh)


def _trusted(picture: Picture) -> list[Person]:
    return [
        person
        for person in picture.people
        if person.can_be_measured and person.label in TRUSTED_LABELS
    ]


def _observe(
    engine: PoseEngine, image_HWC: ImageHWC, people: list[Person], boxes_xyxy_px: FloatArray
) -> Samples:
    regions = geometry.crop_regions(boxes_xyxy_px)
    arrays = engine.run(crop.cut(image_HWC, regions))
    found_xy_px = geometry.crop_to_image(arrays.xy_crop, regions)
    true_xy_px = np.array([person.keypoints_xy_px for person in people])
    error_px = np.linalg.norm(found_xy_px - true_xy_px, axis=-1)
    areas_px2 = np.array([person.area_px2 for person in people])
    return Samples(
        raw_score=arrays.raw_score,
        sigma_cell=arrays.sigma_cell,
        crop_widths_px=regions.sizes_wh_px[:, 0],
        error_cell=error_px / geometry.cell_px(regions)[:, None],
        right=error_px <= right_within_px(areas_px2),
        weight=np.array([p.keypoint_weight * (p.visibility > 0) for p in people], np.float32),
    )
