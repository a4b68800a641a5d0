#!/usr/bin/env bash
# Versions: av 18.1.0 (with its FFmpeg), numpy 2.2.6
# Guess: frames that are decoded in the order in which they are shown have times that rise, as they
#   do for the same H.264 in mp4, Matroska and MPEG-TS.
# Seen: an AVI has no times of its own, and with B-frames (libx264 writes them by default) the times
#   that are made up belong to other frames: the pictures come in order, their times do not, and the
#   first is 1/25 s late. A tracker or a smoother that believes them sees people jump back.
#     pictures:             0 1 2 3 4 5 6 7 8 9 10 11
#     times in avi:         1 3 4 2 6 7 5 9 10 8 12 11 twenty-fifths of a second
#     without B-frames:     1 2 3 4 5 6 7 8 9 10 11 12
#     times in matroska:    0 1 2 3 4 5 6 7 8 9 10 11
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet av==18.1.0 numpy==2.2.6

cd "$work"
venv/bin/python - <<'PYTHON'
import io

import av
import numpy as np

FRAMES, RATE = 12, 25
STEP = 20
"""Each picture is grey, and brighter than the one before it by so much: it says its number."""


def clip(container: str, b_frames: int) -> bytes:
    written = io.BytesIO()
    with av.open(written, "w", format=container) as file:
        options = {"bf": str(b_frames), "x264-params": "b-adapt=0"}
        stream = file.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(FRAMES):
            pixels = np.full((48, 64, 3), STEP * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return written.getvalue()


def shown(container: str, b_frames: int) -> tuple[list[int], list[int]]:
    """The numbers of the pictures, and their times in twenty-fifths of a second."""
    with av.open(io.BytesIO(clip(container, b_frames))) as file:
        frames = list(file.decode(video=0))
    numbers = [round(frame.to_ndarray(format="gray").mean() / STEP) for frame in frames]
    return numbers, [round(frame.time * RATE) for frame in frames]


for container, b_frames in (("avi", 2), ("avi", 0), ("matroska", 2)):
    numbers, times = shown(container, b_frames)
    print(container, f"{b_frames} B-frames: pictures", *numbers, "at", *times)
    assert numbers == list(range(FRAMES))
    assert (times == sorted(times)) == (container != "avi" or not b_frames)

assert shown("avi", 2)[1] == [1, 3, 4, 2, 6, 7, 5, 9, 10, 8, 12, 11]
assert shown("avi", 0)[1] == list(range(1, FRAMES + 1))
PYTHON
