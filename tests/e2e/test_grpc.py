"""`EstimatePose`, `GetModel`, health and reflection over a socket."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from distilpose.v1 import pose_pb2
from distilpose.v1.pose_pb2_grpc import PoseServiceStub
from grpc_callers import Refusal, frame, opening, raw, refusal
from odd_images import encode, read
from photos import BUS_SIZE_WH, photo
from servers import Server

SERVICE = "distilpose.v1.PoseService"
BUS = photo("bus.jpg")
ZIDANE = photo("zidane.jpg")
TINY = encode(np.zeros((8, 8, 3), np.uint8), "png")


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc_target) as open_channel:
        yield open_channel


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> PoseServiceStub:
    return PoseServiceStub(channel)


def request(*images: pose_pb2.Image | bytes, **options: Any) -> pose_pb2.EstimatePoseRequest:
    return pose_pb2.EstimatePoseRequest(
        images=[pose_pb2.Image(encoded=i) if isinstance(i, bytes) else i for i in images],
        options=pose_pb2.PoseOptions(**options),
    )


def refused(call: Callable[[], object]) -> Refusal:
    with pytest.raises(grpc.RpcError) as failed:
        call()
    return refusal(failed.value)


def numbers(image: pose_pb2.ImageResult) -> np.ndarray[Any, Any]:
    """Everything that was measured, one row a person."""
    return np.array(
        [
            [p.box.x1, p.box.y1, p.box.x2, p.box.y2, p.box_score, p.score]
            + [v for k in p.keypoints for v in (k.x, k.y, k.score, k.sigma_x, k.sigma_y)]
            for p in image.poses
        ]
    )


def rest_numbers(poses: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    return np.array(
        [
            p["box"]
            + [p["box_score"], p["score"]]
            + [k[n] for k in p["keypoints"] for n in ("x", "y", "score", "sigma_x", "sigma_y")]
            for p in poses
        ]
    )


def test_rest_and_grpc_answer_the_same_numbers(client: httpx.Client, stub: PoseServiceStub) -> None:
    headers = {"content-type": "image/jpeg"}
    [by_rest] = client.post("/v1/pose", content=BUS, headers=headers).json()["images"]
    decoded = read(BUS)
    images = [
        pose_pb2.Image(encoded=BUS, id="encoded"),
        pose_pb2.Image(raw=raw(decoded, pose_pb2.PIXEL_FORMAT_RGB8), id="rgb"),
        pose_pb2.Image(raw=raw(decoded, pose_pb2.PIXEL_FORMAT_BGR8), id="bgr"),
    ]
    answer = stub.EstimatePose(request(*images))
    assert [(i.index, i.id) for i in answer.images] == [(0, "encoded"), (1, "rgb"), (2, "bgr")]
    expected = rest_numbers(by_rest["poses"])
    for image in answer.images:
        assert (image.width, image.height) == BUS_SIZE_WH
        np.testing.assert_allclose(numbers(image), expected, atol=0.02)
    assert answer.images[0].poses[0].keypoints[9].name == "left_wrist"


def test_a_message_may_be_compressed_as_the_library_does(stub: PoseServiceStub) -> None:
    answer = stub.EstimatePose(request(BUS, max_people=1), compression=grpc.Compression.Gzip)
    [image] = answer.images
    assert (len(image.poses), image.people_found) == (1, 4)


def test_red_and_blue_matter(stub: PoseServiceStub) -> None:
    swapped = raw(read(BUS)[..., ::-1], pose_pb2.PIXEL_FORMAT_RGB8)
    right, wrong = stub.EstimatePose(request(BUS, pose_pb2.Image(raw=swapped))).images
    differ = len(right.poses) != len(wrong.poses) or (
        np.abs(numbers(right) - numbers(wrong)).max() > 1
    )
    assert differ


def test_frames_of_a_video_decoder_are_understood(stub: PoseServiceStub) -> None:
    planes = cv2.cvtColor(read(BUS), cv2.COLOR_RGB2YUV_I420).tobytes()
    width, height = BUS_SIZE_WH
    i420 = pose_pb2.RawPixels(
        format=pose_pb2.PIXEL_FORMAT_I420, width=width, height=height, data=planes
    )
    by_jpeg, by_planes = stub.EstimatePose(request(BUS, pose_pb2.Image(raw=i420))).images
    assert len(by_planes.poses) == len(by_jpeg.poses)
    np.testing.assert_allclose(numbers(by_planes)[:, :4], numbers(by_jpeg)[:, :4], atol=10)


def test_a_broken_image_beside_a_good_one_gives_one_error_and_one_result(
    stub: PoseServiceStub,
) -> None:
    torn = pose_pb2.RawPixels(format=pose_pb2.PIXEL_FORMAT_RGB8, width=4, height=4, data=b"short")
    answer = stub.EstimatePose(request(BUS[:5000], pose_pb2.Image(raw=torn), ZIDANE))
    broken, short, good = answer.images
    code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert (broken.error.type, broken.error.code) == ("undecodable-image", code)
    assert short.error.type == "invalid-request"
    assert "expected 48 bytes, got 5" in short.error.detail
    assert len(good.poses) == 2
    assert not good.HasField("error")


def test_when_no_image_is_answered_the_call_fails_with_the_first_error(
    stub: PoseServiceStub,
) -> None:
    gif = encode(np.zeros((8, 8, 3), np.uint8), "gif")
    error = refused(lambda: stub.EstimatePose(request(gif, b"hello")))
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE")
    assert "GIF" in error.detail
    assert error.retry_seconds is None


@pytest.mark.parametrize(
    ("message", "reason", "words"),
    [
        (request(), "INVALID_REQUEST", "no image"),
        (request(b""), "INVALID_REQUEST", "no image"),
        (request(TINY, min_box_score=1.5), "INVALID_REQUEST", "min_box_score"),
        (request(TINY, max_people=51), "INVALID_REQUEST", "at most 50, got 51"),
        (request(TINY, boxes=[pose_pb2.Boxes()] * 2), "INVALID_REQUEST", "expected 1 lists"),
        (request(*[TINY] * 33), "TOO_LARGE", "more than 32 images, which is the limit"),
    ],
)
def test_a_wrong_request_is_refused_and_named(
    stub: PoseServiceStub, message: pose_pb2.EstimatePoseRequest, reason: str, words: str
) -> None:
    error = refused(lambda: stub.EstimatePose(message))
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", reason)
    assert words in error.detail


def test_bytes_that_are_no_message_are_refused(channel: grpc.Channel) -> None:
    send_bytes = channel.unary_unary(f"/{SERVICE}/EstimatePose", bytes, bytes)
    error = refused(lambda: send_bytes(b"\xff\xff"))
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")


def test_options_are_followed(stub: PoseServiceStub) -> None:
    box = pose_pb2.Box(x1=49, y1=400, x2=245, y2=902)
    answer = stub.EstimatePose(request(BUS, boxes=[pose_pb2.Boxes(boxes=[box])]))
    [pose] = answer.images[0].poses
    assert (pose.box, pose.box_score) == (box, 1)
    flagged = stub.EstimatePose(request(BUS, max_people=1, min_keypoint_score=0.5)).images[0]
    [best] = flagged.poses
    assert [k.visible for k in best.keypoints] == [k.score >= 0.5 for k in best.keypoints]


NOWHERE = [pose_pb2.Boxes(boxes=[pose_pb2.Box(x1=0, y1=0, x2=200, y2=300)])]
"""A box that holds hardly a person: many of its keypoints are nowhere."""


def least_visible(target: str, **options: Any) -> tuple[list[float], list[float]]:
    """Scores of what is visible and of what is not, the same by a call and by a stream."""
    with grpc.insecure_channel(target) as open_channel:
        stub = PoseServiceStub(open_channel)
        image = stub.EstimatePose(request(BUS, boxes=NOWHERE, **options)).images[0]
        messages = [opening(boxes=NOWHERE, **options), frame(1, BUS)]
        [answer] = stub.StreamPose(iter(messages))
    [called], [streamed] = image.poses, answer.poses
    assert [k.visible for k in called.keypoints] == [k.visible for k in streamed.keypoints]
    seen = [k.score for k in called.keypoints if k.visible]
    return seen, [k.score for k in called.keypoints if not k.visible]


def test_a_threshold_that_is_not_given_is_the_setting(tuned: Server) -> None:
    target = tuned.grpc_target
    seen, hidden = least_visible(target)
    assert min(seen, default=1) >= 0.15 > max(hidden)
    seen, hidden = least_visible(target, min_keypoint_score=0)
    assert (len(seen), hidden) == (17, [])
    seen, hidden = least_visible(target, min_keypoint_score=0.5)
    assert min(seen, default=1) >= 0.5 > max(hidden)


def test_a_threshold_that_is_not_given_is_three_tenths(server: Server) -> None:
    seen, hidden = least_visible(server.grpc_target)
    assert min(seen, default=1) >= 0.3 > max(hidden)


def test_the_request_id_comes_back_in_metadata_answer_and_log(
    server: Server, stub: PoseServiceStub
) -> None:
    metadata = (("x-request-id", "by-grpc-1"),)
    answer, call = stub.EstimatePose.with_call(request(TINY), metadata=metadata)
    assert answer.request_id == "by-grpc-1"
    assert dict(call.initial_metadata())["x-request-id"] == "by-grpc-1"
    refused(lambda: stub.EstimatePose(request(), metadata=(("x-request-id", "by-grpc-2"),)))
    line = server.log_line("by-grpc-2")
    entry = json.loads(line)
    assert (entry["error_type"], entry["status"]) == ("invalid-request", "INVALID_ARGUMENT")


def count(client: httpx.Client, code: str) -> float:
    """The number of calls that ended with the code and by their caller's choice."""
    labels = f'blame="caller",code="{code}",method="estimate_pose",transport="grpc"'
    name = f"distilpose_requests_total{{{labels}}} "
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(name)]
    return float(lines[0].rpartition(" ")[2]) if lines else 0


def wait_for_count(client: httpx.Client, code: str, expected: float) -> None:
    limit = time.monotonic() + 10
    while count(client, code) != expected:
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_the_calls_deadline_is_the_requests(client: httpx.Client, stub: PoseServiceStub) -> None:
    before = count(client, "DEADLINE_EXCEEDED")
    called_at = time.monotonic()
    error = refused(lambda: stub.EstimatePose(request(*[BUS] * 8), timeout=0.1))
    assert error.code == "DEADLINE_EXCEEDED"
    assert time.monotonic() - called_at < 5
    wait_for_count(client, "DEADLINE_EXCEEDED", before + 1)


def test_a_call_that_is_cancelled_withdraws_its_work(
    client: httpx.Client, stub: PoseServiceStub
) -> None:
    before = count(client, "CANCELLED")
    call: Any = stub.EstimatePose.future(request(*[BUS] * 16))
    while 'requests_in_flight{transport="grpc"} 1.0' not in client.get("/metrics").text:
        time.sleep(0.01)
    call.cancel()
    wait_for_count(client, "CANCELLED", before + 1)
    assert 'requests_in_flight{transport="grpc"} 0.0' in client.get("/metrics").text


def test_the_model_is_the_one_that_rest_describes(
    client: httpx.Client, stub: PoseServiceStub
) -> None:
    [by_rest] = client.get("/v1/models").json()["models"]
    model = stub.GetModel(pose_pb2.GetModelRequest()).model
    assert [model.input_height, model.input_width] == by_rest.pop("input_size")
    assert list(model.keypoints) == by_rest.pop("keypoints")
    assert {name: getattr(model, name) for name in by_rest} == by_rest


@pytest.mark.parametrize("name", ["", SERVICE])
def test_a_ready_service_is_serving(channel: grpc.Channel, name: str) -> None:
    check = health_pb2_grpc.HealthStub(channel).Check
    status = check(health_pb2.HealthCheckRequest(service=name)).status
    assert status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_the_services_and_describes_the_contract(channel: grpc.Channel) -> None:
    ask = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
    questions = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]
    listed, described = ask(iter(questions))
    names = {service.name for service in listed.list_services_response.service}
    assert names >= {SERVICE, "grpc.health.v1.Health"}
    [descriptor] = described.file_descriptor_response.file_descriptor_proto
    assert descriptor == pose_pb2.DESCRIPTOR.serialized_pb
