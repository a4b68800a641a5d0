"""Options of requests and streams, and of the connection to the service."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypedDict

import numpy as np

from distilpose.client.errors import InvalidRequest
from distilpose.client.results import FloatArray


class PoseOptions(TypedDict, total=False):
    """Options of every request; an option that is missing or None takes the server's default."""

    min_box_score: float | None
    """Minimum box score, 0..1; people below it are dropped."""
    min_keypoint_score: float | None
    """Minimum keypoint score, 0..1; keypoints below it are answered as not `visible`. 0 makes all
    of them visible."""
    max_people: int | None
    """Maximum number of people; those with the best box scores are kept."""
    boxes_xyxy_px: FloatArray | None
    """Boxes (N, 4) to use instead of the detector's, the same for each picture. The answer has one
    person for each box."""
    whole_image: bool
    """Treat the picture as one person's box; skips the detector."""
    flip_test: bool
    """Average the predictions for each crop and its mirror image; slower, more accurate."""


class StreamOptions(PoseOptions, total=False):
    """Options of a stream."""

    mode: Literal["ordered", "latest"]
    """ordered: every frame is answered. latest: only the newest frame is answered, others are
    dropped."""
    track: bool
    """Identify people from frame to frame, by `track_id`."""
    detect_every: int
    """Run the detector on every Nth frame; in between, boxes follow the keypoints."""
    smooth: bool
    """Smooth each person's keypoints over time."""


STREAM_ONLY: Final = StreamOptions.__annotations__.keys() - PoseOptions.__annotations__.keys()
MODES: Final = ("ordered", "latest")


def checked(options: Any, kind: type) -> dict[str, Any]:
    """Check the given options and drop those that are None.

    Raises:
        InvalidRequest: an option or the mode is unknown.
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
    """Files for TLS; without any, the system's certificate authorities are trusted."""

    ca: Path | None = None
    """CA certificates that must have signed the server's certificate."""
    cert: Path | None = None
    """The client's certificate, if the server requires one (mTLS)."""
    key: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Connection:
    """The service's address, and the time allowed for each request."""

    address: str
    api_key: str | None
    timeout_seconds: float
    tls: Tls
