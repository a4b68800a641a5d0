"""The positions of drawn parts; their look is judged by people."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from distilpose.model.arrays import BoolArray, FloatArray, ImageHWC
from distilpose.model.drawing import skeletons
from distilpose.model.errors import ArrayError

NOSE, LEFT_WRIST, RIGHT_WRIST = 0, 9, 10


def box(*corners_px: float) -> FloatArray:
    return np.array(corners_px, np.float32)


def grid_xy_px() -> FloatArray:
    """17 keypoints well apart, nose at (40, 40)."""
    index = np.arange(17)
    return np.stack([40 + index % 4 * 40, 40 + index // 4 * 40], -1).astype(np.float32)


@dataclass(frozen=True)
class Drawn:
    box_xyxy_px: FloatArray = field(default_factory=lambda: box(20, 30, 220, 240))
    keypoints_xy_px: FloatArray = field(default_factory=grid_xy_px)
    sigma_px: FloatArray = field(default_factory=lambda: np.full((17, 2), 1, np.float32))
    score: float = 0.87


def draw_poses(
    image: ImageHWC,
    poses: Sequence[Drawn],
    *,
    visible: Sequence[BoolArray] | None = None,
    **how: Any,
) -> ImageHWC:
    """Call the function of that name, with all keypoints visible by default."""
    seen = [np.ones(17, bool)] * len(poses) if visible is None else visible
    return skeletons.draw_poses(image, poses, visible=seen, **how)


def grey(height: int = 260, width: int = 240, level: int = 128) -> ImageHWC:
    return np.full((height, width, 3), level, np.uint8)


def changed(image: ImageHWC, before: ImageHWC) -> BoolArray:
    return np.asarray((image != before).any(axis=-1))


def of_colour(image: ImageHWC, colour: skeletons.Colour) -> BoolArray:
    """Pixels of a colour, except its soft edges."""
    return np.asarray((np.abs(image.astype(int) - colour) <= 30).all(axis=-1))


def test_drawing_gives_a_new_image_and_leaves_the_given_one() -> None:
    image = grey()

    drawn = draw_poses(image, [Drawn()])

    assert (image == 128).all()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert changed(drawn, image).any()


def test_no_poses_leave_the_pixels_as_they_are() -> None:
    assert (draw_poses(grey(), []) == grey()).all()


@pytest.mark.parametrize(
    ("keypoint", "colour"),
    [
        (NOSE, skeletons.MIDDLE_RGB),
        (LEFT_WRIST, skeletons.LEFT_RGB),
        (RIGHT_WRIST, skeletons.RIGHT_RGB),
    ],
)
def test_a_keypoint_has_the_colour_of_its_side(keypoint: int, colour: skeletons.Colour) -> None:
    x, y = grid_xy_px()[keypoint].astype(int)

    drawn = draw_poses(grey(), [Drawn()])

    assert drawn[y, x].tolist() == list(colour)


@pytest.mark.parametrize("level", [0, 255])
def test_a_skeleton_shows_on_black_and_on_white(level: int) -> None:
    image = grey(level=level)

    drawn = draw_poses(image, [Drawn()]).astype(int)

    contrast = np.abs(drawn - level).max(axis=-1)
    assert (contrast > 100).sum() > 500


def all_but(*hidden: int) -> BoolArray:
    visible = np.ones(17, bool)
    visible[list(hidden)] = False
    return visible


def test_a_keypoint_that_is_not_visible_is_left_out_with_its_limbs() -> None:
    # The nose is at 40, 40, the eyes to the right of it in the same row.
    nose, between_nose_and_eye, eye = (40, 40), (40, 60), (40, 80)

    whole = changed(draw_poses(grey(), [Drawn()]), grey())
    without = changed(draw_poses(grey(), [Drawn()], visible=[all_but(NOSE)]), grey())

    assert [whole[place] for place in (nose, between_nose_and_eye, eye)] == [True, True, True]
    assert [without[place] for place in (nose, between_nose_and_eye, eye)] == [False, False, True]


def test_of_a_person_without_visible_keypoints_the_box_is_left() -> None:
    drawn = draw_poses(grey(), [Drawn()], visible=[np.zeros(17, bool)], draw_sigma=True)

    assert not changed(drawn, grey())[35:205, 25:215].any()
    assert of_colour(drawn, skeletons.MIDDLE_RGB)[210:235, 220].all()


def test_each_pose_has_its_own_visible_keypoints() -> None:
    apart = Drawn(
        box_xyxy_px=box(260, 30, 460, 240),
        keypoints_xy_px=grid_xy_px() + np.array([240, 0], np.float32),
    )
    image = grey(260, 480)

    drawn = draw_poses(image, [Drawn(), apart], visible=[np.ones(17, bool), np.zeros(17, bool)])

    assert changed(drawn, image)[35:205, 25:215].any()
    assert not changed(drawn, image)[35:205, 265:455].any()


def test_ellipses_are_drawn_only_when_asked_for() -> None:
    wide = Drawn(sigma_px=np.full((17, 2), 15, np.float32))

    plain = draw_poses(grey(), [Drawn()])

    assert (draw_poses(grey(), [wide]) == plain).all()
    asked = draw_poses(grey(), [wide], draw_sigma=True)
    assert changed(asked, grey()).sum() > changed(plain, grey()).sum() + 2000


def test_a_larger_sigma_tints_more_of_the_image() -> None:
    image = grey()
    small = draw_poses(image, [Drawn()], draw_sigma=True)
    wide_sigma_px = np.full((17, 2), 15, np.float32)
    wide = draw_poses(image, [Drawn(sigma_px=wide_sigma_px)], draw_sigma=True)

    assert changed(wide, image).sum() > changed(small, image).sum() + 2000


def test_the_ellipse_of_a_keypoint_that_is_not_visible_is_left_out() -> None:
    far_off = np.full((17, 2), 1, np.float32)
    far_off[NOSE] = 25

    shown = draw_poses(grey(), [Drawn(sigma_px=far_off)], draw_sigma=True)
    hidden = draw_poses(grey(), [Drawn(sigma_px=far_off)], draw_sigma=True, visible=[all_but(NOSE)])

    assert changed(shown, grey())[50:60, 45:55].any()
    assert not changed(hidden, grey())[50:60, 45:55].any()


def test_lines_are_thicker_on_larger_people() -> None:
    image = grey(1000, 1000)
    pose = Drawn()
    large = replace(pose, box_xyxy_px=box(0, 0, 900, 900))

    def limb_pixels(which: Drawn) -> int:
        drawn = draw_poses(image, [which])
        return int(of_colour(drawn, skeletons.LEFT_RGB).sum())

    assert limb_pixels(large) > 1.5 * limb_pixels(pose)


def test_the_sides_of_the_box_are_drawn_where_they_are() -> None:
    drawn = draw_poses(grey(), [Drawn()])

    light = of_colour(drawn, skeletons.MIDDLE_RGB)
    assert light[210:235, 220].all()
    assert light[240, 30:210].all()


def test_the_score_tab_of_a_box_at_the_border_lies_inside_the_image() -> None:
    image = grey(level=200)
    pose = Drawn(box_xyxy_px=box(235, 0, 239, 200))

    drawn = draw_poses(image, [pose])

    tab = changed(drawn, image)[:10, 200:]
    assert tab.mean() > 0.5


def test_a_label_stands_in_place_of_the_score() -> None:
    poses = [Drawn(), Drawn(box_xyxy_px=box(100, 100, 200, 200))]

    scores = draw_poses(grey(), poses)

    assert (draw_poses(grey(), poses, labels=["0.87", "0.87"]) == scores).all()
    assert (draw_poses(grey(), poses, labels=["0.87", "7: 0.87"]) != scores).any()


@pytest.mark.parametrize("shift_px", [-300.0, 5000.0, 1e9])
def test_poses_far_outside_the_image_are_drawn_without_failing(shift_px: float) -> None:
    pose = Drawn(
        keypoints_xy_px=grid_xy_px() + np.float32(shift_px),
        sigma_px=np.full((17, 2), 1e6, np.float32),
    )

    assert draw_poses(grey(), [pose], draw_sigma=True).shape == grey().shape


def test_a_one_pixel_image_is_drawn_on() -> None:
    assert draw_poses(grey(1, 1), [Drawn()]).shape == (1, 1, 3)


def test_an_image_of_floats_is_refused() -> None:
    with pytest.raises(ArrayError, match="expected uint8, got float64"):
        skeletons.draw_poses(np.zeros((5, 5, 3)), [], visible=[])  # type: ignore[arg-type] # what is refused


def test_a_tile_shows_the_box_grown_to_the_network_shape() -> None:
    image = grey(400, 400, level=0)
    image[100:300, 125:275] = 250

    tile = skeletons.person_tile(
        image,
        None,
        box_xyxy_px=box(125, 100, 275, 300),
        truth_xy_px=np.zeros((17, 2), np.float32),
        labelled=np.zeros(17, bool),
        caption="OKS 0.50",
    )

    assert tile.image.shape == (320, 240, 3)
    assert tile.caption == "OKS 0.50"
    row = np.flatnonzero(tile.image[160, :, 0] > 125)
    column = np.flatnonzero(tile.image[:, 120, 0] > 125)
    assert len(row) == pytest.approx(240 / 1.25, abs=2)
    assert len(column) == pytest.approx(320 / 1.25, abs=2)


def test_a_tile_has_labelled_keypoints_in_green_where_they_are() -> None:
    truth_xy_px = np.zeros((17, 2), np.float32)
    truth_xy_px[NOSE] = [200, 200]
    labelled = np.zeros(17, bool)
    labelled[NOSE] = True

    tile = skeletons.person_tile(
        grey(400, 400),
        None,
        box_xyxy_px=box(125, 100, 275, 300),
        truth_xy_px=truth_xy_px,
        labelled=labelled,
        caption="",
    )

    green = np.argwhere(of_colour(tile.image, skeletons.TRUTH_RGB))
    assert green.mean(axis=0) == pytest.approx([160, 120], abs=1)


def test_a_tile_shows_the_pose_found() -> None:
    labelled = np.zeros(17, bool)

    tile = skeletons.person_tile(
        grey(),
        Drawn(),
        box_xyxy_px=Drawn().box_xyxy_px,
        truth_xy_px=grid_xy_px(),
        labelled=labelled,
        caption="",
    )

    assert of_colour(tile.image, skeletons.LEFT_RGB).sum() > 50
    assert of_colour(tile.image, skeletons.RIGHT_RGB).sum() > 50


def test_a_contact_sheet_has_tiles_in_rows_with_captions_below() -> None:
    tiles = [skeletons.Tile(grey(30, 20, level=200), f"{number}") for number in range(6)]

    sheet = skeletons.contact_sheet(tiles)

    assert sheet.shape == (8 + 2 * (30 + 22 + 8), 8 + 5 * (20 + 8), 3)
    assert (sheet[8:38, 8:28] == 200).all()
    assert (sheet[8:38, 120:140] == 200).all()
    assert (sheet[68:98, 8:28] == 200).all()
    assert not (sheet[68:98, 36:56] == 200).any()
    assert sheet[38:60, 8:28].max() > 200


def test_a_contact_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ArrayError, match="at least one"):
        skeletons.contact_sheet([])
