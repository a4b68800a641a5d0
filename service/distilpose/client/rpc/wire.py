"""Conversion between the client's objects and the messages of `pose.proto`, and nothing else."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

import grpc
import numpy as np
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]  # no py.typed there
    ErrorInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # no py.typed there

from distilpose.client import errors
from distilpose.client.frames import NumberedFrame
from distilpose.client.options import box_rows
from distilpose.client.pictures import Encoded, Raw, Source, refuse_empty
from distilpose.client.results import FrameAnswer, ImageAnswer, Model, Pose, Timing
from distilpose.v1 import pose_pb2

MODES: Final = {
    "ordered": pose_pb2.STREAM_MODE_ORDERED,
    "latest": pose_pb2.STREAM_MODE_LATEST,
}
_STATUS_KEY: Final = "grpc-status-details-bin"
_REQUEST_ID_KEY: Final = "x-request-id"


def to_image(source: Source) -> pose_pb2.Image:
    """A picture of a request.

    Raises:
        UndecodableImage: the picture is empty.
    """
    refuse_empty(source)
    if isinstance(source, Encoded):
        return pose_pb2.Image(encoded=source.data)
    return pose_pb2.Image(raw=_to_raw(source))


def to_frame(frame: NumberedFrame) -> pose_pb2.Frame:
    """A frame of a stream."""
    message = pose_pb2.Frame(frame_id=frame.frame_id, timestamp_ms=frame.timestamp_ms)
    if isinstance(frame.source, Encoded):
        message.encoded = frame.source.data
    else:
        message.raw.CopyFrom(_to_raw(frame.source))
    return message


def _to_raw(source: Raw) -> pose_pb2.RawPixels:
    return pose_pb2.RawPixels(
        format=pose_pb2.PIXEL_FORMAT_RGB8,
        width=source.width,
        height=source.height,
        data=source.data,
    )


def to_options(options: dict[str, Any]) -> pose_pb2.PoseOptions:
    """The options of a request.

    Raises:
        InvalidRequest: an option has the wrong type.
    """
    rest = dict(options)
    boxes = rest.pop("boxes_xyxy_px", None)
    try:
        message = pose_pb2.PoseOptions(**rest)
    except (TypeError, ValueError) as err:
        raise errors.InvalidRequest(f"options: {err}") from err
    if boxes is not None:
        rows = [pose_pb2.Box(x1=x1, y1=y1, x2=x2, y2=y2) for x1, y1, x2, y2 in box_rows(boxes)]
        message.boxes.append(pose_pb2.Boxes(boxes=rows))
    return message


def to_stream_options(options: dict[str, Any]) -> pose_pb2.StreamOptions:
    """The options of a stream.

    Raises:
        InvalidRequest: an option has the wrong type.
    """
    rest = dict(options)
    mode = MODES[rest.pop("mode", "ordered")]
    own = {name: rest.pop(name) for name in ("track", "detect_every", "smooth") if name in rest}
    try:
        return pose_pb2.StreamOptions(mode=mode, pose=to_options(rest), **own)
    except (TypeError, ValueError) as err:
        raise errors.InvalidRequest(f"options: {err}") from err


def from_image(image: pose_pb2.ImageResult, timing: pose_pb2.Timing) -> ImageAnswer:
    """Convert the answer to a picture."""
    return ImageAnswer(**_found(image), timing=_timing(timing))


def from_frame(message: pose_pb2.StreamPoseResponse, dropped: Sequence[int]) -> FrameAnswer:
    """Convert the answer to a frame, with the ids of the frames dropped before it."""
    return FrameAnswer(
        frame_id=message.frame_id,
        timestamp_ms=message.timestamp_ms,
        dropped_frame_ids=tuple(dropped),
        timing=_timing(message.timing),
        **_found(message),
    )


def _found(image: pose_pb2.ImageResult | pose_pb2.StreamPoseResponse) -> dict[str, Any]:
    if image.HasField("error"):
        return {"error": errors.named(image.error.type, image.error.detail)}
    poses = tuple(_pose(pose) for pose in image.poses)
    count = image.people_found if image.HasField("people_found") else None
    return {"width": image.width, "height": image.height, "poses": poses, "people_found": count}


def _pose(pose: pose_pb2.Pose) -> Pose:
    keypoints, box = pose.keypoints, pose.box
    return Pose(
        box_xyxy_px=np.array([box.x1, box.y1, box.x2, box.y2], np.float32),
        box_score=pose.box_score,
        score=pose.score,
        keypoints_xy_px=np.array([(k.x, k.y) for k in keypoints], np.float32),
        keypoint_score=np.array([k.score for k in keypoints], np.float32),
        visible=np.array([k.visible for k in keypoints], np.bool_),
        sigma_px=np.array([(k.sigma_x, k.sigma_y) for k in keypoints], np.float32),
        track_id=pose.track_id or None,
    )


def _timing(timing: pose_pb2.Timing) -> Timing:
    return Timing(
        decode_ms=timing.decode_ms,
        detect_ms=timing.detect_ms,
        pose_ms=timing.pose_ms,
        queue_ms=timing.queue_ms,
        total_ms=timing.total_ms,
    )


def from_model(model: pose_pb2.Model) -> Model:
    """Convert the description of the student that answers."""
    of_their_own = {"input_size_hw", "keypoints"}
    names = (field.name for field in fields(Model) if field.name not in of_their_own)
    return Model(
        **{name: getattr(model, name) for name in names},
        input_size_hw=(model.input_height, model.input_width),
        keypoints=tuple(model.keypoints),
    )


def from_error(error: grpc.aio.AioRpcError) -> errors.PoseError:
    """The error of a failed call: the service's, or the library's if the call did not get there."""
    metadata: dict[str, Any] = dict(error.trailing_metadata() or ())  # type: ignore[arg-type]  # pairs
    info, retry = ErrorInfo(), RetryInfo()
    code = error.code()
    wait_seconds = 0.0 if code in _NOT_THERE else None
    for detail in Status.FromString(metadata.get(_STATUS_KEY, b"")).details:
        detail.Unpack(info)
        if detail.Unpack(retry):
            wait_seconds = retry.retry_delay.ToMilliseconds() / 1000
    initial: dict[str, Any] = dict(error.initial_metadata() or ())
    name = info.reason or _LIBRARY_NAMES.get(code, code.name)
    return errors.named(
        name.lower().replace("_", "-"),
        error.details() or code.name,
        retry_after_seconds=wait_seconds,
        request_id=initial.get(_REQUEST_ID_KEY),
    )


_NOT_THERE: Final = (
    grpc.StatusCode.UNAVAILABLE,
    # A stopping server sends this for calls that it has not begun; our own end is CancelledError.
    grpc.StatusCode.CANCELLED,
)
_LIBRARY_NAMES: Final = {
    **dict.fromkeys(_NOT_THERE, errors.Unavailable.type),
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded.type,
    # The library's text for a message over its limit; the service's own overload has RetryInfo.
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.TooLarge.type,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated.type,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequest.type,
    grpc.StatusCode.INTERNAL: errors.Internal.type,
}
"""The service's names for the library's own failures."""
