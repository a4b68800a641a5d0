"""Conversion of messages to domain objects and back, with literals."""

from dataclasses import asdict

import numpy as np
import pytest

from distilpose.client.rpc import wire as client_wire
from distilpose.model.pictures.source import EncodedImage, RawFrame
from distilpose.model.poses.pose import Pose
from distilpose.model.skeleton import KEYPOINT_NAMES
from distilpose.service.domain import (
    Frame,
    FrameAnswer,
    ImageAnswer,
    ModelDescription,
    Options,
    PoseAnswer,
    StreamOptions,
    Timing,
)
from distilpose.service.errors import InvalidOptions, InvalidRequest, UndecodableImage
from distilpose.service.rpc import wire
from distilpose.v1 import pose_pb2

OPTIONS = Options(min_box_score=0.25, max_people=5, min_keypoint_score=0.5)
CODES: wire.Codes = {UndecodableImage: 3}
MODEL = ModelDescription(
    name="distilpose-s",
    version="0.1.0",
    sha256="ab12",
    source="trained",
    calibrated=True,
    device="cpu",
    dtype="float32",
    input_size_hw=(256, 192),
    keypoints=KEYPOINT_NAMES,
    detector="yolo",
    detector_dtype="bfloat16",
    engine="torch",
)
POSE = Pose(
    box_xyxy_px=np.array([1, 2, 3, 4], np.float32),
    box_score=0.75,
    keypoints_xy_px=np.arange(34, dtype=np.float32).reshape(17, 2),
    keypoint_score=np.linspace(0, 1, 17, dtype=np.float32),
    raw_score=np.zeros(17, np.float32),
    sigma_px=np.full((17, 2), (5, 6), np.float32),
)
FRAME = Frame(7, 40.5, EncodedImage(b"x"), arrived_at=0, timeout_seconds=1)


def test_bytes_that_are_no_message_are_refused_by_its_name() -> None:
    with pytest.raises(InvalidRequest, match="the message is not a valid EstimatePoseRequest"):
        wire.parse(pose_pb2.EstimatePoseRequest, b"\xff\xff")


def test_images_are_encoded_or_raw_and_keep_their_names() -> None:
    raw = pose_pb2.RawPixels(
        format=pose_pb2.PIXEL_FORMAT_NV12, width=4, height=2, row_stride_bytes=6, data=b"pixels"
    )
    request = pose_pb2.EstimatePoseRequest(
        images=[
            pose_pb2.Image(encoded=b"\xff\xd8", id="bus.jpg"),
            pose_pb2.Image(raw=raw),
            pose_pb2.Image(),
        ]
    )
    assert wire.to_images(request) == [
        EncodedImage(b"\xff\xd8", "bus.jpg"),
        RawFrame(b"pixels", "NV12", 4, 2, 6),
        EncodedImage(b""),
    ]


@pytest.mark.parametrize(("number", "name"), [(0, "UNSPECIFIED"), (1, "RGB8"), (99, "99")])
def test_a_pixel_format_goes_by_its_name(number: int, name: str) -> None:
    frame = pose_pb2.Frame()
    frame.raw.MergeFromString(bytes([8, number]))
    source = wire.to_source(frame)
    assert isinstance(source, RawFrame)
    assert source.format == name


def test_options_that_are_absent_are_the_servers() -> None:
    body = wire.to_options(pose_pb2.PoseOptions())
    assert body.model_fields_set == {"whole_image", "flip_test"}
    assert (body.min_box_score, body.min_keypoint_score, body.max_people) == (None, None, None)
    assert body.boxes is None


def test_a_threshold_of_zero_is_not_an_absent_one() -> None:
    sent = pose_pb2.PoseOptions(min_box_score=0, min_keypoint_score=0)
    body = wire.to_options(pose_pb2.PoseOptions.FromString(sent.SerializeToString()))
    assert (body.min_box_score, body.min_keypoint_score) == (0, 0)


def test_options_that_are_given_arrive() -> None:
    box = pose_pb2.Box(x1=1, y1=2, x2=3, y2=4)
    body = wire.to_options(
        pose_pb2.PoseOptions(
            min_box_score=0,
            min_keypoint_score=0.5,
            max_people=3,
            boxes=[pose_pb2.Boxes(boxes=[box]), pose_pb2.Boxes()],
            flip_test=True,
        )
    )
    assert (body.min_box_score, body.min_keypoint_score, body.max_people) == (0, 0.5, 3)
    assert body.boxes == [[[1, 2, 3, 4]], []]
    assert (body.flip_test, body.whole_image) == (True, False)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (pose_pb2.PoseOptions(min_box_score=1.5), "min_box_score: .*less than or equal to 1"),
        (pose_pb2.PoseOptions(min_keypoint_score=float("nan")), "min_keypoint_score"),
        (pose_pb2.PoseOptions(max_people=0), "max_people: .*greater than or equal to 1"),
        (
            pose_pb2.PoseOptions(boxes=[pose_pb2.Boxes(boxes=[pose_pb2.Box(x1=2, x2=1, y2=1)])]),
            "boxes.0.0: .*expected x1 < x2",
        ),
    ],
)
def test_options_out_of_range_are_refused_and_named(
    message: pose_pb2.PoseOptions, words: str
) -> None:
    with pytest.raises(InvalidOptions, match=words):
        wire.to_options(message)


def test_an_answer_has_an_entry_for_each_image() -> None:
    answer = PoseAnswer(
        [
            ImageAnswer("bus.jpg", (810, 1080), [POSE]),
            ImageAnswer(None, error=UndecodableImage("the image is empty")),
            ImageAnswer("empty street", (4, 2)),
        ],
        Timing(decode=0.001, detect=0.002, pose=0.003, queue=0.004, total=0.0101),
    )
    message = wire.from_answer(answer, OPTIONS, request_id="r", model=MODEL, codes=CODES)
    assert message.request_id == "r"
    assert (message.model.name, message.model.version) == ("distilpose-s", "0.1.0")
    found, broken, nobody = message.images
    assert (found.index, found.id, found.width, found.height) == (0, "bus.jpg", 810, 1080)
    assert len(found.poses) == 1
    assert not found.HasField("error")
    assert (broken.index, broken.id, len(broken.poses)) == (1, "", 0)
    assert broken.error == pose_pb2.ImageError(
        type="undecodable-image", code=3, detail="the image is empty"
    )
    assert (nobody.index, nobody.width, nobody.height, len(nobody.poses)) == (2, 4, 2, 0)
    timing = message.timing
    milliseconds = [timing.decode_ms, timing.detect_ms, timing.pose_ms, timing.queue_ms]
    np.testing.assert_allclose([*milliseconds, timing.total_ms], [1, 2, 3, 4, 10.1], rtol=1e-6)


def test_a_pose_has_17_named_keypoints() -> None:
    answer = FrameAnswer(FRAME, ImageAnswer(None, (9, 9), [POSE]))
    [pose] = wire.from_frame(answer, OPTIONS, codes=CODES).poses
    assert pose.box == pose_pb2.Box(x1=1, y1=2, x2=3, y2=4)
    assert (pose.box_score, pose.score) == (0.75, 0.375)
    assert [keypoint.name for keypoint in pose.keypoints] == list(KEYPOINT_NAMES)
    assert pose.keypoints[9] == pose_pb2.Keypoint(
        name="left_wrist", x=18, y=19, score=0.5625, visible=True, sigma_x=5, sigma_y=6
    )
    assert [keypoint.visible for keypoint in pose.keypoints] == [False] * 8 + [True] * 9


def test_a_frames_answer_names_the_frame() -> None:
    answer = FrameAnswer(FRAME, ImageAnswer(None, error=UndecodableImage("no")))
    message = wire.from_frame(answer, OPTIONS, codes=CODES)
    assert (message.frame_id, message.timestamp_ms) == (7, 40.5)
    assert message.error.type == "undecodable-image"
    assert list(message.dropped_frame_ids) == []


def test_a_frames_answer_names_people_and_dropped_frames() -> None:
    image = ImageAnswer(None, (9, 9), [POSE, POSE])
    answer = FrameAnswer(FRAME, image, track_ids=[3, 2**64 - 1], dropped_frame_ids=[5, 6])
    message = wire.from_frame(answer, OPTIONS, codes=CODES)
    assert [pose.track_id for pose in message.poses] == [3, 2**64 - 1]
    assert list(message.dropped_frame_ids) == [5, 6]


def test_without_tracking_nobody_has_a_number() -> None:
    answer = FrameAnswer(FRAME, ImageAnswer(None, (9, 9), [POSE]))
    assert [pose.track_id for pose in wire.from_frame(answer, OPTIONS, codes=CODES).poses] == [0]


def test_stream_options_that_are_absent_are_plain() -> None:
    plain = StreamOptions(pose=OPTIONS, mode="ordered", detect_every=1, next_track_id=1)
    assert wire.to_stream_options(pose_pb2.StreamOptions(), OPTIONS) == plain
    ordered = pose_pb2.StreamOptions(mode=pose_pb2.STREAM_MODE_ORDERED, detect_every=1)
    assert wire.to_stream_options(ordered, OPTIONS) == plain


def test_stream_options_that_are_given_arrive() -> None:
    message = pose_pb2.StreamOptions(
        mode=pose_pb2.STREAM_MODE_LATEST,
        track=True,
        detect_every=5,
        smooth=True,
        resume=pose_pb2.Resume(last_frame_id=0, next_track_id=9),
    )
    assert wire.to_stream_options(message, OPTIONS) == StreamOptions(
        pose=OPTIONS,
        mode="latest",
        track=True,
        detect_every=5,
        smooth=True,
        last_frame_id=0,
        next_track_id=9,
    )


def test_every_field_of_the_model_s_description_crosses() -> None:
    message = wire.from_model(MODEL).model
    crossed = {field.name: value for field, value in message.ListFields()}
    size_hw = (crossed.pop("input_height"), crossed.pop("input_width"))
    crossed["keypoints"] = tuple(crossed["keypoints"])
    assert {**crossed, "input_size_hw": size_hw} == asdict(MODEL)
    assert asdict(client_wire.from_model(message)) == asdict(MODEL)


@pytest.mark.parametrize("people_found", [None, 0, 61])
def test_the_number_of_people_reaches_the_client(people_found: int | None) -> None:
    image = ImageAnswer(None, (9, 9), [POSE], people_found=people_found)
    answer = PoseAnswer([image])
    message = wire.from_answer(answer, OPTIONS, request_id="r", model=MODEL, codes=CODES)
    assert client_wire.from_image(message.images[0], message.timing).people_found == people_found
    frame = wire.from_frame(FrameAnswer(FRAME, image), OPTIONS, codes=CODES)
    assert client_wire.from_frame(frame, []).people_found == people_found
