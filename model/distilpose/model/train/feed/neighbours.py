"""Neighbours: people of other pictures, pasted into a crop so that hands are not mixed up.

A network that has only seen people alone takes the hand of whoever stands beside a person for that
person's hidden one. So another person of the batch, or only one arm, is cut out along its limbs and
put where it disturbs most: its forearm at one of the target's wrists, its hand nearby. The target
is the person on whom the crop is centred: a whole neighbour is moved outwards until its box is
beside the target's. The target's labels stay as they are, those of covered keypoints too.

*Source:* ours, after copy-paste of instances (arXiv 1908.07801, 2012.07177) and the occlusion of
poses by pasted objects (arXiv 1808.09316). Knows no settings and no files.

Shape letters: B people, P = 22 parts of a body, C cells of 4x4 crop pixels, in H = 64 rows and
W = 48 columns. Frames as in `views`.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor

from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.train.feed.batch import StoredBatch
from distilpose.model.train.feed.draws import Draws
from distilpose.model.train.feed.views import Views, centers, move_points, on_device, plain_views

_WHOLE_SHARE: Final = 0.5
"""Share of neighbours that are whole people; the others are one arm."""
_SIZE_DEVIATION: Final = 0.15
"""Standard deviation of a neighbour's size, relative to the target's."""
_ZOOM_LIMITS: Final = (0.4, 1.6)
"""Stored crops are magnified or shrunk no further."""
_OFF_WRIST: Final = 0.04
"""Standard deviation of the forearm's distance to the target's wrist, as a share of the stature."""
_LEAST_DISTANCE: Final = 0.7
"""Minimum distance of a whole neighbour's box from the target's, centre to centre, as a share of
that of boxes that touch."""
_HAND_LENGTH: Final = 0.6
"""Length of a hand as a share of the forearm."""
_CELL_PX: Final = 4
_EDGE_PX: Final = 5.0
"""Width of the blended edge of a neighbour in crop pixels."""

_SHOULDERS: Final = slice(5, 7)
_ELBOWS: Final = slice(7, 9)
_WRISTS: Final = slice(9, 11)
_LEFT_FINGERTIPS, _RIGHT_FINGERTIPS = 17, 18
"""Follow COCO's keypoints; a forearm's length beyond the wrist, times `_HAND_LENGTH`."""

_STATURE_SHARES: Final = (
    ((5, 11), 0.29),
    ((6, 12), 0.29),
    ((5, 7), 0.17),
    ((6, 8), 0.17),
    ((7, 9), 0.15),
    ((8, 10), 0.15),
    ((11, 13), 0.245),
    ((12, 14), 0.245),
    ((13, 15), 0.245),
    ((14, 16), 0.245),
)
"""Lengths between keypoints as shares of the stature. *Source:* Drillis and Contini, Body segment
parameters, 1966."""

_ARM_PARTS: Final = 3
_PARTS: Final = (
    (5, 7, 0.045),
    (7, 9, 0.04),
    (9, _LEFT_FINGERTIPS, 0.04),
    (6, 8, 0.045),
    (8, 10, 0.04),
    (10, _RIGHT_FINGERTIPS, 0.04),
    (0, 3, 0.07),
    (0, 4, 0.07),
    (0, 5, 0.045),
    (0, 6, 0.045),
    (5, 6, 0.05),
    (5, 11, 0.07),
    (6, 12, 0.07),
    (5, 12, 0.07),
    (6, 11, 0.07),
    (11, 12, 0.07),
    (11, 13, 0.06),
    (12, 14, 0.06),
    (13, 15, 0.05),
    (14, 16, 0.05),
    (15, 15, 0.055),
    (16, 16, 0.055),
)
"""Ends and radius, as a share of the stature, of the capsules that cover a body: the left arm, the
right arm, the rest."""
_FIRST: Final = tuple(first for first, _, _ in _PARTS)
_LAST: Final = tuple(last for _, last, _ in _PARTS)
_RADIUS: Final = tuple(radius for _, _, radius in _PARTS)


class Neighbours(NamedTuple):
    """A neighbour for each of B crops, and how it lies in the 256x192 crop."""

    is_pasted: Tensor
    """True for crops that get one, bool (B,); for the others the rest is meaningless."""
    row: Tensor
    """Row of the batch that the neighbour is in, int64 (B,)."""
    views: Views
    """The region of the neighbour's stored crop that lies under the crop."""
    first_xy_crop_px: Tensor
    """One end of each part of its body, (B, P, 2)."""
    last_xy_crop_px: Tensor
    """The other end, (B, P, 2)."""
    radius_crop_px: Tensor
    """Radius of each part, (B, P); negative for parts that are not pasted."""

    def take(self, rows: Tensor) -> "Neighbours":
        """Return the neighbours of some crops of the batch, in the order of `rows`."""
        return Neighbours(
            self.is_pasted[rows],
            self.row[rows],
            Views(*(column[rows] for column in self.views)),
            self.first_xy_crop_px[rows],
            self.last_xy_crop_px[rows],
            self.radius_crop_px[rows],
        )


class _Pose(NamedTuple):
    """B people in pixels of their stored crops."""

    xy: Tensor
    seen: Tensor
    box_wh: Tensor
    stature: Tensor
    """Standing height (B,), 0 where no limb is labelled."""

    def take(self, rows: Tensor) -> "_Pose":
        return _Pose(*(column[rows] for column in self))

    @property
    def has_arm(self) -> Tensor:
        """True for left and right arms that are labelled from shoulder to wrist, (B, 2)."""
        return self.seen[:, _SHOULDERS] & self.seen[:, _ELBOWS] & self.seen[:, _WRISTS]


def drawn_neighbours(
    batch: StoredBatch, views: Views, probability: float, draws: Draws
) -> Neighbours:
    """Return neighbours for the crops that show `views`, each with `probability`.

    They are people of the batch with a labelled arm, of another picture than the target; a crop for
    which there is none gets no neighbour.
    """
    target = _poses(batch)
    row, exists = _rows(batch, target, draws)
    other = target.take(row)
    is_pasted = draws.happens(probability) & exists
    is_whole = draws.happens(_WHOLE_SHARE)
    arm_B2 = _one_of(other.has_arm, draws)
    placed = _placed(batch, views, target, other, arm_B2=arm_B2, is_whole=is_whole, draws=draws)
    first, last = (
        move_points(torch.stack([other.xy[:, index] for index in ends], dim=1), placed)
        for ends in (_FIRST, _LAST)
    )
    shown_BP = _shown(other.seen, arm_B2, is_whole)
    stature_crop_px = other.stature * CROP_WIDTH / placed.width_store_px
    radius_BP = on_device(_RADIUS, batch.weight) * stature_crop_px[:, None]
    radius_BP = torch.where(shown_BP, radius_BP, -_EDGE_PX)
    return Neighbours(is_pasted, row, placed, first, last, radius_BP)


def coverage(neighbours: Neighbours) -> Tensor:
    """Return the share of each cell of 4x4 crop pixels that its neighbour covers, (B, 64, 48)."""
    first, last = neighbours.first_xy_crop_px[..., None], neighbours.last_xy_crop_px[..., None]
    x_BPC, y_BPC = (
        (centers(size // _CELL_PX, first) * size - 0.5) - first[:, :, axis]
        for axis, size in enumerate((CROP_WIDTH, CROP_HEIGHT))
    )
    x, y = x_BPC[:, :, None, :], y_BPC[:, :, :, None]
    along_x, along_y = (last - first)[..., None].unbind(dim=2)
    length2 = (along_x.square() + along_y.square()).clamp(min=1e-6)
    share = ((x * along_x + y * along_y) / length2).clamp(0, 1)
    distance2 = (x - share * along_x).square() + (y - share * along_y).square()
    depth_BPHW = neighbours.radius_crop_px[..., None, None] - distance2.sqrt()
    return (depth_BPHW.amax(dim=1) / _EDGE_PX + 0.5).clamp(0, 1)


def _poses(batch: StoredBatch) -> _Pose:
    """Return the people of the batch, each with 19 points: keypoints and fingertips."""
    xy, seen = batch.xy_store_px, batch.weight > 0
    fingertips = xy[:, _WRISTS] + _HAND_LENGTH * (xy[:, _WRISTS] - xy[:, _ELBOWS])
    hand_seen = seen[:, _WRISTS] & seen[:, _ELBOWS]
    stature_BL = torch.stack(
        [
            (xy[:, first] - xy[:, last]).norm(dim=1) / share * (seen[:, first] & seen[:, last])
            for (first, last), share in _STATURE_SHARES
        ],
        dim=1,
    )
    return _Pose(
        torch.cat([xy, fingertips], dim=1),
        torch.cat([seen, hand_seen], dim=1),
        batch.box_wh_store_px,
        stature_BL.amax(dim=1),  # foreshortening only shrinks a length
    )


def _rows(batch: StoredBatch, people: _Pose, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return a row of the batch for each row (B,), and True where there is one to take (B,)."""
    is_other_BB = batch.picture_id[:, None] != batch.picture_id
    may_BB = is_other_BB & people.has_arm.any(dim=1) & (people.stature > 0)
    key_BB = (1 + draws.uniform(len(batch.weight))) * may_BB
    return key_BB.argmax(dim=1), may_BB.any(dim=1)


def _one_of(possible_B2: Tensor, draws: Draws) -> Tensor:
    """Return True for one of the possible sides of each row, and nowhere if there is none, (B, 2).

    Of two possible sides each is as likely.
    """
    key = (1 + draws.uniform(2)) * possible_B2
    is_left = key[:, 0] > key[:, 1]
    return torch.stack([is_left, ~is_left], dim=1) & possible_B2


def _placed(
    batch: StoredBatch,
    views: Views,
    target: _Pose,
    other: _Pose,
    *,
    arm_B2: Tensor,
    is_whole: Tensor,
    draws: Draws,
) -> Views:
    """Return the regions of the others' stored crops that lie under the targets' `views`.

    A point of the neighbour's forearm lies at one of the target's wrists, or at a side of the box
    if none is labelled. The neighbour is mirrored so that its body is on the side of that wrist.
    """
    middle = plain_views(batch).center_xy_store_px
    wrist, elbow = (_chosen(other.xy[:, joints], arm_B2) for joints in (_WRISTS, _ELBOWS))
    held = wrist + draws.uniform(1) * (elbow - wrist)
    place = _place(target, middle, draws)
    outward = torch.where(place[:, 0] < middle[:, 0], -1.0, 1.0)
    zoom = _zoom(target, other, draws)
    place = place + _OFF_WRIST * (zoom * other.stature)[:, None] * draws.normal(2)

    to_body = middle[:, 0] - held[:, 0]
    distance = (place[:, 0] - middle[:, 0]) * outward + zoom * to_body.abs()
    touching = (target.box_wh[:, 0] + zoom * other.box_wh[:, 0]) / 2
    missing = (_LEAST_DISTANCE * touching - distance).clamp(min=0) * is_whole
    place = torch.stack([place[:, 0] + outward * missing, place[:, 1]], dim=1)

    is_turned = (to_body < 0) != (outward < 0)
    sign = torch.stack([1 - 2 * is_turned.float(), torch.ones_like(zoom)], dim=1)
    center = held + sign * (views.center_xy_store_px - place) / zoom[:, None]
    width = views.width_store_px / zoom
    return Views(center, width, views.rotation_radians, views.mirrored ^ is_turned)


def _zoom(target: _Pose, other: _Pose, draws: Draws) -> Tensor:
    """Return how much larger (B,) each neighbour is shown in the target's stored crop.

    It becomes as large as the target, or keeps its size where the target's is unknown.
    """
    stature = torch.where(target.stature > 0, target.stature, other.stature)
    size = 1 + _SIZE_DEVIATION * draws.normal().clamp(-2, 2)
    return (size * stature / other.stature.clamp(min=1)).clamp(*_ZOOM_LIMITS)


def _place(target: _Pose, middle: Tensor, draws: Draws) -> Tensor:
    """Return one of each target's wrists, or else the middle of one side of its box, (B, 2)."""
    wrist_B2 = _one_of(target.seen[:, _WRISTS], draws)
    wrist = _chosen(target.xy[:, _WRISTS], wrist_B2)
    side = torch.where(draws.happens(0.5), -0.5, 0.5) * target.box_wh[:, 0]
    edge = middle + torch.stack([side, torch.zeros_like(side)], dim=1)
    return torch.where(wrist_B2.any(dim=1)[:, None], wrist, edge)


def _chosen(xy_B22: Tensor, side_B2: Tensor) -> Tensor:
    """Return the left or the right of two points, (B, 2)."""
    return (xy_B22 * side_B2[..., None]).sum(dim=1)


def _shown(seen_BX: Tensor, arm_B2: Tensor, is_whole: Tensor) -> Tensor:
    """Return True for the parts that are pasted, (B, P): all with both ends seen, or one arm's."""
    ends = zip(_FIRST, _LAST, strict=True)
    labelled_BP = torch.stack([seen_BX[:, first] & seen_BX[:, last] for first, last in ends], dim=1)
    arms_BP = arm_B2.repeat_interleave(_ARM_PARTS, dim=1)
    rest = torch.zeros_like(labelled_BP[:, 2 * _ARM_PARTS :])
    return labelled_BP & (torch.cat([arms_BP, rest], dim=1) | is_whole[:, None])
