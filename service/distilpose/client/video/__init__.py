"""Videos and cameras as frames, and drawn frames as an mp4. The only user of PyAV."""

from distilpose.client.video.reading import Shot, VideoReader
from distilpose.client.video.writing import VideoWriter, written_like

__all__ = ["Shot", "VideoReader", "VideoWriter", "written_like"]
