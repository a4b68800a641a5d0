"""Writing drawn clips that play as their source does."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from clips import FRAMES, make_clip, picture
from distilpose.client.video import VideoReader, VideoWriter, written_like
from distilpose.client.video.display import Colours
from distilpose.model.errors import DataError

FULL_709 = Colours(matrix=1, colour_range=2, primaries=1, transfer=1)
HLG_2020 = Colours(matrix=9, colour_range=1, primaries=9, transfer=18)
PAL = Colours(matrix=5, colour_range=1, primaries=5, transfer=6)


def write(path: Path, times_ms: list[float], **size: int) -> Path:
    with VideoWriter(path, Fraction(25)) as writer:
        for number, time_ms in enumerate(times_ms):
            writer.write(picture(number, **size), time_ms)
    return path


def times_ms(path: Path) -> list[float]:
    with VideoReader(str(path)) as reader:
        return [shot.timestamp_ms for shot in reader.shots()]


def copied(source: Path, target: Path) -> VideoWriter:
    """The writer that wrote the source's pictures again."""
    with VideoReader(str(source)) as reader, written_like(reader, target) as writer:
        for shot in reader.shots():
            writer.write(shot.image, shot.timestamp_ms)
    return writer


def test_what_is_written_is_read_with_its_times(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", [500, 540, 580, 700, 1000.5])
    assert times_ms(path) == pytest.approx([0, 40, 80, 200, 500.5], abs=0.1)


def test_times_below_zero_are_written_from_the_first(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", [-80, -40, 0])
    assert times_ms(path) == pytest.approx([0, 40, 80], abs=0.1)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("rate", [24, 25, 30, 50, 60, Fraction(30_000, 1001)])
def test_the_usual_rates_are_exact_in_either_codec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, rate: Fraction
) -> None:
    monkeypatch.setattr("distilpose.client.video.writing._CODECS", (codec,))
    path = write(tmp_path / "clip.mp4", [float(1000 * number / rate) for number in range(5)])
    with av.open(str(path)) as source:
        assert source.streams.video[0].codec_context.name == {"libx264": "h264"}.get(codec, codec)
        ticks = [frame.pts for frame in source.decode(video=0)]
        steps = np.diff(np.array(ticks, float)) * float(source.streams.video[0].time_base or 0)
    assert steps == pytest.approx(float(1 / rate), rel=1e-6)


def test_times_that_are_almost_equal_stay_apart_and_playable(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", [0, 0.001, 0.002, 0.002, 0.001, 40])
    found = times_ms(path)
    assert len(found) == 6
    assert all(np.diff(found) > 0.01)


@pytest.mark.parametrize("gap_ms", [1e8, 1e15, 1e300])
def test_a_gap_that_no_mp4_can_hold_becomes_an_hour(tmp_path: Path, gap_ms: float) -> None:
    path = write(tmp_path / "clip.mp4", [0, 40, gap_ms, gap_ms + 40])
    assert times_ms(path)[2] == pytest.approx(3_600_040, abs=0.1)


def test_odd_sides_are_written_even(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", [0, 40], height=47, width=63)
    with VideoReader(str(path)) as reader:
        assert next(reader.shots()).image.shape == (48, 64, 3)


def test_a_picture_of_another_size_keeps_the_files(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "clip.mp4", Fraction(25)) as writer:
        writer.write(picture(0), 0)
        writer.write(picture(0, height=80, width=40), 40)
    with VideoReader(str(tmp_path / "clip.mp4")) as reader:
        assert {shot.image.shape for shot in reader.shots()} == {(48, 64, 3)}


def test_an_unwritable_place_is_an_error(tmp_path: Path) -> None:
    with (
        VideoWriter(tmp_path / "gone" / "clip.mp4", Fraction(25)) as writer,
        pytest.raises(DataError, match=r"clip\.mp4: cannot be written: No such file"),
    ):
        writer.write(picture(0), 0)


def test_what_no_codec_can_write_is_an_error(tmp_path: Path) -> None:
    with (
        VideoWriter(tmp_path / "clip.mp4", Fraction(25)) as writer,
        pytest.raises(DataError, match=r"clip\.mp4: cannot be written"),
    ):
        writer.write(np.zeros((2, 17_000, 3), np.uint8), 0)


@pytest.mark.parametrize("tags", [FULL_709, HLG_2020, PAL, Colours()])
def test_colours_and_their_tags_are_the_sources(tmp_path: Path, tags: Colours) -> None:
    source, drawn = tmp_path / "source.mp4", tmp_path / "drawn.mp4"
    with VideoWriter(source, Fraction(25), colours=tags) as writer:
        for number in range(3):
            writer.write(picture(number), 40 * number)
    copied(source, drawn)
    with VideoReader(str(source)) as given, VideoReader(str(drawn)) as written:
        assert given.colours == written.colours == tags
        pairs = list(zip(given.shots(), written.shots(), strict=True))
    for number, (before, after) in enumerate(pairs):
        assert np.abs(before.image.astype(float) - picture(number)).mean() < 6
        assert np.abs(before.image.astype(float) - after.image).mean() < 3


def test_an_rgb_source_does_not_make_its_copy_claim_to_be_rgb(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mkv", codec="libx264rgb", pix_fmt="rgb24")
    copied(source, tmp_path / "drawn.mp4")
    with VideoReader(str(tmp_path / "drawn.mp4")) as reader:
        assert reader.colours.matrix == 2
        for number, shot in enumerate(reader.shots()):
            assert np.abs(shot.image.astype(float) - picture(number)).mean() < 6


def test_a_squeezed_clip_is_drawn_with_square_pixels(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", sample_aspect_ratio=Fraction(3, 2))
    copied(source, tmp_path / "drawn.mp4")
    with av.open(str(tmp_path / "drawn.mp4")) as drawn:
        stream = drawn.streams.video[0]
        assert (stream.width, stream.height) == (96, 48)
        assert stream.sample_aspect_ratio == 1
        assert next(drawn.decode(video=0)).rotation == 0


def heard(path: Path) -> list[tuple[str, float, float]]:
    """Codec, start and end in seconds of each track of sound."""
    with av.open(str(path)) as source:
        found: dict[int, list[Any]] = {stream.index: [] for stream in source.streams.audio}
        for packet in source.demux():
            if packet.stream.index in found:
                found[packet.stream.index] += packet.decode()
        return [
            (
                source.streams.get(index)[0].codec_context.name,
                frames[0].time,
                frames[-1].time + frames[-1].samples / frames[-1].sample_rate,
            )
            for index, frames in found.items()
        ]


@pytest.mark.parametrize(
    ("suffix", "codec", "sound"),
    [
        ("mp4", None, "aac"),
        ("mov", None, "aac"),
        ("mov", None, "pcm_s16le"),
        ("mkv", None, "libmp3lame"),
        ("mkv", None, "flac"),
        ("webm", None, "libopus"),
        ("avi", None, "libmp3lame"),
        ("avi", None, "ac3"),
        ("ts", "libx264", "aac"),
        ("ts", None, "mp2"),
        ("flv", "libx264", "aac"),
    ],
)
def test_sound_is_carried_over(tmp_path: Path, suffix: str, codec: str | None, sound: str) -> None:
    source = make_clip(tmp_path / f"clip.{suffix}", codec=codec, sound=sound)
    writer = copied(source, tmp_path / "drawn.mp4")
    assert writer.silence is None
    [(name, start, end)] = heard(tmp_path / "drawn.mp4")
    assert name.removesuffix("float") in {sound.removeprefix("lib"), "mp3"}
    assert start < 0.08
    assert 0.35 < end < 0.6
    assert len(times_ms(tmp_path / "drawn.mp4")) == FRAMES


def test_sound_that_an_mp4_cannot_hold_is_left_out_and_named(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.avi", sound="pcm_mulaw")  # as cameras of doors send it
    writer = copied(source, tmp_path / "drawn.mp4")
    assert writer.silence == "an mp4 cannot hold sound in pcm_mulaw"
    assert len(times_ms(tmp_path / "drawn.mp4")) == FRAMES


def test_sound_keeps_its_place_beside_pictures_that_start_late(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mkv", ticks=range(5, 5 + FRAMES), sound="flac")
    copied(source, tmp_path / "drawn.mp4")
    [(_, start, end)] = heard(tmp_path / "drawn.mp4")
    assert start < 0.1
    assert end == pytest.approx(0.3, abs=0.03)  # 0.2 of 0.5 seconds were before the first picture


def test_sound_that_is_damaged_does_not_cost_the_pictures(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.avi", sound="libmp3lame")
    content = bytearray(source.read_bytes())
    at = content.index(b"01wb")
    content[at + 8 : at + 60] = bytes(52)
    source.write_bytes(content)
    copied(source, tmp_path / "drawn.mp4")
    assert len(times_ms(tmp_path / "drawn.mp4")) == FRAMES


def test_sound_goes_on_behind_a_damaged_packet(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.ts", codec="libx264", sound="aac")
    with av.open(str(source)) as given:
        found = [packet for packet in given.demux(audio=0) if packet.size]
    middle = found[len(found) // 2]
    content = bytearray(source.read_bytes())
    at = content.index(bytes(middle)[:40])
    content[at : at + 7] = bytes(7)  # its header
    source.write_bytes(content)
    writer = copied(source, tmp_path / "drawn.mp4")
    assert writer.silence == "1 damaged part of its sound is left out"
    [(_, _, end)] = heard(tmp_path / "drawn.mp4")
    assert end > 0.4


def test_a_clip_without_sound_is_drawn_without(tmp_path: Path) -> None:
    writer = copied(make_clip(tmp_path / "clip.mp4"), tmp_path / "drawn.mp4")
    assert (writer.silence, heard(tmp_path / "drawn.mp4")) == (None, [])
