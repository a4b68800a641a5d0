"""Messages are counted before they are parsed, exactly as the library would read them."""

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st

from distilpose.service.errors import InvalidRequest, ServiceError, TooLarge
from distilpose.service.intake import OptionsLimits
from distilpose.service.rpc.counting import check_counts
from distilpose.v1 import pose_pb2

LIMITS = OptionsLimits(max_images=32, max_people=50)
REQUEST = pose_pb2.EstimatePoseRequest
STREAM = pose_pb2.StreamPoseRequest
BOX = pose_pb2.Box(x1=1.5, y1=2.5, x2=3.5, y2=4.5)
RAW = pose_pb2.RawPixels(
    format=pose_pb2.PIXEL_FORMAT_RGB8, width=4, height=4, row_stride_bytes=12, data=bytes(48)
)
FULLEST = pose_pb2.PoseOptions(
    min_box_score=0.5,
    min_keypoint_score=0.5,
    max_people=3,
    boxes=[pose_pb2.Boxes(boxes=[BOX] * LIMITS.max_people)] * LIMITS.max_images,
    whole_image=True,
    flip_test=True,
)
PATCH = st.tuples(st.integers(0, 100), st.integers(0, 255))


def payload(number: int, data: bytes) -> bytes:
    """A field with a length."""
    size, text = len(data), bytearray()
    while size > 127:
        text.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *text, size]) + data


def test_the_fullest_request_passes() -> None:
    images = [pose_pb2.Image(raw=RAW, id="i" * 1000)] * LIMITS.max_images
    data = REQUEST(images=images, options=FULLEST).SerializeToString()
    check_counts(data, REQUEST, LIMITS)


def test_streams_messages_pass() -> None:
    opening = pose_pb2.StreamOptions(
        mode=pose_pb2.STREAM_MODE_LATEST, track=True, detect_every=3, smooth=True
    )
    opening.pose.boxes.add().boxes.extend([BOX] * 50)
    opening.resume.last_frame_id = 7
    frame = pose_pb2.Frame(frame_id=1, timestamp_ms=2.5, raw=RAW)
    for message in (STREAM(options=opening), STREAM(frame=frame)):
        check_counts(message.SerializeToString(), STREAM, OptionsLimits(1, max_people=50))


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (payload(1, b"") * 33, TooLarge, "more than 32 images, which is the limit"),
        (payload(1, b"") * 5_000_000, TooLarge, "more than 32 images"),
        (payload(1, b"\x0a\0" * 1_000_000), InvalidRequest, "more than 544 fields"),
        (payload(1, payload(2, b"\x08\1" * 1_000_000)), InvalidRequest, "more than 544 fields"),
        (b"\x78\0" * 1_000_000, InvalidRequest, "more than 544 fields"),
        (b"\x7b\x7c" * 1_000_000, InvalidRequest, "more than 544 fields"),
        (b"\x7d1234" * 1_000, InvalidRequest, "more than 544 fields"),
        (b"\x7912345678" * 1_000, InvalidRequest, "more than 544 fields"),
        (payload(2, payload(4, payload(1, b"")) * 100_000), TooLarge, "options: .* bytes, the"),
        (payload(2, bytes(5000)) * 50, TooLarge, "options: .* bytes, the limit is 53248"),
        (payload(2, payload(9, bytes(4_000_000))), TooLarge, "options: 4000"),
        (b"\x0a\xff\xff\xff\x7f", InvalidRequest, "not a valid EstimatePoseRequest"),
        (b"\x0a", InvalidRequest, "not a valid EstimatePoseRequest"),
        (b"\x0f", InvalidRequest, "not a valid EstimatePoseRequest"),
        (b"\xff" * 20, InvalidRequest, "not a valid EstimatePoseRequest"),
        (b"\x79123", InvalidRequest, "not a valid EstimatePoseRequest"),
    ],
)
def test_too_much_is_refused_unparsed(data: bytes, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        check_counts(data, REQUEST, LIMITS)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    image = pose_pb2.Image(raw=RAW, id="a")
    options = pose_pb2.PoseOptions(boxes=[pose_pb2.Boxes(boxes=[BOX])], max_people=3)
    data = bytearray(REQUEST(images=[image], options=options).SerializeToString())
    for position, value in draw(st.lists(PATCH, max_size=4)):
        data[position % len(data)] = value
    return bytes(data[: len(data) - draw(st.integers(0, 20))])


@given(damaged() | st.binary(max_size=200), st.sampled_from([REQUEST, STREAM]))
def test_whatever_the_library_reads_was_counted_to_its_end(
    data: bytes, kind: type[Message]
) -> None:
    """Nothing that the library would parse is called malformed."""
    try:
        parsed = kind.FromString(data)
    except DecodeError:
        return
    found: ServiceError | None = None
    try:
        check_counts(data, kind, OptionsLimits(1000, max_people=1000))
    except InvalidRequest as err:
        found = err
    assert not found, parsed
