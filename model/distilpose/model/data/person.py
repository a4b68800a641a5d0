"""A labelled person and a labelled picture. Knows no files and no formats of labels."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from distilpose.model.arrays import FloatArray

DOUBTFUL_LABEL: Final = "doubtful"
"""Label of detections that are neither surely a person nor surely background."""
LEFT_OUT_LABEL: Final = "left out"
"""Label of annotations that cannot be trusted: their box is a region to ignore."""


@dataclass(frozen=True, eq=False)
class Person:
    """One labelled person; people without keypoints have a `visibility` of 17 zeros."""

    box_xyxy_px: FloatArray
    """Shape (4,)."""
    area_px2: float
    """Area of the person's outline, which scales OKS."""
    keypoints_xy_px: FloatArray
    """Shape (17, 2); (0, 0) where not labelled."""
    visibility: npt.NDArray[np.uint8]
    """COCO's flags (17,): 0 not labelled, 1 hidden, 2 visible."""
    keypoint_weight: FloatArray
    """Trust in each keypoint (17,), 0..1; 0 where there is none."""
    label: str
    """Origin of the labels: `human` or `box` unless the file states another one."""
    is_crowd: bool
    """True if the box is around a group, not one person."""
    annotation_id: int | None = None
    """The annotation's id in its file; None if it has none."""

    @property
    def has_keypoints(self) -> bool:
        """Return True if at least one keypoint is labelled."""
        return bool(self.visibility.any())

    @property
    def can_be_measured(self) -> bool:
        """Return True if this is a single person with labelled keypoints."""
        return self.has_keypoints and not self.is_crowd

    @property
    def is_left_out(self) -> bool:
        """Return True if the annotation is unusable but for its box, a region to ignore."""
        return self.label == LEFT_OUT_LABEL

    @property
    def is_ignored(self) -> bool:
        """Return True if the box is neither certainly one person nor background."""
        return self.is_crowd or self.is_left_out or self.label == DOUBTFUL_LABEL


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture and the people labelled in it; `PeopleFolder.read` gives its pixels."""

    id: int
    """Its own in the folder: its file's, unless another file of the folder uses that too."""
    file_name: str
    size_wh: tuple[int, int]
    source: str
    """Name of the annotation file that lists the picture, e.g. `coco`, or of its split."""
    shard: str | None
    """The tar file beside the annotations that holds the picture, or None for a loose file."""
    boxes_complete: bool
    """True if everyone in the picture has a box, so that the rest is background."""
    people: tuple[Person, ...]
