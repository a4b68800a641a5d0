"""The places that frames come from."""

from pathlib import Path

import pytest

from distilpose.client.video.sources import Place, place_of
from distilpose.model.errors import DataError


def test_a_camera_is_found_by_its_number() -> None:
    assert place_of("1", "linux") == Place("/dev/video1", "v4l2", is_live=True)
    assert place_of("0", "darwin") == Place("0:none", "avfoundation", is_live=True)
    with pytest.raises(DataError, match="numbered cameras are supported on Linux and macOS only"):
        place_of("0", "win32")


def test_a_camera_is_found_by_its_device() -> None:
    assert place_of("/dev/video2", "linux") == Place("/dev/video2", "v4l2", is_live=True)


@pytest.mark.parametrize("address", ["rtsp://cam/1", "RTSP://cam/1", "udp://@:1234", "srt://a:1"])
def test_an_address_that_only_streams_is_live(address: str) -> None:
    place = place_of(address)
    assert (place.name, place.is_live, place.patience_seconds) == (address, True, 30)


def test_an_address_of_a_file_is_not_live_and_is_not_waited_for_without_end() -> None:
    place = place_of("https://example.com/live.m3u8")
    assert (place.is_live, place.patience_seconds, place.file) == (False, 30, None)


def test_a_file_can_be_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "1.mp4"
    path.write_bytes(b"x")
    assert place_of(str(path)) == Place(str(path))
    assert place_of(str(path)).file == path
    assert place_of(str(tmp_path / "gone.mp4")).file is None
    assert place_of("0", "linux").file is None
