"""Draw boxes, skeletons and, on request, sigma ellipses on pictures; make contact sheets of people.

Left parts are orange, right ones blue, middle ones white; keypoints that are not visible are left
out, with their limbs. Lines have a dark edge, so that they stand out on light photos too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from distilpose.model.arrays import BoolArray, FloatArray, ImageHWC, check_image
from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.errors import ArrayError
from distilpose.model.geometry import crop_regions, image_to_crop_affine
from distilpose.model.skeleton import KEYPOINT_NAMES, LIMBS

Point: TypeAlias = tuple[int, int]
Colour: TypeAlias = tuple[int, int, int]

LEFT_RGB: Final[Colour] = (255, 145, 30)
RIGHT_RGB: Final[Colour] = (45, 160, 255)
MIDDLE_RGB: Final[Colour] = (245, 245, 245)
TRUTH_RGB: Final[Colour] = (90, 235, 90)
_EDGE_RGB: Final[Colour] = (20, 20, 25)
_SHEET_RGB: Final[Colour] = (32, 33, 38)

_GLASS: Final = 0.45
"""Opacity of translucent parts."""
_SHIFT: Final = 4
"""Fractional bits of OpenCV's drawing coordinates."""
_FAR_PX: Final = 100_000
"""Coordinates are clamped to this, since OpenCV's arithmetic overflows beyond it."""
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_TILE_SCALE: Final = 1.25
_TILE_SIZE_WH: Final = (round(CROP_WIDTH * _TILE_SCALE), round(CROP_HEIGHT * _TILE_SCALE))
_COLUMNS: Final = 5
_GAP_PX: Final = 8
_CAPTION_PX: Final = 22


class DrawablePose(Protocol):
    """The parts of a pose needed for drawing, in pixels of the image drawn on."""

    @property
    def box_xyxy_px(self) -> FloatArray: ...  # noqa: D102 - (4,)
    @property
    def keypoints_xy_px(self) -> FloatArray: ...  # noqa: D102 - (17, 2)
    @property
    def sigma_px(self) -> FloatArray: ...  # noqa: D102 - (17, 2)
    @property
    def score(self) -> float: ...  # noqa: D102 - 0..1


@dataclass(frozen=True)
class Tile:
    """One picture of a contact sheet with its caption."""

    image: ImageHWC
    caption: str


class _Figure(NamedTuple):
    """A person in OpenCV's drawing coordinates."""

    points: list[Point]
    visible: BoolArray
    """The keypoints to draw, (17,)."""
    limb_px: int
    sigmas: Sequence[Point] = ()
    """Semi-axes of the 17 ellipses; if empty, none is drawn."""


def draw_poses(
    image: ImageHWC,
    poses: Sequence[DrawablePose],
    *,
    visible: Sequence[BoolArray],
    draw_sigma: bool = False,
    labels: Sequence[str] | None = None,
) -> ImageHWC:
    """A new image with each pose's box, label and skeleton.

    `visible` has a (17,) array for each pose. Keypoints that are not visible are left out, with
    their limbs and ellipses. Ellipses of one sigma are drawn only with `draw_sigma`. A pose is
    labelled with its score, unless `labels` has another text for it.

    Raises:
        ArrayError: if `image` is not uint8 (H, W, 3).

    """
    check_image(image)
    figures = [
        _figure_on(image, pose, shown, draw_sigma=draw_sigma)
        for pose, shown in zip(poses, visible, strict=True)
    ]
    glass = image.copy()
    for pose, figure in zip(poses, figures, strict=True):
        _draw_sigmas(glass, figure, cv2.FILLED)
        _draw_box(glass, pose.box_xyxy_px, _EDGE_RGB, _box_width(figure) + 2)
    canvas = _blend(glass, image)
    for pose, figure in zip(poses, figures, strict=True):
        _draw_box(canvas, pose.box_xyxy_px, MIDDLE_RGB, _box_width(figure))
        _draw_figure(canvas, figure)
    words = [f"{pose.score:.2f}" for pose in poses] if labels is None else labels
    for pose, text in zip(poses, words, strict=True):
        _draw_label(canvas, pose.box_xyxy_px, text)
    return canvas


def person_tile(
    image: ImageHWC,
    pose: DrawablePose | None,
    *,
    box_xyxy_px: FloatArray,
    truth_xy_px: FloatArray,
    labelled: BoolArray,
    caption: str,
) -> Tile:
    """One person cut out of `image`: the pose found, if any, and the labelled keypoints in green.

    The box (4,) is expanded like the network's input; `truth_xy_px` is (17, 2), `labelled` (17,).
    """
    region = crop_regions(box_xyxy_px)
    affine = _TILE_SCALE * image_to_crop_affine(region.centers_xy_px[0], region.sizes_wh_px[0, 0])
    tile = np.asarray(cv2.warpAffine(image, affine, _TILE_SIZE_WH), dtype=np.uint8)
    if pose is not None:
        points = _points(_moved(pose.keypoints_xy_px, affine))
        _draw_figure(tile, _Figure(points, np.ones_like(labelled), limb_px=2))
    _draw_truth(tile, _points(_moved(truth_xy_px, affine)), labelled)
    return Tile(tile, caption)


def contact_sheet(tiles: Sequence[Tile]) -> ImageHWC:
    """One image of all tiles in rows of five, each cell of the largest tile's size, with captions.

    Raises:
        ArrayError: if there is no tile.

    """
    if not tiles:
        raise ArrayError("tiles: a contact sheet needs at least one")
    place_h = max(tile.image.shape[0] for tile in tiles) + _CAPTION_PX + _GAP_PX
    place_w = max(tile.image.shape[1] for tile in tiles) + _GAP_PX
    rows = -(-len(tiles) // _COLUMNS)
    shape = (rows * place_h + _GAP_PX, min(_COLUMNS, len(tiles)) * place_w + _GAP_PX, 3)
    sheet = np.full(shape, _SHEET_RGB, dtype=np.uint8)
    for index, tile in enumerate(tiles):
        top = _GAP_PX + index // _COLUMNS * place_h
        left = _GAP_PX + index % _COLUMNS * place_w
        height, width = tile.image.shape[:2]
        sheet[top : top + height, left : left + width] = tile.image
        baseline = (left + 2, top + height + _CAPTION_PX - 6)
        cv2.putText(sheet, tile.caption, baseline, _FONT, 0.45, MIDDLE_RGB, 1, cv2.LINE_AA)
    return sheet


def _figure_on(
    image: ImageHWC, pose: DrawablePose, visible: BoolArray, *, draw_sigma: bool
) -> _Figure:
    """The person's drawing: limbs are thicker for larger people, within bounds."""
    box_wh_px = np.maximum(pose.box_xyxy_px[2:] - pose.box_xyxy_px[:2], 1)
    side_px = max(image.shape[:2])
    thin_px, thick_px = max(1.0, side_px / 800), max(2.0, side_px / 160)
    limb_px = float(np.clip(np.sqrt(box_wh_px.prod()) / 60, thin_px, thick_px))
    sigmas = _points(pose.sigma_px) if draw_sigma else ()
    return _Figure(_points(pose.keypoints_xy_px), visible, round(limb_px), sigmas)


def _box_width(figure: _Figure) -> int:
    return max(1, figure.limb_px // 3)


def _blend(glass: ImageHWC, image: ImageHWC) -> ImageHWC:
    return np.asarray(cv2.addWeighted(glass, _GLASS, image, 1 - _GLASS, 0), dtype=np.uint8)


def _draw_figure(canvas: ImageHWC, figure: _Figure) -> None:
    _draw_sigmas(canvas, figure, 1)
    _draw_limbs(canvas, figure)
    for index in _indices(figure.visible):
        _draw_keypoint(canvas, figure, index)


def _draw_limbs(canvas: ImageHWC, figure: _Figure) -> None:
    points, limb_px = figure.points, figure.limb_px
    limbs = [(a, b) for a, b in LIMBS if figure.visible[a] and figure.visible[b]]
    for a, b in limbs:
        cv2.line(canvas, points[a], points[b], _EDGE_RGB, limb_px + 2, cv2.LINE_AA, _SHIFT)
    for a, b in limbs:
        cv2.line(canvas, points[a], points[b], _limb_colour(a, b), limb_px, cv2.LINE_AA, _SHIFT)


def _draw_keypoint(canvas: ImageHWC, figure: _Figure, index: int) -> None:
    radius = round((1.25 * figure.limb_px + 0.5) * (1 << _SHIFT))
    edge = radius + (1 << _SHIFT)
    for colour, size in ((_EDGE_RGB, edge), (_keypoint_colour(index), radius)):
        cv2.circle(canvas, figure.points[index], size, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _draw_sigmas(canvas: ImageHWC, figure: _Figure, thickness: int) -> None:
    if not figure.sigmas:
        return
    for index in _indices(figure.visible):
        center, axes = figure.points[index], figure.sigmas[index]
        colour = _keypoint_colour(index)
        cv2.ellipse(canvas, center, axes, 0, 0, 360, colour, thickness, cv2.LINE_AA, _SHIFT)


def _draw_box(canvas: ImageHWC, box_xyxy_px: FloatArray, colour: Colour, thickness: int) -> None:
    top_left, bottom_right = _points(box_xyxy_px.reshape(2, 2))
    cv2.rectangle(canvas, top_left, bottom_right, colour, thickness, cv2.LINE_AA, _SHIFT)


def _draw_label(canvas: ImageHWC, box_xyxy_px: FloatArray, text: str) -> None:
    """Draw the text on a dark tab at the box's top left corner, inside the image."""
    box_height_px = float(box_xyxy_px[3] - box_xyxy_px[1])
    image_side_px = max(canvas.shape[:2])
    scale = float(np.clip(box_height_px / 500, 0.35, max(0.45, image_side_px / 1600)))
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, 1)
    pad = round(4 * scale) + 2
    left = int(np.clip(box_xyxy_px[0], 0, max(0, canvas.shape[1] - width - 2 * pad)))
    top = int(np.clip(box_xyxy_px[1] - height - 2 * pad, 0, canvas.shape[0]))
    corner = (left + width + 2 * pad, top + height + 2 * pad)
    cv2.rectangle(canvas, (left, top), corner, _EDGE_RGB, cv2.FILLED)
    baseline = (left + pad, top + height + pad)
    cv2.putText(canvas, text, baseline, _FONT, scale, MIDDLE_RGB, 1, cv2.LINE_AA)


def _draw_truth(canvas: ImageHWC, points: list[Point], labelled: BoolArray) -> None:
    limbs = [(points[a], points[b]) for a, b in LIMBS if labelled[a] and labelled[b]]
    for colour, width_px in ((_EDGE_RGB, 3), (TRUTH_RGB, 1)):
        for start, end in limbs:
            cv2.line(canvas, start, end, colour, width_px, cv2.LINE_AA, _SHIFT)
        for index in _indices(labelled):
            cv2.circle(canvas, points[index], 3 << _SHIFT, colour, width_px, cv2.LINE_AA, _SHIFT)


def _moved(xy_px: FloatArray, affine: npt.NDArray[np.float64]) -> FloatArray:
    return np.asarray(xy_px @ affine[:, :2].T + affine[:, 2], dtype=np.float32)


def _points(xy_px: FloatArray) -> list[Point]:
    """Points (N, 2) as OpenCV's integers, shifted by `_SHIFT`."""
    fixed = np.rint(np.clip(xy_px, -_FAR_PX, _FAR_PX) * (1 << _SHIFT)).astype(int)
    return [(int(x), int(y)) for x, y in fixed]


def _indices(mask: BoolArray) -> list[int]:
    return [index for index, is_set in enumerate(mask) if is_set]


def _keypoint_colour(index: int) -> Colour:
    side = KEYPOINT_NAMES[index].split("_")[0]
    return {"left": LEFT_RGB, "right": RIGHT_RGB}.get(side, MIDDLE_RGB)


def _limb_colour(a: int, b: int) -> Colour:
    colour_a, colour_b = _keypoint_colour(a), _keypoint_colour(b)
    if MIDDLE_RGB in (colour_a, colour_b):
        return colour_a if colour_b == MIDDLE_RGB else colour_b
    return colour_a if colour_a == colour_b else MIDDLE_RGB
