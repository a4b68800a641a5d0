"""`distilpose stream`: poses of a video or a camera, from a running server."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from distilpose.cli.options import SHARE, refuse_sigma_without, reported_errors, sigma_option
from distilpose.cli.outputs import OUT_FILE, refuse_replacing, trouble_of_file

if TYPE_CHECKING:
    from distilpose.client import Client, Frame, FrameAnswer
    from distilpose.client.video import Shot, VideoReader, VideoWriter
    from distilpose.model.arrays import ImageHWC

_STANDARD_OUTPUT: Final = ("-", "<stdout>")
_KEPT_FRAMES: Final = 64
"""Pictures that wait to be drawn; more would be too late to be looked at."""


def _writable(_: click.Context, __: click.Parameter, file: IO[str] | None) -> IO[str] | None:
    """The file, which click opens with the first line that is written into it."""
    path = _path_of(file)
    if path and (trouble := trouble_of_file(path)):
        raise click.BadParameter(trouble)
    return file


def _path_of(file: IO[str] | None) -> Path | None:
    """Where a file will be written; None for standard output."""
    return None if file is None or file.name in _STANDARD_OUTPUT else Path(file.name)


@click.command()
@click.argument("video")
@click.option("--server", default="grpc://localhost:9000", show_default=True)
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the key, where the server asks for one.",
)
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificates that a grpcs:// server's must lead to.",
)
@click.option(
    "--out",
    type=OUT_FILE,
    help="An mp4 with boxes, skeletons and ids drawn.",
)
@sigma_option
@click.option(
    "--lines",
    type=click.File("w"),
    callback=_writable,
    default="-",
    help="JSON lines; standard output by default.",
)
@click.option(
    "--coco",
    type=click.File("w"),
    callback=_writable,
    help="A COCO results file; image ids are frame ids.",
)
@click.option(
    "--mode",
    type=click.Choice(["ordered", "latest"]),
    help="Every frame, or the newest as it plays. Default: ordered; latest for a camera.",
)
@click.option("--track/--no-track", default=True, show_default=True, help="Say who is who.")
@click.option(
    "--detect-every",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Run the detector on every Nth frame.",
)
@click.option("--smooth", is_flag=True, help="Smooth each person's keypoints over time.")
@click.option("--min-box-score", type=SHARE, help="Default: the server's.")
@click.option(
    "--min-keypoint-score",
    type=SHARE,
    help="Keypoints below are not visible, and not drawn. Default: the server's.",
)
@click.option("--jpeg", is_flag=True, help="Send JPEGs in place of pixels, for slow networks.")
def command(
    video: str,
    server: str,
    api_key_file: Path | None,
    ca: Path | None,
    out: Path | None,
    sigma: bool,
    lines: IO[str],
    coco: IO[str] | None,
    mode: str | None,
    jpeg: bool,
    **options: Any,
) -> None:
    """Find the people of VIDEO: a file, an address that FFmpeg reads, or a camera by its number.

    Prints one JSON line for each answer. A frame that cannot be answered gives a line with its
    error, and exit code 1 at the end. Ctrl-C ends a camera's stream.
    """
    refuse_sigma_without(out, sigma=sigma)
    texts = {"--lines": _path_of(lines), "--coco": _path_of(coco)}
    refuse_replacing({"--out": out, **texts}, [Path(video), api_key_file, ca])
    with _explained(), ExitStack() as opened:
        from distilpose.client import Client, Tls
        from distilpose.client.video import VideoReader, VideoWriter

        reader = opened.enter_context(VideoReader(video))
        writer = VideoWriter(out, reader.frames_a_second) if out else None
        if writer:
            opened.enter_context(closing(writer))
        key = api_key_file.read_text().strip() if api_key_file else None
        client = opened.enter_context(Client(server, api_key=key, tls=Tls(ca=ca)))
        options["mode"] = mode or ("latest" if reader.live else "ordered")
        outputs = _Outputs(writer, lines, coco, draw_sigma=sigma)
        with suppress(KeyboardInterrupt):
            _stream(client, reader, outputs, options=options, jpeg=jpeg)
        outputs.finish()
    sys.exit(1 if outputs.failed else 0)


@contextmanager
def _explained() -> Iterator[None]:
    """What goes wrong on purpose becomes one line on standard error and exit code 1."""
    from distilpose.client.errors import PoseError

    try:
        with reported_errors():
            yield
    except PoseError as err:
        raise click.ClickException(str(err)) from err
    except ModuleNotFoundError as err:
        if err.name != "av":
            raise
        text = "this command needs av: pip install 'distilpose[video]'"
        raise click.ClickException(text) from err


def _stream(
    client: "Client",
    reader: "VideoReader",
    outputs: "_Outputs",
    *,
    options: dict[str, Any],
    jpeg: bool,
) -> None:
    plays = options["mode"] == "latest" and not reader.live
    shots = outputs.watched(reader.shots(in_real_time=plays))
    with (
        _progress(reader.frame_count) as done,
        closing(
            client.stream((_to_frame(shot, jpeg=jpeg) for shot in shots), **options)
        ) as answers,
    ):
        for answer in answers:
            outputs.take(answer)
            done(1 + len(answer.dropped_frame_ids))


def _to_frame(shot: "Shot", *, jpeg: bool) -> "Frame":
    from distilpose.client import Frame
    from distilpose.model.drawing.encode import encode

    picture = encode(shot.image, "jpeg") if jpeg else shot.image
    return Frame(picture, shot.timestamp_ms)


@contextmanager
def _progress(total: int | None) -> Iterator[Any]:
    """A bar on standard error, which gets how many more frames are done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("frames", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("frames", total=total)
        yield lambda count: progress.advance(bar, count)


@dataclass
class _Outputs:
    """Where answers go."""

    video: "VideoWriter | None"
    lines: IO[str]
    coco: IO[str] | None
    draw_sigma: bool
    failed: int = 0
    _coco_entries: list[dict[str, Any]] = field(default_factory=list)
    _images: "dict[int, ImageHWC]" = field(default_factory=dict)

    def watched(self, shots: "Iterator[Shot]") -> "Iterator[Shot]":
        """The same, kept until they are drawn."""
        for frame_id, shot in enumerate(shots):
            if self.video:
                self._images[frame_id] = shot.image
                self._images.pop(frame_id - _KEPT_FRAMES, None)
            yield shot

    def take(self, answer: "FrameAnswer") -> None:
        """Write one answer down."""
        from distilpose.client.adapters import coco_results
        from distilpose.client.results import to_fields

        head: dict[str, Any] = {
            "frame_id": answer.frame_id,
            "timestamp_ms": round(answer.timestamp_ms, 3),
        }
        if answer.dropped_frame_ids:
            head["dropped_frame_ids"] = answer.dropped_frame_ids
        click.echo(json.dumps(head | to_fields(answer)), file=self.lines)
        self.failed += answer.error is not None
        if self.coco:
            self._coco_entries += coco_results([(answer.frame_id, answer)])
        if self.video:
            self._draw(self.video, answer)

    def _draw(self, video: "VideoWriter", answer: "FrameAnswer") -> None:
        from distilpose.model.drawing.skeletons import draw_poses

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
