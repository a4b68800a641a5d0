"""Damaged packets and containers: what is behind them is decoded, and what is lost is counted."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from clips import FRAMES, KINDS, make_clip, overwrite, packets
from distilpose.client.video import VideoReader

ONE = "1 frame could not be decoded, and is missing"


def read(path: Path) -> tuple[list[float], list[str]]:
    """Times of the pictures, and what is said to be missing, without the file's name."""
    with VideoReader(str(path)) as reader:
        times_ms = [shot.timestamp_ms for shot in reader.shots()]
        troubles = reader.troubles()
    return times_ms, [trouble.removeprefix(f"{path}: ") for trouble in troubles]


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("suffix", KINDS)
def test_a_whole_clip_is_read_without_a_word(tmp_path: Path, suffix: str, b_frames: int) -> None:
    codec = {"mpg": "mpeg2video", "flv": "libx264"}.get(suffix)
    path = make_clip(tmp_path / f"clip.{suffix}", codec=codec, b_frames=b_frames)
    times_ms, troubles = read(path)
    assert len(times_ms) == FRAMES
    assert np.diff(times_ms) == pytest.approx([40] * (FRAMES - 1))
    assert troubles == []


@pytest.mark.parametrize("codec", ["libx265", "libvpx-vp9", "libsvtav1", "ffv1", "mpeg2video"])
def test_every_codec_of_a_matroska_is_read_without_a_word(tmp_path: Path, codec: str) -> None:
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = make_clip(tmp_path / "clip.mkv", codec=codec, codec_options=quiet)
    times_ms, troubles = read(path)
    assert (len(times_ms), troubles) == (FRAMES, [])


@pytest.mark.parametrize("noise", [b"\0", b"\xff", b"\xa5"])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "avi", "3gp"])
def test_one_damaged_packet_costs_one_picture(tmp_path: Path, suffix: str, noise: bytes) -> None:
    path = make_clip(tmp_path / f"clip.{suffix}")
    at, size = packets(path)[5]
    overwrite(path, at, noise * size)
    times_ms, troubles = read(path)
    assert len(times_ms) == FRAMES - 1
    assert times_ms[4:6] == pytest.approx([160, 240])  # the rest keep their times
    assert troubles == [ONE]


@pytest.mark.parametrize("number", [FRAMES - 2, FRAMES - 1])
def test_pictures_decoded_ahead_of_the_end_are_kept(tmp_path: Path, number: int) -> None:
    path = make_clip(tmp_path / "clip.mp4", b_frames=2)
    at, size = packets(path)[number]
    overwrite(path, at, b"\xff" * size)
    times_ms, troubles = read(path)
    assert len(times_ms) == FRAMES - 1
    assert troubles == [ONE]


def test_several_damaged_packets_are_counted(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.avi")
    for at, size in packets(path)[3:6]:
        overwrite(path, at, b"\xff" * size)
    times_ms, troubles = read(path)
    assert len(times_ms) == FRAMES - 3
    assert troubles == ["3 frames could not be decoded, and are missing"]


def test_pictures_that_a_decoder_passes_over_silently_are_counted(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "clip.mkv", codec="libx265", codec_options={"x265-params": "log-level=none"}
    )
    at, _ = packets(path)[2]
    overwrite(path, at + 10, b"\xc0")  # the third picture's slice type; those after it refer to it
    times_ms, troubles = read(path)
    assert len(times_ms) == 2
    assert troubles == ["10 frames could not be decoded, and are missing"]


def test_what_an_edit_list_hides_is_not_lost(tmp_path: Path) -> None:
    options = {"avoid_negative_ts": "disabled"}
    path = make_clip(tmp_path / "clip.mp4", ticks=range(-3, FRAMES - 3), options=options)
    times_ms, troubles = read(path)
    assert times_ms == pytest.approx([40 * number for number in range(FRAMES - 3)])
    assert troubles == []


@pytest.mark.parametrize("suffix", ["mp4", "mov", "3gp", "avi", "mkv", "webm", "flv", "ogv"])
def test_a_clip_that_is_cut_off_is_answered_as_far_as_it_goes(tmp_path: Path, suffix: str) -> None:
    options = {"movflags": "faststart"} if suffix in {"mp4", "mov", "3gp"} else {}
    pages = {"page_duration": "1000"} if suffix == "ogv" else {}
    path = make_clip(tmp_path / f"clip.{suffix}", options=options | pages)
    at, size = packets(path)[8]
    path.write_bytes(path.read_bytes()[: at + size // 2])
    times_ms, troubles = read(path)
    assert 6 <= len(times_ms) <= 9
    assert "cut short" in troubles[-1]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "flv"])
def test_a_clip_that_is_cut_between_two_pictures_says_so(tmp_path: Path, suffix: str) -> None:
    options = {"movflags": "faststart"} if suffix == "mp4" else {}
    path = make_clip(tmp_path / f"clip.{suffix}", options=options)
    starts_at = packets(path)[8][0] - (11 if suffix == "flv" else 0)  # and its header
    path.write_bytes(path.read_bytes()[:starts_at])
    times_ms, troubles = read(path)
    assert 7 <= len(times_ms) <= 8
    assert "cut short" in troubles[-1]


def test_a_header_that_names_more_frames_than_there_are_is_not_believed(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.avi")
    content = bytearray(path.read_bytes())
    at = content.index(b"avih") + 8 + 16  # dwTotalFrames
    content[at : at + 4] = (500).to_bytes(4, "little")
    path.write_bytes(content)
    times_ms, troubles = read(path)
    assert (len(times_ms), troubles) == (FRAMES, [])


def test_a_container_that_fails_on_its_way_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip(tmp_path / "clip.mp4")
    with VideoReader(str(path)) as reader:
        monkeypatch.setattr(reader._decoder, "_container", Failing(reader._container, after=5))
        assert len(list(reader.shots())) == 5
        [trouble] = reader.troubles()
    assert trouble == f"{path}: reading it met an error: Input/output error"


class Failing:
    """A container whose connection breaks."""

    def __init__(self, container: Any, after: int) -> None:
        self._container, self._after = container, after

    def demux(self, *streams: Any) -> Any:
        for number, packet in enumerate(self._container.demux(*streams)):
            if number == self._after:
                raise av.error.OSError(5, "Input/output error")
            yield packet


def test_nothing_is_said_of_a_clip_that_was_not_read_to_its_end(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv")
    path.write_bytes(path.read_bytes()[:-300])
    with VideoReader(str(path)) as reader:
        next(reader.shots())
        assert reader.troubles() == []


def test_what_is_missing_can_be_asked_for_after_closing(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv")
    path.write_bytes(path.read_bytes()[:-100])
    with VideoReader(str(path)) as reader:
        list(reader.shots())
    assert "cut short" in reader.troubles()[0]
    assert reader.frame_count == FRAMES
