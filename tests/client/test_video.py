"""Reading and writing videos."""

import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from distilpose.client.video import VideoReader, VideoWriter, camera
from distilpose.model.arrays import ImageHWC
from distilpose.model.errors import DataError


def picture(number: int, *, height: int = 48, width: int = 64) -> ImageHWC:
    """A dark picture, with a bright square that moves to the right."""
    image = np.full((height, width, 3), 20, np.uint8)
    image[8:24, 4 * number : 4 * number + 16] = (200, 60, 60)
    return image


def write(path: Path, times_ms: list[float], **size: int) -> Path:
    writer = VideoWriter(path, Fraction(25))
    for number, time_ms in enumerate(times_ms):
        writer.write(picture(number, **size), time_ms)
    writer.close()
    return path


def test_what_is_written_is_read_with_its_times(tmp_path: Path) -> None:
    times_ms = [500, 540, 580, 700, 1000.5]
    path = write(tmp_path / "clip.mp4", times_ms)
    with VideoReader(str(path)) as reader:
        shots = list(reader.shots())
        assert reader.frame_count == 5
        assert not reader.live
    assert [shot.timestamp_ms for shot in shots] == pytest.approx([0, 40, 80, 200, 500.5], abs=0.1)
    for number, shot in enumerate(shots):
        error = shot.image.astype(float) - picture(number)
        assert np.abs(error).mean() < 10


def test_odd_sides_are_written_even(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", [0, 40], height=47, width=63)
    with VideoReader(str(path)) as reader:
        assert next(reader.shots()).image.shape == (48, 64, 3)


def test_a_picture_of_another_size_keeps_the_files(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "clip.mp4", Fraction(25))
    writer.write(picture(0), 0)
    writer.write(picture(0, height=80, width=40), 40)
    writer.close()
    with VideoReader(str(tmp_path / "clip.mp4")) as reader:
        assert {shot.image.shape for shot in reader.shots()} == {(48, 64, 3)}


def test_a_turned_phones_video_is_upright(tmp_path: Path) -> None:
    plain = write(tmp_path / "clip.mp4", [0, 40])
    turned = tmp_path / "turned.mp4"
    with av.open(str(plain)) as source, av.open(str(turned), "w") as target:
        given = source.streams.video[0]
        copied = target.add_stream_from_template(given)
        for packet in source.demux(given):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    turned.write_bytes(turn_clockwise(turned.read_bytes()))
    with VideoReader(str(turned)) as reader:
        image = next(reader.shots()).image
    assert image.shape == (64, 48, 3)
    expected = np.rot90(picture(0), -1)
    assert np.abs(image.astype(float) - expected).mean() < 10


def turn_clockwise(mp4: bytes) -> bytes:
    """The file with its track's matrix turned by 90 degrees; source: ISO/IEC 14496-12, `tkhd`."""
    upright = np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
    turned = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30], ">i4").tobytes()
    at = mp4.index(upright, mp4.index(b"tkhd"))
    return mp4[:at] + turned + mp4[at + len(upright) :]


def test_in_real_time_nothing_comes_before_its_time(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", [0, 150, 300])
    with VideoReader(str(path)) as reader:
        began, times_ms = time.monotonic(), []
        for shot in reader.shots(in_real_time=True):
            assert (time.monotonic() - began) * 1000 >= shot.timestamp_ms - 1
            times_ms.append(shot.timestamp_ms)
    assert times_ms == pytest.approx([0, 150, 300], abs=0.1)


@pytest.mark.parametrize("content", [b"", b"no video at all" * 50])
def test_a_file_that_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"clip\.mp4: cannot be opened"):
        VideoReader(str(path))


def test_a_missing_video_and_an_unwritable_place_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.mp4: cannot be opened: No such file"):
        VideoReader(str(tmp_path / "gone.mp4"))
    writer = VideoWriter(tmp_path / "gone" / "clip.mp4", Fraction(25))
    with pytest.raises(DataError, match=r"clip\.mp4: cannot be written: No such file"):
        writer.write(picture(0), 0)
    writer.close()


def test_a_camera_is_found_by_its_number() -> None:
    assert camera("1", "linux") == ("/dev/video1", "v4l2")
    assert camera("0", "darwin") == ("0:none", "avfoundation")
    with pytest.raises(DataError, match="numbered cameras are supported on Linux and macOS only"):
        camera("0", "win32")
