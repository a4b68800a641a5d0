"""COCO's 17 keypoints: names, order, mirror pairs, limbs and the OKS constants.

Left and right are the person's own. *Source:* COCO keypoint task, person category.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

KEYPOINT_NAMES: Final = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
KEYPOINT_COUNT: Final = len(KEYPOINT_NAMES)

PERSON_CATEGORY_ID: Final = 1
"""COCO's id of the category person, for documents that are written here."""
AREA_SHARE: Final = 0.53
"""Area of a person's outline as a share of the box, if nobody drew the outline."""

MIRROR_PAIRS: Final = ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))
"""Pairs of left and right keypoints, swapped when an image is mirrored."""

LIMBS: Final = (
    (15, 13),
    (13, 11),
    (16, 14),
    (14, 12),
    (11, 12),
    (5, 11),
    (6, 12),
    (5, 6),
    (5, 7),
    (6, 8),
    (7, 9),
    (8, 10),
    (1, 2),
    (0, 1),
    (0, 2),
    (1, 3),
    (2, 4),
    (3, 5),
    (4, 6),
)
"""Pairs of keypoints that a drawing joins."""


def _mirror_order() -> npt.NDArray[np.intp]:
    order = np.arange(KEYPOINT_COUNT)
    for left, right in MIRROR_PAIRS:
        order[left], order[right] = right, left
    order.setflags(write=False)
    return order


def _oks_sigmas() -> npt.NDArray[np.float64]:
    per_joint = [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]
    sigmas = np.array(per_joint) / 1000
    sigmas.setflags(write=False)
    return sigmas


MIRROR_ORDER: Final = _mirror_order()
"""Index array (17,): `keypoints[MIRROR_ORDER]` swaps left and right."""

OKS_SIGMAS: Final = _oks_sigmas()
"""COCO's constants (17,); OKS uses k = 2 * sigma."""
