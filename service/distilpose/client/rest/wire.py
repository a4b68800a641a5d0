"""Conversion between the client's objects and the bodies of `POST /v1/pose`, and nothing else."""

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import numpy as np

from distilpose.client import errors
from distilpose.client.options import box_rows
from distilpose.client.pictures import Encoded, Source, refuse_empty
from distilpose.client.results import ImageAnswer, Model, Pose, Timing

_NAMES: Final = {
    400: errors.InvalidRequest.type,
    401: errors.Unauthenticated.type,
    413: errors.TooLarge.type,
    429: errors.Overloaded.type,
    500: errors.Internal.type,
    503: errors.NotReady.type,
    504: errors.DeadlineExceeded.type,
}
"""The meaning of statuses that a proxy may answer with, instead of the service."""
_BUSY: Final = {429, 503}


def to_body(source: Source) -> bytes:
    """The body to post: a file unchanged, pixels as a PNG.

    Raises:
        UndecodableImage: the picture is empty.
    """
    refuse_empty(source)
    return source.data if isinstance(source, Encoded) else source.to_png()


def to_query(options: dict[str, Any]) -> dict[str, str]:
    """The options as parameters of a query string.

    Raises:
        InvalidRequest: the boxes have a wrong shape.
    """
    rest = dict(options)
    boxes = rest.pop("boxes_xyxy_px", None)
    query = {name: json.dumps(value) for name, value in rest.items()}
    if boxes is not None:
        query["boxes"] = json.dumps([box_rows(boxes)], separators=(",", ":"))
    return query


def from_answer(response: httpx.Response) -> ImageAnswer:
    """Parse the answer to a picture.

    Raises:
        PoseError: it is a failure, or not an answer of the service.
    """
    document = _document(response)
    try:
        [image], timing = document["images"], document["timing_ms"]
        return ImageAnswer(
            width=image["width"],
            height=image["height"],
            poses=tuple(_pose(pose) for pose in image["poses"]),
            people_found=image.get("people_found"),
            timing=Timing(**{f"{stage}_ms": ms for stage, ms in timing.items()}),
        )
    except (KeyError, TypeError, ValueError) as err:
        raise errors.PoseError(f"{response.url}: not an answer of the service") from err


def _pose(pose: dict[str, Any]) -> Pose:
    keypoints = pose["keypoints"]
    return Pose(
        box_xyxy_px=np.array(pose["box"], np.float32),
        box_score=pose["box_score"],
        score=pose["score"],
        keypoints_xy_px=np.array([(k["x"], k["y"]) for k in keypoints], np.float32),
        keypoint_score=np.array([k["score"] for k in keypoints], np.float32),
        visible=np.array([k["visible"] for k in keypoints], np.bool_),
        sigma_px=np.array([(k["sigma_x"], k["sigma_y"]) for k in keypoints], np.float32),
    )


def from_model(response: httpx.Response) -> Model:
    """Parse the description of the student that answers.

    Raises:
        PoseError: it is a failure, or not an answer of the service.
    """
    document = _document(response)
    try:
        [fields] = document["models"]
        height, width = fields.pop("input_size")
        keypoints = tuple(fields.pop("keypoints"))
        return Model(**fields, input_size_hw=(height, width), keypoints=keypoints)
    except (KeyError, TypeError, ValueError) as err:
        raise errors.PoseError(f"{response.url}: not an answer of the service") from err


def _document(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {}
    if response.is_success:
        return document
    name = document.get("type") or _NAMES.get(response.status_code, f"http-{response.status_code}")
    detail = document.get("detail") or f"HTTP {response.status_code} {response.reason_phrase}"
    come_back = response.headers.get("retry-after", "") if response.status_code in _BUSY else ""
    raise errors.named(
        str(name),
        str(detail),
        retry_after_seconds=retry_after_seconds(come_back),
        request_id=response.headers.get("x-request-id"),
    )


def retry_after_seconds(header: str) -> float | None:
    """Parse `Retry-After`, in seconds or as a date; None without it. *Source:* RFC 9110."""
    text = header.strip()
    if text.isdigit():
        return float(text)
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (then - datetime.now(UTC)).total_seconds())
