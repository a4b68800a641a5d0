"""`distilpose stream`: poses of a video or a camera, from a running server."""

import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Final

import click

from distilpose.cli.options import (
    IN_FILE,
    SHARE,
    frame_progress,
    refuse_sigma_without,
    reported_errors,
    sigma_option,
)
from distilpose.cli.outputs import OUT_FILE, refuse_replacing
from distilpose.model.files import trouble_of_file

_STANDARD_OUTPUT: Final = ("-", "<stdout>")
_IN_PART: Final = 3
"""The exit code where pictures of the video are missing or damaged."""


def _writable(_: click.Context, __: click.Parameter, file: IO[str] | None) -> IO[str] | None:
    """The file, which click opens with the first line that is written into it."""
    path = _path_of(file)
    if path and (trouble := trouble_of_file(path)):
        raise click.BadParameter(trouble)
    return file


def _path_of(file: IO[str] | None) -> Path | None:
    """Path of a file that will be written; None for standard output."""
    return None if file is None or file.name in _STANDARD_OUTPUT else Path(file.name)


@click.command()
@click.argument("video")
@click.option("--server", default="grpc://localhost:9000", show_default=True)
@click.option(
    "--api-key-file",
    type=IN_FILE,
    help="File with the key, where the server asks for one.",
)
@click.option(
    "--ca",
    type=IN_FILE,
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
    help="Every frame, or the newest as it plays. Default: ordered; latest for what is live.",
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
    **options: Any,
) -> None:
    """Find the people of VIDEO: a file, an address that FFmpeg reads, or a camera by its number.

    Prints one JSON line for each answer. A frame that cannot be answered gives a line with its
    error, and exit code 1 at the end. What is damaged in VIDEO is left out and reported, with exit
    code 3 at the end. Ctrl-C ends a camera's stream.
    """
    refuse_sigma_without(out, sigma=sigma)
    texts = {"--lines": _path_of(lines), "--coco": _path_of(coco)}
    refuse_replacing({"--out": out, **texts}, [Path(video), api_key_file, ca])
    from distilpose.client import Client, PoseError, Tls

    with reported_errors(PoseError), ExitStack() as opened:
        from distilpose.client.recording import Recorder
        from distilpose.client.video import VideoReader, written_like

        reader = opened.enter_context(VideoReader(video))
        drawn = opened.enter_context(written_like(reader, out)) if out else None
        key = api_key_file.read_text().strip() if api_key_file else None
        client = opened.enter_context(Client(server, api_key=key, tls=Tls(ca=ca)))
        recorder = Recorder(lines, coco, drawn, draw_sigma=sigma)
        with suppress(KeyboardInterrupt), frame_progress() as on_progress:
            recorder.follow(client, reader, on_progress=on_progress, **options)
        recorder.finish()
        troubles = reader.troubles()
        if drawn and drawn.silence:
            click.echo(f"{out}: {drawn.silence}", err=True)
    for trouble in troubles:
        click.echo(trouble, err=True)
    sys.exit(1 if recorder.failed else _IN_PART if troubles else 0)
