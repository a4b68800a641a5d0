"""Box recall: the share of labelled people whom a detector found. Knows no network, no file."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from distilpose.model import geometry, similarity
from distilpose.model.arrays import FloatArray
from distilpose.model.card import figure_text

MIN_IOU: Final = 0.5
"""A box of less overlap with a person's own is not theirs, as in COCO's AP50."""
_SIZES_PX2: Final = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, np.inf)}


class BoxRecall(NamedTuple):
    """People of one size, and how many of them have a box."""

    people: int
    found: int

    @property
    def share(self) -> float | None:
        """0..1, None where nobody is of that size."""
        return self.found / self.people if self.people else None

    def to_json(self) -> dict[str, Any]:
        """Counts and share as `json.dumps` takes them."""
        return {**self._asdict(), "recall": self.share}


def have_box(people_xyxy_px: FloatArray, found_xyxy_px: FloatArray) -> list[bool]:
    """For each person of a picture (N, 4), whether one of the boxes (M, 4) is theirs alone."""
    overlaps = geometry.iou(people_xyxy_px, found_xyxy_px)
    matches = similarity.match_people(np.where(overlaps >= MIN_IOU, overlaps, 0))
    return [match is not None for match in matches]


def recall_by_size(areas_px2: Sequence[float], found: Sequence[bool]) -> dict[str, BoxRecall]:
    """Of N people with these areas: `all`, and by COCO's sizes `small`, `medium` and `large`.

    *Source:* COCO, whose sizes part at 32 x 32 and 96 x 96 pixels of a person's outline.
    """
    areas, has_box = np.asarray(areas_px2, np.float64), np.asarray(found, bool)
    groups = {"all": np.ones(len(areas), bool)} | {
        name: (areas >= least) & (areas < limit) for name, (least, limit) in _SIZES_PX2.items()
    }
    return {
        name: BoxRecall(int(group.sum()), int(has_box[group].sum()))
        for name, group in groups.items()
    }


def in_words(recall: Mapping[str, BoxRecall]) -> str:
    """The recall of everyone and of each size, with the number of people, as one phrase."""
    everyone, *sizes = (
        f"{figure_text(each.share)} of {each.people}{'' if size == 'all' else f' {size}'}"
        for size, each in recall.items()
    )
    return f"{everyone} ({', '.join(sizes)})"


def protocol(min_box_score: float) -> str:
    """The measuring of the recall in a sentence, to be shown beside it."""
    return (
        f"Box recall: share of people with keypoints who got a box of IoU {MIN_IOU} or more, from "
        f"score {min_box_score:g}, no box for two; sizes by outline, as AP-M and AP-L, parted at "
        "32x32 and 96x96 px."
    )
