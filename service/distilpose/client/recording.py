"""Follows a video or a camera by a server, and writes the answers down in the form asked for.

Needs OpenCV and PyAV, other than the client itself. Opens no files.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import IO, Any, Final, Literal, Unpack

from distilpose.client.adapters import coco_results
from distilpose.client.options import StreamOptions
from distilpose.client.pictures import Frame
from distilpose.client.results import FrameAnswer, to_fields
from distilpose.client.synchronous import Client
from distilpose.client.video import Shot, VideoReader, VideoWriter
from distilpose.model.arrays import ImageHWC
from distilpose.model.drawing.encode import encode
from distilpose.model.drawing.skeletons import draw_poses

_KEPT_FRAMES: Final = 64
"""Pictures that wait to be drawn; more would be too late to be looked at."""


@dataclass
class Recorder:
    """Writes down what a server answers of a video's frames."""

    lines: IO[str]
    """Gets a JSON line for each answer."""
    coco: IO[str] | None = None
    """Gets a COCO results file, in which image ids are frame ids."""
    video: VideoWriter | None = None
    """Gets the frames with boxes, skeletons and ids drawn."""
    draw_sigma: bool = False
    failed: int = field(default=0, init=False)
    """Frames that could not be answered."""
    _coco_entries: list[dict[str, Any]] = field(default_factory=list, init=False)
    _images: dict[int, ImageHWC] = field(default_factory=dict, init=False)
    _file_times_ms: dict[int, float | None] = field(default_factory=dict, init=False)

    def follow(
        self,
        client: Client,
        reader: VideoReader,
        *,
        jpeg: bool = False,
        on_progress: Callable[[int, int | None], None] = lambda done, total: None,
        **options: Unpack[StreamOptions],
    ) -> None:
        """Have the frames answered, as JPEGs or as pixels, and write each answer down.

        The mode is `latest` for a camera and else `ordered`, where `options` does not say it; a
        file in `latest` mode plays at its own speed. `on_progress` gets frames done, dropped ones
        included, and about how many there are in all, None where that is not known.

        Raises:
            PoseError: the stream cannot go on.
            DataError: no picture can be decoded, or the drawn video cannot be written.
        """
        options["mode"] = options.get("mode") or default_mode(reader)
        shots = reader.shots(in_real_time=options["mode"] == "latest" and not reader.live)
        frames = (_to_frame(shot, jpeg=jpeg) for shot in self._watched(shots))
        done = 0
        with closing(client.stream(frames, **options)) as answers:
            for answer in answers:
                self.take(answer)
                done += 1 + len(answer.dropped_frame_ids)
                on_progress(done, reader.frame_count)

    def _watched(self, shots: Iterator[Shot]) -> Iterator[Shot]:
        """Yield the shots, and keep their times and pictures until they are written and drawn."""
        for frame_id, shot in enumerate(shots):
            self._file_times_ms[frame_id] = shot.file_time_ms
            if self.video:
                self._images[frame_id] = shot.image
                self._images.pop(frame_id - _KEPT_FRAMES, None)
            yield shot

    def take(self, answer: FrameAnswer) -> None:
        """Write one answer down."""
        file_time_ms = self._file_times_ms.pop(answer.frame_id, None)
        for dropped in answer.dropped_frame_ids:
            self._file_times_ms.pop(dropped, None)
        self.lines.write(json.dumps(line_of(answer, file_time_ms)) + "\n")
        self.lines.flush()
        self.failed += answer.error is not None
        if self.coco:
            self._coco_entries += coco_results([(answer.frame_id, answer)])
        if self.video:
            self._draw(self.video, answer)

    def _draw(self, video: VideoWriter, answer: FrameAnswer) -> None:
        image = self._images.pop(answer.frame_id, None)
        for dropped in answer.dropped_frame_ids:
            self._images.pop(dropped, None)
        if image is None:
            return
        labels = [
            f"{pose.score:.2f}" if pose.track_id is None else f"{pose.track_id}: {pose.score:.2f}"
            for pose in answer.poses
        ]
        drawn = draw_poses(
            image,
            answer.poses,
            visible=[pose.visible for pose in answer.poses],
            draw_sigma=self.draw_sigma,
            labels=labels,
        )
        video.write(drawn, answer.timestamp_ms)

    def finish(self) -> None:
        """Write what can only be written as a whole."""
        if self.coco:
            json.dump(self._coco_entries, self.coco)


def default_mode(reader: VideoReader) -> Literal["ordered", "latest"]:
    """The newest frame of a camera, every frame of a file."""
    return "latest" if reader.live else "ordered"


def line_of(answer: FrameAnswer, file_time_ms: float | None = None) -> dict[str, Any]:
    """A frame's answer as JSON can hold it, with its number, its times and what was dropped."""
    head: dict[str, Any] = {
        "frame_id": answer.frame_id,
        "timestamp_ms": round(answer.timestamp_ms, 3),
        "file_time_ms": None if file_time_ms is None else round(file_time_ms, 3),
    }
    if answer.dropped_frame_ids:
        head["dropped_frame_ids"] = answer.dropped_frame_ids
    return head | to_fields(answer)


def _to_frame(shot: Shot, *, jpeg: bool) -> Frame:
    picture = encode(shot.image, "jpeg") if jpeg else shot.image
    return Frame(picture, shot.timestamp_ms)
