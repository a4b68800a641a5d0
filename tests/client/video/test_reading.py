"""Reading videos: their pictures, their times, and their titles in any encoding."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from clips import FRAMES, make_clip, picture
from distilpose.client.video import VideoReader
from distilpose.model.errors import DataError

SHIFT_JIS = "テスト映像です".encode("shift_jis")
LATIN = "Été à Orléans!".encode("latin-1")
CYRILLIC = "Съёмка дня 12.".encode("cp1251")
TITLE, STREAM, HANDLER, CHAPTER = (
    b"TITLEOFTHEFILE",
    b"TITLEOFASTREAM",
    b"NAMEOFAHANDLER",
    b"TITLEOFCHAPTER",
)


def times_ms(path: Path) -> tuple[Any, Any]:
    """The times of the pictures, and those in the file."""
    with VideoReader(str(path)) as reader:
        shots = list(reader.shots())
    return [shot.timestamp_ms for shot in shots], [shot.file_time_ms for shot in shots]


def labelled(path: Path) -> Path:
    """A clip with a title, a title of its stream, a handler and a chapter."""
    plain = make_clip(path.with_stem("plain"))
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        given = source.streams.video[0]
        copied = target.add_stream_from_template(given)
        target.metadata["title"] = TITLE.decode()
        copied.metadata.update(title=STREAM.decode(), handler_name=HANDLER.decode())
        if path.suffix != ".avi":
            title = {"title": CHAPTER.decode()}
            chapter: Any = {"id": 1, "start": 0, "end": 9, "time_base": given.time_base}
            target.set_chapters([chapter | {"metadata": title}])
        for packet in source.demux(given):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    return path


@pytest.mark.parametrize("bad", [SHIFT_JIS, LATIN, CYRILLIC])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "avi", "flv", "3gp"])
def test_titles_in_other_encodings_are_no_reason_to_refuse(
    tmp_path: Path, suffix: str, bad: bytes
) -> None:
    path = labelled(tmp_path / f"clip.{suffix}")
    content, replaced = path.read_bytes(), 0
    for name in (TITLE, STREAM, HANDLER, CHAPTER):
        replaced += name in content
        content = content.replace(name, bad)
    assert replaced
    path.write_bytes(content)
    with VideoReader(str(path)) as reader:
        assert len(list(reader.shots())) == FRAMES
        reader._container.chapters()
        assert reader.troubles() == []


def test_pictures_are_read_as_they_were_written(tmp_path: Path) -> None:
    with VideoReader(str(make_clip(tmp_path / "clip.mp4"))) as reader:
        shots = list(reader.shots())
        assert reader.frame_count == FRAMES
        assert not reader.live
    for number, shot in enumerate(shots):
        error = shot.image.astype(float) - picture(number)
        assert np.abs(error).mean() < 10


def test_times_of_a_phone_that_slows_down_are_its_own(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", ticks=[0, 1, 2, 5, 6, 11, 12, 13, 14, 15, 16, 40])
    expected = [40 * tick for tick in (0, 1, 2, 5, 6, 11, 12, 13, 14, 15, 16, 40)]
    assert times_ms(path) == (pytest.approx(expected), pytest.approx(expected))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_late_first_time_stays(tmp_path: Path, suffix: str) -> None:
    path = make_clip(tmp_path / f"clip.{suffix}", ticks=range(250, 250 + FRAMES))
    expected = pytest.approx([10_000 + 40 * number for number in range(FRAMES)])
    assert times_ms(path) == (expected, expected)


def test_times_below_zero_stay(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "clip.ts",
        ticks=range(-3, FRAMES - 3),
        options={"avoid_negative_ts": "disabled"},
    )
    expected = pytest.approx([40 * number - 120 for number in range(FRAMES)])
    assert times_ms(path) == (expected, expected)


def test_a_counter_of_33_bits_that_starts_again_does_not_stop_the_clock(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "clip.ts",
        options={"output_ts_offset": str((2**33 - 5 * 3600) / 90_000), "mpegts_copyts": "1"},
    )
    found, _ = times_ms(path)
    assert np.diff(found) == pytest.approx([40] * (FRAMES - 1))


def test_times_that_start_again_go_on(tmp_path: Path) -> None:
    # Two recordings, one behind the other, as some cameras and `cat a.ts b.ts` leave them.
    part = make_clip(tmp_path / "part.ts", codec="mpeg2video").read_bytes()
    (tmp_path / "clip.ts").write_bytes(part * 2)
    found, in_the_file = times_ms(tmp_path / "clip.ts")
    assert np.diff(found) == pytest.approx([40] * (2 * FRAMES - 1))
    assert in_the_file[:FRAMES] == in_the_file[FRAMES:]


def test_a_stream_without_times_has_its_frames_at_its_rate(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.h264", container="h264", codec="libx264")
    expected = pytest.approx([40 * number for number in range(FRAMES)])
    assert times_ms(path) == (expected, [None] * FRAMES)


def test_an_avi_whose_b_frames_have_no_times_is_in_order(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.avi", codec="libx264", b_frames=2)
    expected = pytest.approx([40 * number for number in range(FRAMES)])
    assert times_ms(path) == (expected, [None] * FRAMES)


def test_in_real_time_nothing_comes_before_its_time_after_the_first(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", frames=map(picture, range(3)), ticks=[9000, 9004, 9008])
    with VideoReader(str(path)) as reader:
        began = time.monotonic()
        for shot in reader.shots(in_real_time=True):
            assert (time.monotonic() - began) * 1000 >= shot.timestamp_ms - 360_000 - 1
        assert time.monotonic() - began < 120


def test_the_cover_of_a_clip_is_not_its_video(tmp_path: Path) -> None:
    plain = make_clip(tmp_path / "plain.mp4", frames=map(picture, range(3)))
    path = tmp_path / "clip.mp4"
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        cover: Any = target.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 16, 16, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        copied = target.add_stream_from_template(source.streams.video[0])
        target.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))))
        target.mux(cover.encode(None))
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    with VideoReader(str(path)) as reader:
        assert [shot.image.shape for shot in reader.shots()] == [(48, 64, 3)] * 3


def test_a_playlist_is_read_as_one_clip(tmp_path: Path) -> None:
    make_clip(
        tmp_path / "clip.m3u8",
        container="hls",
        codec="libx264",
        options={"hls_time": "0.2", "hls_list_size": "0"},
        gop_size=5,
    )
    assert len(list(tmp_path.glob("*.ts"))) > 1
    with VideoReader(str(tmp_path / "clip.m3u8")) as reader:
        found = [shot.timestamp_ms for shot in reader.shots()]
        assert reader.troubles() == []
    assert np.diff(found) == pytest.approx([40] * (FRAMES - 1))


def test_about_how_many_frames_there_are_is_known_by_their_rate(tmp_path: Path) -> None:
    with VideoReader(str(make_clip(tmp_path / "clip.mkv"))) as reader:
        assert reader.frame_count == FRAMES
    raw = make_clip(tmp_path / "clip.h264", container="h264", codec="libx264")
    with VideoReader(str(raw)) as reader:
        assert reader.frame_count is None


def test_closing_waits_for_the_thread_that_reads(tmp_path: Path) -> None:
    events: list[str] = []
    entered = threading.Event()

    def slow_frames() -> Iterator[Any]:
        entered.set()
        time.sleep(0.2)
        events.append("read")
        yield from ()

    with ThreadPoolExecutor(1) as threads:
        with VideoReader(str(make_clip(tmp_path / "clip.mp4"))) as reader:
            reading = threads.submit(next, reader._each_shot(slow_frames()), None)
            entered.wait()
        events.append("closed")
        assert reading.result() is None
    assert events == ["read", "closed"]
    assert list(reader._each_shot(slow_frames())) == []


@pytest.mark.parametrize("content", [b"", b"no video at all" * 50])
def test_a_file_that_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"clip\.mp4: cannot be opened"):
        VideoReader(str(path))


def test_a_missing_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.mp4: cannot be opened: No such file"):
        VideoReader(str(tmp_path / "gone.mp4"))


def test_sound_without_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.mka"
    with av.open(str(path), "w", format="matroska") as target:
        track: Any = target.add_stream("flac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "mono")
        frame.sample_rate = 48_000
        target.mux(track.encode(frame))
        target.mux(track.encode(None))
    with pytest.raises(DataError, match=r"sound\.mka: has no video"):
        VideoReader(str(path))


def test_a_clip_of_which_nothing_can_be_decoded_is_an_error_and_not_an_empty_answer(
    tmp_path: Path,
) -> None:
    path = make_clip(tmp_path / "clip.mp4", options={"movflags": "faststart"})
    content = path.read_bytes()
    at = content.index(b"mdat") + 4
    path.write_bytes(content[:at] + b"\xff" * (len(content) - at))
    with (
        VideoReader(str(path)) as reader,
        pytest.raises(DataError, match=r"clip\.mp4: none of its pictures can be decoded"),
    ):
        list(reader.shots())


def test_a_picture_that_claims_to_be_too_large_is_not_given_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip(tmp_path / "clip.mp4")
    options = {"max_pixels": str(64 * 48 - 1)}
    monkeypatch.setattr("distilpose.client.video.reading._CODEC_OPTIONS", options)
    with (
        pytest.raises(DataError, match="none of its pictures can be decoded"),
        VideoReader(str(path)) as reader,
    ):
        list(reader.shots())


def test_a_codec_without_a_decoder_is_named(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.avi")
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"QQQQ"))
    with pytest.raises(DataError, match=r"clip\.avi: there is no decoder for its video"):
        VideoReader(str(path))
