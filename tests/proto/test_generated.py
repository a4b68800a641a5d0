"""The committed protobuf code matches the contract."""

import subprocess
import sys
from pathlib import Path

import pytest

from distilpose.v1 import pose_pb2

ROOT = Path(__file__).parents[2]
GENERATED = sorted((ROOT / "proto" / "distilpose" / "v1").glob("pose_pb2*"))


def test_the_committed_code_is_current(tmp_path: Path) -> None:
    outputs = [
        f"--{kind}_out={tmp_path}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")
    ]
    plugins = Path(sys.executable).parent
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{ROOT / 'proto'}",
            f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
            *outputs,
            "distilpose/v1/pose.proto",
        ],
        check=True,
        capture_output=True,
    )
    fresh = sorted((tmp_path / "distilpose" / "v1").glob("pose_pb2*"))
    assert [path.name for path in fresh] == [path.name for path in GENERATED]
    for new, committed in zip(fresh, GENERATED, strict=True):
        assert new.read_text("utf-8") == committed.read_text("utf-8"), f"{new.name}: run make proto"


def test_a_request_survives_the_wire() -> None:
    request = pose_pb2.EstimatePoseRequest(
        images=[pose_pb2.Image(encoded=b"\xff\xd8", id="bus.jpg")],
        options=pose_pb2.PoseOptions(flip_test=True, max_people=3),
    )
    copy = pose_pb2.EstimatePoseRequest.FromString(request.SerializeToString())
    assert copy == request
    assert copy.images[0].WhichOneof("source") == "encoded"
    for absent in ("min_box_score", "min_keypoint_score"):
        assert not copy.options.HasField(absent)


@pytest.mark.parametrize("message", ["EstimatePoseRequest", "EstimatePoseResponse", "Pose"])
def test_the_package_is_versioned(message: str) -> None:
    assert (
        pose_pb2.DESCRIPTOR.message_types_by_name[message].full_name == f"distilpose.v1.{message}"
    )
