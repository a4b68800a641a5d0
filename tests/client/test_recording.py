"""A video's answers, written down."""

import io
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import make_clip
from distilpose.client import Client, FrameAnswer, Unavailable
from distilpose.client.recording import Recorder, default_mode, line_of
from distilpose.client.video import VideoReader, VideoWriter
from distilpose.v1 import pose_pb2
from stub_grpc_service import StubGrpcService

FRAMES = 6


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quarter of a second of grey."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, Fraction(25)) as writer:
        for number in range(FRAMES):
            writer.write(np.full((60, 80, 3), 128, np.uint8), 40 * number)
    return path


def follow(clip: Path, recorder: Recorder, **options: Any) -> pose_pb2.StreamOptions:
    """The requests that a server received while it answered the clip."""
    with (
        StubGrpcService() as service,
        Client(service.address) as client,
        VideoReader(str(clip)) as reader,
    ):
        recorder.follow(client, reader, **options)
    return service.streams[0][0].options


def test_answers_are_lines_as_they_come_and_results_at_the_end(clip: Path) -> None:
    lines, coco = io.StringIO(), io.StringIO()
    recorder = Recorder(lines, coco)
    follow(clip, recorder)
    written = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [line["frame_id"] for line in written] == list(range(FRAMES))
    assert (coco.getvalue(), recorder.failed) == ("", 0)
    recorder.finish()
    entries = json.loads(coco.getvalue())
    assert [entry["image_id"] for entry in entries] == list(range(FRAMES))


@pytest.mark.parametrize("mode", ["ordered", "latest"])
def test_a_line_has_the_time_in_the_file_beside_the_clocks(tmp_path: Path, mode: str) -> None:
    part = make_clip(tmp_path / "part.ts").read_bytes()
    (tmp_path / "clip.ts").write_bytes(part * 2)
    lines = io.StringIO()
    follow(tmp_path / "clip.ts", Recorder(lines), mode=mode)
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    shift_ms = {line["timestamp_ms"] - line["file_time_ms"] for line in found}
    assert sorted(shift_ms) == pytest.approx([0, 480])


def test_a_line_says_where_the_file_has_no_time(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.h264", container="h264", codec="libx264")
    lines = io.StringIO()
    follow(path, Recorder(lines))
    assert {json.loads(line)["file_time_ms"] for line in lines.getvalue().splitlines()} == {None}


def test_a_video_is_drawn_with_the_times_of_its_frames(clip: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn.mp4"
    with VideoWriter(drawn, Fraction(25)) as video:
        follow(clip, Recorder(io.StringIO(), video=video))
    with VideoReader(str(drawn)) as reader:
        shots = list(reader.shots())
    assert [round(shot.timestamp_ms) for shot in shots] == [40 * i for i in range(FRAMES)]
    assert np.ptp(shots[3].image.astype(int)) > 100


def test_every_frame_counts_as_done_once_whether_answered_or_dropped(clip: Path) -> None:
    counts: list[tuple[int, int | None]] = []
    follow(
        clip,
        Recorder(io.StringIO()),
        mode="latest",
        on_progress=lambda done, total: counts.append((done, total)),
    )
    assert counts == sorted(counts)
    assert counts[-1] == (FRAMES, FRAMES)


def test_every_frame_of_a_file_is_asked_for_and_the_newest_of_a_camera(clip: Path) -> None:
    options = follow(clip, Recorder(io.StringIO()), mode=None)
    assert options.mode == pose_pb2.STREAM_MODE_ORDERED
    with VideoReader(str(clip)) as reader:
        assert default_mode(reader) == "ordered"
        reader.live = True
        assert default_mode(reader) == "latest"


def test_a_frame_that_fails_is_counted_and_has_a_line_with_its_error() -> None:
    lines = io.StringIO()
    recorder = Recorder(lines)
    recorder.take(FrameAnswer(frame_id=4, timestamp_ms=160.0, error=Unavailable("gone")))
    assert recorder.failed == 1
    error = {"type": "unavailable", "detail": "gone"}
    assert json.loads(lines.getvalue()) == {
        "frame_id": 4,
        "timestamp_ms": 160.0,
        "file_time_ms": None,
        "error": error,
    }


def test_a_line_says_which_frames_were_dropped_before_it() -> None:
    plain = FrameAnswer(frame_id=0, timestamp_ms=0.12345, width=8, height=6)
    assert line_of(plain) == {
        "frame_id": 0,
        "timestamp_ms": 0.123,
        "file_time_ms": None,
        "width": 8,
        "height": 6,
        "poses": [],
    }
    after = FrameAnswer(frame_id=3, timestamp_ms=120.0, dropped_frame_ids=(1, 2))
    assert line_of(after)["dropped_frame_ids"] == (1, 2)


def test_a_line_counts_the_people_where_the_detector_ran() -> None:
    crowd = FrameAnswer(frame_id=0, timestamp_ms=0.0, width=8, height=6, people_found=61)
    assert line_of(crowd)["people_found"] == 61
    followed = FrameAnswer(frame_id=1, timestamp_ms=40.0, width=8, height=6)
    assert "people_found" not in line_of(followed)
