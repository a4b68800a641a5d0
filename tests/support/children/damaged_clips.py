"""Reads damaged clips one after the other, in a process of its own: FFmpeg may crash.

python damaged_clips.py FOLDER FIRST_SEED COUNT
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from clips import KINDS, damaged, make_clip
from distilpose.client.video import VideoReader
from distilpose.model.errors import DataError


def pictures_of(path: Path) -> int:
    """Number of pictures; 0 if the clip is refused."""
    try:
        with VideoReader(str(path)) as reader:
            found = sum(1 for _ in reader.shots())
            reader.troubles()
    except DataError:
        return 0
    assert found, "a clip without pictures was not refused"
    return found


def main(folder: Path, first: int, count: int) -> None:
    whole = {suffix: make_clip(folder / f"whole.{suffix}").read_bytes() for suffix in KINDS}
    for suffix in ("mov", "3gp"):
        options = {"movflags": "faststart"}
        whole[suffix] = make_clip(folder / f"whole.{suffix}", options=options).read_bytes()
    answered = 0
    for seed in range(first, first + count):
        suffix = list(KINDS)[seed % len(KINDS)]
        path = folder / f"clip.{suffix}"
        path.write_bytes(damaged(whole[suffix], seed))
        answered += pictures_of(path) > 0
    sys.stdout.write(json.dumps({"answered": answered}))


main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
