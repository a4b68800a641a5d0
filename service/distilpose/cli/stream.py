"""`distilpose stream`: poses of a video or a camera, from a running server."""

import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import click

from distilpose.cli.options import (
    IN_FILE,
    SHARE,
    frame_progress,
    refuse_sigma_without,
    reported_errors,
    sigma_option,
)
from distilpose.cli.outputs import (
    OUT_FILE,
    OUT_LINES,
    STANDARD_OUTPUT,
    files_in,
    overwrite_option,
    text,
    writing,
)

_IN_PART: Final = 3
"""The exit code where pictures of the video are missing or damaged."""


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
    type=OUT_LINES,
    default=STANDARD_OUTPUT,
    show_default=False,
    help="JSON lines; standard output by default.",
)
@click.option(
    "--coco",
    type=OUT_LINES,
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
@overwrite_option
def command(
    video: str,
    server: str,
    api_key_file: Path | None,
    ca: Path | None,
    out: Path | None,
    sigma: bool,
    lines: Path,
    coco: Path | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Find the people of VIDEO: a file, an address that FFmpeg reads, or a camera by its number.

    Prints one JSON line for each answer. A frame that cannot be answered gives a line with its
    error, and exit code 1 at the end. What is damaged in VIDEO is left out and reported, with exit
    code 3 at the end. Ctrl-C ends a camera's stream: the files then have the frames so far.
    """
    refuse_sigma_without(out, sigma=sigma)
    from distilpose.client import Client, PoseError, Tls

    with ExitStack() as opened:
        opened.enter_context(reported_errors(PoseError))
        files = {"--out": out, "--lines": lines, "--coco": coco}
        reads = [*files_in(video), api_key_file, ca]
        outputs = opened.enter_context(writing(files, reads, overwrite=overwrite))
        from distilpose.client.recording import Recorder
        from distilpose.client.video import VideoReader, written_like

        reader = opened.enter_context(VideoReader(video))
        drawn = None
        if out:
            unfinished = opened.enter_context(outputs.writing(out, keeps_part=True, alone=False))
            drawn = opened.enter_context(written_like(reader, unfinished))
        key = api_key_file.read_text().strip() if api_key_file else None
        client = opened.enter_context(Client(server, api_key=key, tls=Tls(ca=ca)))
        line_file = opened.enter_context(text(outputs, lines, keeps_part=True))
        coco_file = opened.enter_context(text(outputs, coco)) if coco else None
        recorder = Recorder(line_file, coco_file, drawn, draw_sigma=sigma)
        with suppress(KeyboardInterrupt), frame_progress() as on_progress:
            recorder.follow(client, reader, on_progress=on_progress, **options)
        recorder.finish()
        troubles = reader.troubles()
        if drawn and drawn.silence:
            click.echo(f"{out}: {drawn.silence}", err=True)
    for trouble in troubles:
        click.echo(trouble, err=True)
    sys.exit(1 if recorder.failed else _IN_PART if troubles else 0)
