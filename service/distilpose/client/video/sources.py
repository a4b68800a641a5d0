"""The places that frames come from: files, addresses and cameras. Opens nothing."""

import re
import sys
from pathlib import Path
from typing import Final, NamedTuple

from distilpose.model.errors import DataError

_CAMERAS: Final = {"linux": ("/dev/video{}", "v4l2"), "darwin": ("{}:none", "avfoundation")}
_CAMERA_FILE: Final = re.compile(r"/dev/video\d+")
_LIVE: Final = ("rtsp", "rtsps", "rtp", "udp", "srt", "rtmp", "rtmps")
_PATIENCE_SECONDS: Final = 30.0


class Place(NamedTuple):
    """A source as FFmpeg is asked for it."""

    name: str
    input_format: str | None = None
    """FFmpeg's name of the input format; None where the bytes decide."""
    is_live: bool = False
    """True if frames come at their own pace: cameras and addresses that only stream."""
    patience_seconds: float | None = None
    """Longest wait for an answer; None where nothing is waited for."""

    @property
    def file(self) -> Path | None:
        """The file that is read, where it is one that can be looked into."""
        path = Path(self.name)
        return path if self.input_format is None and path.is_file() else None


def place_of(source: str, platform: str = sys.platform) -> Place:
    """The place of a file, an address that FFmpeg reads, or a camera by its number or device.

    Raises:
        DataError: the platform does not number its cameras.
    """
    if source.isdigit():
        if platform not in _CAMERAS:
            wrong = f"camera {source}: numbered cameras are supported on Linux and macOS only"
            raise DataError(wrong)
        name, kind = _CAMERAS[platform]
        return Place(name.format(source), kind, is_live=True)
    if _CAMERA_FILE.fullmatch(source):
        return Place(source, "v4l2", is_live=True)
    scheme, is_address, _ = source.partition("://")
    if not is_address:
        return Place(source)
    is_live = scheme.lower() in _LIVE
    return Place(source, is_live=is_live, patience_seconds=_PATIENCE_SECONDS)
