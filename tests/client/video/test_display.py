"""Frames as they are meant to be seen."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import make_clip
from distilpose.client.video import VideoReader
from distilpose.client.video.display import laid, square_width
from distilpose.model.arrays import ImageHWC

TILES = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)
"""A picture whose six pixels differ."""
UPRIGHT = np.eye(2)
MIRROR = np.diag([-1, 1])
QUARTER = np.array([[0, -1], [1, 0]])
"""A quarter turn, clockwise as it is seen."""


def turn(degrees: float) -> Any:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cos, -sin], [sin, cos]])


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (UPRIGHT, TILES),
        (QUARTER, np.rot90(TILES, -1)),
        (QUARTER @ QUARTER, np.rot90(TILES, 2)),
        (QUARTER.T, np.rot90(TILES)),
        (MIRROR, TILES[:, ::-1]),
        (-MIRROR, TILES[::-1]),
        (QUARTER @ MIRROR, np.rot90(TILES[:, ::-1], -1)),
        (MIRROR @ QUARTER, np.rot90(TILES, -1)[:, ::-1]),
    ],
)
def test_a_picture_can_lie_in_eight_ways(matrix: Any, expected: ImageHWC) -> None:
    assert np.array_equal(laid(TILES, matrix), expected)


@pytest.mark.parametrize(
    ("degrees", "quarters"), [(358, 0), (2, 0), (-44, 0), (46, 1), (88, 1), (181, 2), (-91, 3)]
)
def test_the_nearest_quarter_turn_counts(degrees: float, quarters: int) -> None:
    assert np.array_equal(laid(TILES, turn(degrees)), np.rot90(TILES, -quarters))


def test_a_scaled_or_an_empty_matrix_is_upright() -> None:
    assert np.array_equal(laid(TILES, np.diag([2.0, 0.5])), TILES)
    assert np.array_equal(laid(TILES, np.zeros((2, 2))), TILES)


@pytest.mark.parametrize(
    ("width", "aspect", "expected"),
    [
        (720, Fraction(16, 15), 768),  # PAL
        (720, Fraction(64, 45), 1024),  # PAL, wide
        (720, Fraction(8, 9), 640),  # NTSC
        (1440, Fraction(4, 3), 1920),  # HDV
        (64, None, 64),
        (64, Fraction(1), 64),
        (1, Fraction(1, 4), 1),
        (64, Fraction(1, 65_535), 64),  # no camera has such pixels
        (64, Fraction(65_535, 1), 64),
        (64, Fraction(-1, 2), 64),
    ],
)
def test_pixels_become_square(width: int, aspect: Fraction | None, expected: int) -> None:
    assert square_width(width, aspect) == expected


def matrix_bytes(a: float, b: float, c: float, d: float) -> bytes:
    """A track's matrix; *Source:* ISO/IEC 14496-12, `tkhd`."""
    parts = [a * 65_536, b * 65_536, 0, c * 65_536, d * 65_536, 0, 0, 0, 1 << 30]
    return np.array(np.rint(parts), ">i4").tobytes()


def retagged(path: Path, target: Path, *matrix: float) -> Path:
    """A copy of an mp4 whose track has another matrix."""
    content = path.read_bytes()
    upright = matrix_bytes(1, 0, 0, 1)
    at = content.index(upright, content.index(b"tkhd"))
    target.write_bytes(content[:at] + matrix_bytes(*matrix) + content[at + len(upright) :])
    return target


def corner_clip(path: Path, **settings: Any) -> Path:
    """A clip with a bright square in the top left."""
    image = np.full((48, 64, 3), 20, np.uint8)
    image[4:20, 4:24] = 230
    return make_clip(path, frames=[image] * 12, **settings)


def bright_corner(path: Path) -> tuple[str, tuple[int, ...]]:
    """Place of the bright square in the first picture, and the picture's height and width."""
    with VideoReader(str(path)) as reader:
        image = next(reader.shots()).image
    rows, columns = np.nonzero(image[..., 0] > 128)
    down = "top" if rows.mean() < image.shape[0] / 2 else "bottom"
    across = "left" if columns.mean() < image.shape[1] / 2 else "right"
    return f"{down} {across}", image.shape[:2]


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((0, 1, -1, 0), ("top right", (64, 48))),  # a phone held upright
        ((0, -1, 1, 0), ("bottom left", (64, 48))),
        ((-1, 0, 0, -1), ("bottom right", (48, 64))),
        ((-1, 0, 0, 1), ("top right", (48, 64))),  # a front camera
        ((1, 0, 0, -1), ("bottom left", (48, 64))),
        ((0, 1, 1, 0), ("top left", (64, 48))),  # a front camera held upright
        ((0, -1, -1, 0), ("bottom right", (64, 48))),
        ((0.9994, -0.0349, 0.0349, 0.9994), ("top left", (48, 64))),  # 358 degrees
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_a_tracks_matrix_turns_and_mirrors(
    tmp_path: Path, suffix: str, matrix: tuple[float, ...], expected: tuple[str, tuple[int, int]]
) -> None:
    plain = corner_clip(tmp_path / f"plain.{suffix}")
    assert bright_corner(retagged(plain, tmp_path / f"turned.{suffix}", *matrix)) == expected


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "ts", "mpg"])
def test_a_squeezed_clip_is_shown_in_its_width(tmp_path: Path, suffix: str) -> None:
    codec = {"avi": "mpeg4", "mpg": "mpeg2video"}.get(suffix)
    aspect = Fraction(4, 3)
    path = corner_clip(tmp_path / f"clip.{suffix}", codec=codec, sample_aspect_ratio=aspect)
    # MPEG-2 knows aspects of whole pictures alone: 16:9 of 64 x 48 makes pixels of 4:3.
    assert bright_corner(path) == ("top left", (48, 85))


def test_a_squeezed_clip_that_is_turned_keeps_both(tmp_path: Path) -> None:
    plain = corner_clip(tmp_path / "plain.mp4", sample_aspect_ratio=Fraction(2))
    turned = retagged(plain, tmp_path / "turned.mp4", 0, 1, -1, 0)
    assert bright_corner(turned) == ("top right", (128, 48))


def test_a_broadcast_may_change_the_shape_of_its_pixels(tmp_path: Path) -> None:
    parts = [
        corner_clip(tmp_path / f"{name}.ts", sample_aspect_ratio=aspect).read_bytes()
        for name, aspect in (("narrow", Fraction(1)), ("wide", Fraction(4, 3)))
    ]
    (tmp_path / "clip.ts").write_bytes(b"".join(parts))
    with VideoReader(str(tmp_path / "clip.ts")) as reader:
        widths = [shot.image.shape[1] for shot in reader.shots()]
    assert (widths[0], widths[-1]) == (64, 85)
    assert len(set(widths)) == 2


def test_dv_has_the_shape_that_its_tape_shows(tmp_path: Path) -> None:
    image = np.full((576, 720, 3), 20, np.uint8)
    path = make_clip(tmp_path / "c.dv", container="dv", codec="dvvideo", frames=[image] * 2)
    with VideoReader(str(path)) as reader:
        shots = list(reader.shots())
    assert [shot.image.shape for shot in shots] == [(576, 768, 3)] * 2
    assert [shot.timestamp_ms for shot in shots] == pytest.approx([0, 40])
