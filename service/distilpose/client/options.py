"""How a caller wants to be answered, and whom it asks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypedDict

import numpy as np

from distilpose.client.errors import InvalidRequest
from distilpose.client.results import FloatArray


class PoseOptions(TypedDict, total=False):
    """Options of every question; what is not given, or is None, is the server's default."""

    min_box_score: float | None
    """0..1: boxes below are dropped."""
    min_keypoint_score: float | None
    """0..1: keypoints below are answered, and not `visible`. 0 makes all of them visible."""
    max_people: int | None
    """The best-scored boxes are kept."""
    boxes_xyxy_px: FloatArray | None
    """(N, 4): skips the detector. Answered one for one, for each picture the same."""
    whole_image: bool
    """One box, the picture: skips the detector."""
    flip_test: bool
    """Average with the mirrored crop: slower, a little more exact."""


class StreamOptions(PoseOptions, total=False):
    """Options of a stream."""

    mode: Literal["ordered", "latest"]
    """ordered: every frame is answered. latest: the newest wins, the others are dropped."""
    track: bool
    """Say who is who from frame to frame, as `track_id`."""
    detect_every: int
    """Run the detector on every Nth frame; in between, boxes follow the keypoints."""
    smooth: bool
    """Smooth each person's keypoints over time."""


STREAM_ONLY: Final = StreamOptions.__annotations__.keys() - PoseOptions.__annotations__.keys()
MODES: Final = ("ordered", "latest")


def checked(options: Any, kind: type) -> dict[str, Any]:
    """The options that are given, if all of them are known.

    Raises:
        InvalidRequest: one is not, or the mode is not.
    """
    for name in options:
        if name not in kind.__annotations__:
            raise InvalidRequest(
                f"{name}: no such option; known: {', '.join(kind.__annotations__)}"
            )
    given = {name: value for name, value in options.items() if value is not None}
    if given.get("mode", "ordered") not in MODES:
        raise InvalidRequest(f"mode: expected one of {', '.join(MODES)}, got {given['mode']!r}")
    return given


def box_rows(boxes_xyxy_px: Any) -> list[list[float]]:
    """Boxes (N, 4) as rows of four numbers.

    Raises:
        InvalidRequest: they are something else.
    """
    try:
        boxes = np.asarray(boxes_xyxy_px, np.float32)
    except (TypeError, ValueError) as err:
        raise InvalidRequest(f"boxes_xyxy_px: {err}") from err
    if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4):
        raise InvalidRequest(f"boxes_xyxy_px: expected shape (N, 4), got {boxes.shape}")
    rows: list[list[float]] = boxes.reshape(-1, 4).tolist()
    return rows


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Files for encrypted connections; without any, the machine's authorities are trusted."""

    ca: Path | None = None
    """Certificates that a server's must lead to."""
    cert: Path | None = None
    """The caller's own, where the server asks for it (mTLS)."""
    key: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Whom to ask and how patiently."""

    address: str
    api_key: str | None
    timeout_seconds: float
    tls: Tls
