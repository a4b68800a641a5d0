"""Conversion between domain objects and the messages of `pose.proto`, and nothing else."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final, Literal, TypeVar

from google.protobuf.message import DecodeError, Message

from distilpose.model.pictures.source import EncodedImage, RawFrame, Source
from distilpose.model.poses.pose import Pose
from distilpose.model.skeleton import KEYPOINT_NAMES
from distilpose.service.domain import (
    FrameAnswer,
    ImageAnswer,
    ModelDescription,
    Options,
    PoseAnswer,
    StreamOptions,
    Timing,
)
from distilpose.service.errors import InvalidOptions, InvalidRequest, ServiceError
from distilpose.service.intake import OptionsBody, checked_options
from distilpose.v1 import pose_pb2

M = TypeVar("M", bound=Message)
Codes = Mapping[type[ServiceError], int]

_MODES: Final[Mapping[int, Literal["ordered", "latest"]]] = {
    pose_pb2.STREAM_MODE_UNSPECIFIED: "ordered",
    pose_pb2.STREAM_MODE_ORDERED: "ordered",
    pose_pb2.STREAM_MODE_LATEST: "latest",
}


def parse(kind: type[M], data: bytes) -> M:
    """Parse the bytes as a message of that kind.

    Raises:
        InvalidRequest: they are not one.
    """
    try:
        return kind.FromString(data)
    except DecodeError as err:
        raise InvalidRequest(f"the message is not a valid {kind.DESCRIPTOR.name}") from err


def to_images(request: pose_pb2.EstimatePoseRequest) -> list[Source]:
    """The pictures of a request, not validated."""
    return [to_source(image, image.id or None) for image in request.images]


def to_source(message: pose_pb2.Image | pose_pb2.Frame, identity: str | None = None) -> Source:
    """The picture of an image or a frame, not validated; empty encoded bytes if there is none."""
    if not message.HasField("raw"):
        return EncodedImage(message.encoded, identity)
    raw = message.raw
    return RawFrame(
        data=raw.data,
        format=_pixel_format(raw.format),
        width=raw.width,
        height=raw.height,
        row_stride_bytes=raw.row_stride_bytes,
        id=identity,
    )


def _pixel_format(number: int) -> str:
    value = pose_pb2.PixelFormat.DESCRIPTOR.values_by_number.get(number)
    return value.name.removeprefix("PIXEL_FORMAT_") if value else str(number)


def to_options(message: pose_pb2.PoseOptions) -> OptionsBody:
    """The options of a request.

    Raises:
        InvalidOptions: one is out of range.
    """
    given: dict[str, Any] = {
        "whole_image": message.whole_image,
        "flip_test": message.flip_test,
    }
    if message.HasField("min_box_score"):
        given["min_box_score"] = message.min_box_score
    if message.HasField("min_keypoint_score"):
        given["min_keypoint_score"] = message.min_keypoint_score
    if message.HasField("max_people"):
        given["max_people"] = message.max_people
    if message.boxes:
        given["boxes"] = [
            [[box.x1, box.y1, box.x2, box.y2] for box in of_image.boxes]
            for of_image in message.boxes
        ]
    return checked_options(given)


def from_answer(
    answer: PoseAnswer,
    options: Options,
    *,
    request_id: str,
    model: ModelDescription,
    codes: Codes,
) -> pose_pb2.EstimatePoseResponse:
    """Convert a call's answer to its message."""
    return pose_pb2.EstimatePoseResponse(
        request_id=request_id,
        model=pose_pb2.ModelVersion(name=model.name, version=model.version),
        images=[
            pose_pb2.ImageResult(
                index=index,
                id="" if image.id is None else str(image.id),
                **_found(image, options, codes),
            )
            for index, image in enumerate(answer.images)
        ],
        timing=_timing(answer.timing),
    )


def to_stream_options(message: pose_pb2.StreamOptions, pose: Options) -> StreamOptions:
    """The options of a stream; the `pose` part is already resolved.

    Raises:
        InvalidOptions: the mode is unknown, or options exclude each other.
    """
    if message.mode not in _MODES:
        raise InvalidOptions(f"mode: unknown value {message.mode}")
    resume = message.resume
    return StreamOptions(
        pose=pose,
        mode=_MODES[message.mode],
        track=message.track,
        detect_every=max(message.detect_every, 1),
        smooth=message.smooth,
        last_frame_id=resume.last_frame_id if message.HasField("resume") else None,
        next_track_id=max(resume.next_track_id, 1),
    )


def from_frame(
    answer: FrameAnswer, options: Options, *, codes: Codes
) -> pose_pb2.StreamPoseResponse:
    """Convert a frame's answer to its message."""
    found = _found(answer.image, options, codes)
    for pose, track_id in zip(found.get("poses", ()), answer.track_ids, strict=False):
        pose.track_id = track_id
    return pose_pb2.StreamPoseResponse(
        frame_id=answer.frame.frame_id,
        timestamp_ms=answer.frame.timestamp_ms,
        timing=_timing(answer.timing),
        dropped_frame_ids=answer.dropped_frame_ids,
        **found,
    )


def from_model(model: ModelDescription) -> pose_pb2.GetModelResponse:
    """The description of the student that answers."""
    fields = asdict(model)
    height, width = fields.pop("input_size_hw")
    described = pose_pb2.Model(input_height=height, input_width=width, **fields)
    return pose_pb2.GetModelResponse(model=described)


def _found(image: ImageAnswer, options: Options, codes: Codes) -> dict[str, Any]:
    """The fields that images and frames share: the size and the people, or the error."""
    if error := image.error:
        code = codes[type(error)]
        return {"error": pose_pb2.ImageError(type=error.type, code=code, detail=error.detail)}
    width, height = image.size_wh or (0, 0)
    poses = [_pose(pose, options) for pose in image.poses]
    # None leaves an optional field absent.
    found = {"people_found": image.people_found}
    return {"width": width, "height": height, "poses": poses, **found}


def _pose(pose: Pose, options: Options) -> pose_pb2.Pose:
    rows = zip(
        KEYPOINT_NAMES,
        pose.keypoints_xy_px.tolist(),
        pose.keypoint_score.tolist(),
        options.visible(pose).tolist(),
        pose.sigma_px.tolist(),
        strict=True,
    )
    keypoints = [
        pose_pb2.Keypoint(
            name=name,
            x=x,
            y=y,
            score=score,
            visible=is_visible,
            sigma_x=sigma_x,
            sigma_y=sigma_y,
        )
        for name, (x, y), score, is_visible, (sigma_x, sigma_y) in rows
    ]
    x1, y1, x2, y2 = pose.box_xyxy_px.tolist()
    return pose_pb2.Pose(
        box=pose_pb2.Box(x1=x1, y1=y1, x2=x2, y2=y2),
        box_score=pose.box_score,
        score=pose.score,
        keypoints=keypoints,
    )


def _timing(timing: Timing) -> pose_pb2.Timing:
    return pose_pb2.Timing(
        decode_ms=timing.decode * 1000,
        detect_ms=timing.detect * 1000,
        pose_ms=timing.pose * 1000,
        queue_ms=timing.queue * 1000,
        total_ms=timing.total * 1000,
    )
