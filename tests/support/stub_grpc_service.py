"""A gRPC service in threads of the test's process whose answers and failures a test chooses."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NoReturn, Self

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]  # no py.typed there
    ErrorInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # no py.typed there
from grpc_status import rpc_status

from distilpose.v1 import pose_pb2
from distilpose.v1.pose_pb2_grpc import PoseServiceServicer, add_PoseServiceServicer_to_server


@dataclass(frozen=True)
class Failure:
    """The failure of a call."""

    code: grpc.StatusCode
    reason: str = ""
    """Reason in google.rpc.ErrorInfo; empty as if the library had failed."""
    retry_seconds: float | None = None

    def end(self, context: Any) -> NoReturn:
        details = [AnyMessage(), AnyMessage()]
        details[0].Pack(ErrorInfo(reason=self.reason, domain="distilpose"))
        retry = RetryInfo()
        if self.retry_seconds is not None:
            retry.retry_delay.FromMilliseconds(round(self.retry_seconds * 1000))
            details[1].Pack(retry)
        kept = details if self.retry_seconds is not None else details[:1] if self.reason else []
        status = Status(code=self.code.value[0], message="as configured", details=kept)
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError("not reached")


@dataclass(frozen=True)
class Plan:
    """The course of a stream: that many frames are answered, then it fails."""

    answers: int
    failure: Failure


LOST = Failure(grpc.StatusCode.UNAVAILABLE)
DRAINING = Failure(grpc.StatusCode.UNAVAILABLE, "DRAINING", 0)


def person(track_id: int = 0) -> pose_pb2.Pose:
    """A person whose keypoints lie on a diagonal."""
    keypoints = [
        pose_pb2.Keypoint(
            name="any", x=i, y=2 * i, score=0.5, visible=i > 2, sigma_x=1 + i, sigma_y=2 + i
        )
        for i in range(17)
    ]
    box = pose_pb2.Box(x1=1, y1=2, x2=31, y2=52)
    return pose_pb2.Pose(box=box, box_score=0.75, score=0.5, keypoints=keypoints, track_id=track_id)


@dataclass
class StubGrpcService(PoseServiceServicer):
    """Serves at `address` within the context: answers one person, after the given failures."""

    failures: deque[Failure] = field(default_factory=deque)
    plans: deque[Plan] = field(default_factory=deque)
    asked: list[pose_pb2.EstimatePoseRequest] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    streams: list[list[pose_pb2.StreamPoseRequest]] = field(default_factory=list)
    stream_metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    first_track_id: int = 1
    port: int = 0
    credentials: grpc.ServerCredentials | None = None
    answer_id: str = ""

    @property
    def address(self) -> str:
        return f"{'grpcs' if self.credentials else 'grpc'}://127.0.0.1:{self.port}"

    def EstimatePose(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.failures:
            self.failures.popleft().end(context)
        found = pose_pb2.ImageResult(id=self.answer_id, width=40, height=60, poses=[person()])
        return pose_pb2.EstimatePoseResponse(images=[found])

    def StreamPose(self, request_iterator: Any, context: Any) -> Iterator[Any]:
        received: list[pose_pb2.StreamPoseRequest] = []
        self.streams.append(received)
        self.stream_metadata.append(dict(context.invocation_metadata()))
        plan = self.plans.popleft() if self.plans else None
        left = plan.answers if plan else -1
        for message in request_iterator:
            received.append(message)
            if plan and left == 0:
                plan.failure.end(context)
            if message.HasField("frame"):
                left -= 1
                yield self._answer(message.frame)

    def GetModel(self, request: Any, context: Any) -> Any:
        model = pose_pb2.Model(name="a model", input_height=256, input_width=192)
        return pose_pb2.GetModelResponse(model=model)

    def _answer(self, frame: pose_pb2.Frame) -> pose_pb2.StreamPoseResponse:
        return pose_pb2.StreamPoseResponse(
            frame_id=frame.frame_id,
            timestamp_ms=frame.timestamp_ms,
            width=40,
            height=60,
            poses=[person(self.first_track_id)],
        )

    def __enter__(self) -> Self:
        self._threads = ThreadPoolExecutor(16)
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
        self._server = grpc.server(self._threads, options=options)
        add_PoseServiceServicer_to_server(self, self._server)
        address = f"127.0.0.1:{self.port}"
        self.port = (
            self._server.add_secure_port(address, self.credentials)
            if self.credentials
            else self._server.add_insecure_port(address)
        )
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()
        self._threads.shutdown()
