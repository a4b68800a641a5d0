"""`distilpose stream`, as a user calls it."""

import json
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import grpc
import numpy as np
import pytest
from click.testing import CliRunner, Result
from faster_coco_eval import COCO

from clips import make_clip, overwrite, packets
from distilpose.cli import main
from distilpose.client.adapters import coco_annotations
from distilpose.client.results import ImageAnswer
from distilpose.client.video import VideoReader, VideoWriter
from distilpose.model.drawing.skeletons import LEFT_RGB, RIGHT_RGB
from distilpose.model.files.manifest import NAME as MANIFEST
from distilpose.v1 import pose_pb2
from full_disks import full_disk
from moving_people import Clip, timestamp_ms
from ports import free_port
from servers import start
from stub_grpc_service import LOST, Failure, Plan, StubGrpcService
from stub_grpc_service import person as stub_person

FRAMES = 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of grey video."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    writer = VideoWriter(path, Fraction(25))
    for number in range(FRAMES):
        writer.write(np.full((60, 80, 3), 128, np.uint8), 40 * number)
    writer.close()
    return path


def stream(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["stream", *map(str, arguments)])


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_each_frame_gets_a_line(clip: Path) -> None:
    with StubGrpcService(first_track_id=3) as service:
        result = stream(clip, "--server", service.address, "--detect-every", 5, "--smooth")
    assert result.exit_code == 0, result.output
    found = lines(result)
    assert [line["frame_id"] for line in found] == list(range(FRAMES))
    assert [line["timestamp_ms"] for line in found] == [40 * i for i in range(FRAMES)]
    [pose] = found[0]["poses"]
    assert pose["track_id"] == 3
    assert len(pose["keypoints"]) == 17
    assert pose["keypoints"][1]["name"] == "left_eye"
    options = service.streams[0][0].options
    assert (options.mode, options.track) == (pose_pb2.STREAM_MODE_ORDERED, True)
    assert (options.detect_every, options.smooth) == (5, True)
    assert service.streams[0][1].frame.raw.width == 80


def test_people_are_drawn_with_their_numbers_into_an_mp4(clip: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn.mp4"
    with StubGrpcService() as service:
        result = stream(clip, "--server", service.address, "--out", drawn)
    assert result.exit_code == 0, result.output
    with VideoReader(str(drawn)) as reader:
        shots = list(reader.shots())
    assert len(shots) == FRAMES
    assert [round(shot.timestamp_ms) for shot in shots] == [40 * i for i in range(FRAMES)]
    assert np.ptp(shots[5].image.astype(int)) > 100


def drawn_frame(clip: Path, out: Path, *flags: str) -> np.ndarray[Any, Any]:
    """The sixth picture of the drawn clip."""
    with StubGrpcService() as service:
        result = stream(clip, "--server", service.address, "--out", out, *flags)
    assert result.exit_code == 0, result.output
    with VideoReader(str(out)) as reader:
        return list(reader.shots())[5].image.astype(int)


def test_a_threshold_is_the_servers_unless_one_is_given(clip: Path) -> None:
    with StubGrpcService() as service:
        assert stream(clip, "--server", service.address).exit_code == 0
        for given in (0, 0.5):
            asked = stream(clip, "--server", service.address, "--min-keypoint-score", given)
            assert asked.exit_code == 0
    absent, zero, half = (messages[0].options.pose for messages in service.streams)
    assert absent == pose_pb2.PoseOptions()
    assert zero.HasField("min_keypoint_score")
    assert (zero.min_keypoint_score, half.min_keypoint_score) == (0, 0.5)


def test_ellipses_are_drawn_only_when_asked(clip: Path, tmp_path: Path) -> None:
    plain = drawn_frame(clip, tmp_path / "plain.mp4")
    sigma = drawn_frame(clip, tmp_path / "sigma.mp4", "--sigma")
    assert (np.abs(plain - sigma).max(axis=-1) > 30).sum() > 50
    refused = stream(clip, "--sigma")
    assert refused.exit_code == 2
    assert "--sigma: only with --out" in refused.stderr


def test_what_the_server_calls_not_visible_is_not_drawn(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = drawn_frame(clip, tmp_path / "seen.mp4")
    nobody = stub_person()
    for keypoint in nobody.keypoints:
        keypoint.visible = False  # with the same scores
    monkeypatch.setattr("stub_grpc_service.person", lambda _=0: nobody)
    hidden = drawn_frame(clip, tmp_path / "hidden.mp4", "--sigma")
    inside = (slice(20, 45), slice(8, 25))  # of the box, without its sides and its label
    assert np.ptp(seen[inside]) > 100
    assert np.ptp(hidden[inside]) < 60


def test_results_are_written_for_evaluation_tools(clip: Path, tmp_path: Path) -> None:
    results, truth = tmp_path / "results.json", tmp_path / "truth.json"
    with StubGrpcService() as service:
        assert stream(clip, "--server", service.address, "--coco", results).exit_code == 0
    pictures = [(number, str(number), ImageAnswer()) for number in range(FRAMES)]
    truth.write_text(json.dumps(coco_annotations(pictures)))
    loaded = COCO(str(truth)).loadRes(str(results))
    assert len(loaded.getAnnIds()) == FRAMES


def test_jpegs_are_sent_where_asked_for(clip: Path) -> None:
    with StubGrpcService() as service:
        assert stream(clip, "--server", service.address, "--jpeg").exit_code == 0
    assert service.streams[0][1].frame.encoded[:2] == b"\xff\xd8"


def test_latest_plays_the_video_at_its_speed(clip: Path) -> None:
    with StubGrpcService() as service:
        result = stream(clip, "--server", service.address, "--mode", "latest", "--no-track")
    assert result.exit_code == 0, result.output
    options = service.streams[0][0].options
    assert (options.mode, options.track) == (pose_pb2.STREAM_MODE_LATEST, False)
    reported = [[line["frame_id"], *line.get("dropped_frame_ids", [])] for line in lines(result)]
    assert sorted(number for numbers in reported for number in numbers) == list(range(FRAMES))


def test_a_lost_server_is_not_noticed(clip: Path) -> None:
    with StubGrpcService() as service:
        service.plans.append(Plan(4, LOST))
        result = stream(clip, "--server", service.address)
    assert [line["frame_id"] for line in lines(result)] == list(range(FRAMES))


def too_late(_: Any, frame: pose_pb2.Frame) -> pose_pb2.StreamPoseResponse:
    """The answer to a frame that fails."""
    error = pose_pb2.ImageError(type="deadline-exceeded", code=4, detail="too late")
    return pose_pb2.StreamPoseResponse(
        frame_id=frame.frame_id, timestamp_ms=frame.timestamp_ms, error=error
    )


def test_a_frame_that_fails_has_a_line_with_its_error_and_exit_code_1(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StubGrpcService, "_answer", too_late)
    with StubGrpcService() as service:
        result = stream(clip, "--server", service.address)
    assert result.exit_code == 1
    assert lines(result)[0]["error"] == {"type": "deadline-exceeded", "detail": "too late"}


def damage(path: Path, number: int) -> None:
    """Overwrite a packet of the clip."""
    at, size = packets(path)[number]
    overwrite(path, at, b"\xff" * size)


def test_a_damaged_packet_costs_one_frame_and_exit_code_3(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4")
    damage(path, 4)
    with StubGrpcService() as service:
        result = stream(path, "--server", service.address)
    assert result.exit_code == 3
    assert [line["frame_id"] for line in lines(result)] == list(range(FRAMES - 1))
    assert result.stderr == f"{path}: 1 frame could not be decoded, and is missing\n"


def test_a_clip_that_is_cut_off_is_answered_as_far_as_it_goes(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv")
    path.write_bytes(path.read_bytes()[: packets(path)[8][0]])
    with StubGrpcService() as service:
        result = stream(path, "--server", service.address)
    assert result.exit_code == 3
    assert 5 < len(lines(result)) < FRAMES
    assert "clip.mkv: it is cut short or damaged: the file ends before" in result.stderr


def test_a_frame_that_fails_outranks_one_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip(tmp_path / "clip.mp4")
    damage(path, 4)
    monkeypatch.setattr(StubGrpcService, "_answer", too_late)
    with StubGrpcService() as service:
        result = stream(path, "--server", service.address)
    assert result.exit_code == 1
    assert "1 frame could not be decoded" in result.stderr


def test_a_clip_without_any_picture_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4")
    for number in range(FRAMES):
        damage(path, number)
    with StubGrpcService() as service:
        result = stream(path, "--server", service.address)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {path}: none of its pictures can be decoded\n"


def test_the_drawn_clip_has_the_sound_and_the_square_pixels_of_its_source(tmp_path: Path) -> None:
    path, drawn = tmp_path / "clip.mov", tmp_path / "drawn.mp4"
    make_clip(path, sound="aac", sample_aspect_ratio=Fraction(4, 3))
    with StubGrpcService() as service:
        result = stream(path, "--server", service.address, "--out", drawn)
        assert service.streams[0][1].frame.raw.width == 85
    assert (result.exit_code, result.stderr) == (0, "")
    with av.open(str(drawn)) as written:
        video, sound = written.streams.video[0], written.streams.audio[0]
        assert (video.width, video.height, video.sample_aspect_ratio) == (86, 48, Fraction(1))
        assert sound.codec_context.name == "aac"


def test_sound_that_is_left_out_of_the_drawn_clip_is_named(tmp_path: Path) -> None:
    path, drawn = tmp_path / "clip.avi", tmp_path / "drawn.mp4"
    make_clip(path, sound="pcm_mulaw")
    with StubGrpcService() as service:
        result = stream(path, "--server", service.address, "--out", drawn)
    assert result.exit_code == 0
    assert result.stderr == f"{drawn}: an mp4 cannot hold sound in pcm_mulaw\n"


def test_latest_does_not_wait_for_a_late_first_time(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", ticks=range(90_000, 90_000 + FRAMES))  # an hour
    with StubGrpcService() as service:
        result = stream(path, "--server", service.address, "--mode", "latest")
    assert result.exit_code == 0
    assert lines(result)[0]["timestamp_ms"] == 3_600_000


def test_a_key_comes_from_its_file(clip: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret\n")
    with StubGrpcService() as service:
        assert stream(clip, "--server", service.address, "--api-key-file", key).exit_code == 0
    assert service.stream_metadata[0]["x-api-key"] == "secret"


def test_what_ends_the_stream_is_one_line(clip: Path) -> None:
    refused = Failure(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    with StubGrpcService() as service:
        service.plans.append(Plan(0, refused))
        result = stream(clip, "--server", service.address)
    assert result.exit_code == 1
    assert result.stderr.strip() == "Error: as configured"


def test_a_missing_video_is_one_line(tmp_path: Path) -> None:
    result = stream(tmp_path / "gone.mp4")
    assert result.exit_code == 1
    assert "gone.mp4: cannot be opened" in result.stderr


def test_a_missing_extra_is_named_with_what_installs_it(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    for name in [name for name in sys.modules if name.startswith("distilpose.client.video")]:
        monkeypatch.delitem(sys.modules, name)
    result = stream(clip, "--server", f"grpc://127.0.0.1:{free_port()}")
    assert result.exit_code == 1
    assert "pip install 'distilpose[video]'" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_stream_well(tmp_path: Path, number: signal.Signals) -> None:
    path, drawn, results = (tmp_path / name for name in ("long.mp4", "drawn.mp4", "results.json"))
    writer = VideoWriter(path, Fraction(25))
    for index in range(1500):
        writer.write(np.full((16, 16, 3), 128, np.uint8), 40 * index)
    writer.close()
    with StubGrpcService() as service:
        command = [sys.executable, "-m", "distilpose.cli", "stream", str(path)]
        command += ["--server", service.address, "--mode", "latest"]
        options = ["--out", str(drawn), "--coco", str(results)]
        with subprocess.Popen([*command, *options], stdout=subprocess.PIPE) as running:
            assert running.stdout is not None
            for _ in range(3):
                running.stdout.readline()
            running.send_signal(number)
            running.send_signal(number)  # in vain: it is finishing
            running.stdout.read()
            assert running.wait(30) == 0
    with VideoReader(str(drawn)) as reader:
        assert len(list(reader.shots())) >= 2
    assert len(json.loads(results.read_text())) >= 2
    names = {MANIFEST, "drawn.mp4", "long.mp4", "results.json"}
    assert {each.name for each in tmp_path.iterdir()} == names


@pytest.mark.slow
def test_skeletons_follow_the_people_of_a_clip(tmp_path: Path) -> None:
    people, path, drawn = Clip(), tmp_path / "clip.mp4", tmp_path / "drawn.mp4"
    writer = VideoWriter(path, Fraction(25))
    for number in range(10):
        writer.write(people.picture(4 * number), timestamp_ms(number))
    writer.close()
    server, log = start(tmp_path, 0, {})
    try:
        server.wait_until_ready()
        result = stream(path, "--server", f"grpc://{server.grpc_target}", "--out", drawn)
    finally:
        server.process.kill()
        server.process.wait()
        log.close()
    assert result.exit_code == 0, result.output
    found = lines(result)
    with VideoReader(str(drawn)) as reader:
        pictures = [shot.image for shot in reader.shots()]
    assert len(found) == len(pictures) == 10
    for number, line in enumerate(found):
        whole = [person for person in people.people(4 * number) if person.seen > 0.95]
        assert whole
        for person in whole:
            assert near(person.keypoints_xy_px[:11], line["poses"])
        for pose in line["poses"]:
            assert has_limbs(pictures[number], pose["box"])
    numbers = [{pose["track_id"] for pose in line["poses"]} for line in found]
    assert all(0 not in seen for seen in numbers)
    assert numbers[0] <= numbers[-1]


def near(truth_xy_px: Any, poses: list[dict[str, Any]]) -> bool:
    """Return True if some pose's upper body is where this one's is."""
    height_px = np.ptp(truth_xy_px[:, 1])
    for pose in poses:
        found = np.array([(k["x"], k["y"]) for k in pose["keypoints"][:11]])
        if np.median(np.linalg.norm(found - truth_xy_px, axis=1)) < 0.15 * height_px:
            return True
    return False


def has_limbs(image: Any, box: list[float]) -> bool:
    """Return True if both sides' colours are in the box."""
    x1, y1, x2, y2 = (round(v) for v in box)
    inside = image[y1:y2, x1:x2].astype(int)
    return all((np.abs(inside - c).max(axis=-1) < 60).any() for c in (LEFT_RGB, RIGHT_RGB))


@pytest.mark.parametrize("option", ["--out", "--lines", "--coco"])
def test_a_stream_is_not_written_over_its_video_or_where_nothing_can_be(
    clip: Path, tmp_path: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clip.parent)
    (tmp_path / "link").symlink_to(clip)
    before = clip.read_bytes()
    replaced = "would replace what is read"
    for video, place, why in (
        (clip, clip, replaced),
        (clip, tmp_path / "link", replaced),
        (f"file:{clip}", "./clip.mp4", replaced),
        (f"concat:{clip.name}", clip, replaced),
        (clip, "/nope/x", "/nope is not a folder"),
    ):
        result = stream(video, option, place, "--overwrite")
        assert result.exit_code == 2
        assert why in result.stderr
    assert clip.read_bytes() == before


@pytest.mark.parametrize("option", ["--out", "--lines", "--coco"])
def test_somebodys_file_is_not_replaced_and_what_a_stream_wrote_is(
    clip: Path, tmp_path: Path, option: str
) -> None:
    place = tmp_path / "x.mp4"
    place.write_text("mine")
    with StubGrpcService() as service:
        arguments = (clip, "--server", service.address, option, place)
        refused = stream(*arguments)
        assert refused.exit_code == 2
        assert f"{option} {place}: is there already" in refused.stderr
        assert place.read_text() == "mine"
        assert not service.streams
        assert stream(*arguments, "--overwrite").exit_code == 0
        assert stream(*arguments).exit_code == 0
    assert place.stat().st_size > 100
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST, "x.mp4"]


def test_a_streams_lines_and_results_are_two_files(clip: Path, tmp_path: Path) -> None:
    result = stream(clip, "--lines", tmp_path / "x", "--coco", tmp_path / "x")
    assert result.exit_code == 2
    assert "--coco" in result.stderr
    assert "is the file of --lines too" in result.stderr


def test_lines_to_standard_output_and_devices_are_written_straight(clip: Path) -> None:
    with StubGrpcService() as service:
        options = ("--server", service.address, "--lines")
        assert len(lines(stream(clip, *options, "-"))) == FRAMES
        nothing = stream(clip, *options, "/dev/null")
        assert (nothing.exit_code, nothing.stdout) == (0, "")
        command = [sys.executable, "-m", "distilpose.cli", "stream", str(clip), *options]
        done = subprocess.run([*command, "/dev/stdout"], capture_output=True, check=True)
    assert len(done.stdout.splitlines()) == FRAMES


def test_after_a_lost_stream_the_frames_so_far_are_kept(clip: Path, tmp_path: Path) -> None:
    drawn, answers = tmp_path / "drawn.mp4", tmp_path / "poses.jsonl"
    with StubGrpcService() as service:
        service.plans.append(Plan(8, Failure(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")))
        result = stream(clip, "--server", service.address, "--out", drawn, "--lines", answers)
    assert result.exit_code == 1
    kept = [json.loads(line)["frame_id"] for line in answers.read_text().splitlines()]
    assert kept == list(range(len(kept)))
    assert kept
    with VideoReader(str(drawn)) as reader:
        assert len(list(reader.shots())) == len(kept)


@pytest.mark.parametrize("option", ["--out", "--lines", "--coco"])
def test_a_full_disk_is_one_line_and_costs_no_older_file(
    clip: Path, tmp_path: Path, option: str
) -> None:
    place = tmp_path / "x.mp4"
    with StubGrpcService() as service:
        arguments = (clip, "--server", service.address, option, place)
        assert stream(*arguments).exit_code == 0
        older = place.read_bytes()
        with full_disk(1000):
            done = stream(*arguments)
    assert done.exit_code == 1
    assert "File too large" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert place.read_bytes() == older
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST, "x.mp4"]
