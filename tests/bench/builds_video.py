"""Frames a second of one video stream, of our build beside another one, in alternating turns.

    python tests/bench/builds_video.py --old PYTHON [--dtype auto] [--turns 5] [--frames 150]

PYTHON is the interpreter of an environment that has the other build; `builds.py` says how to make
one, and what the precision means. The clip of `tests/support/moving_people.py`, enlarged to
1280x720, is sent as fast as it is answered, with the detector on each fifth frame. `found` counts
people with an answer (IoU of 0.5), and `switches` changes of somebody's track id.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("", "support")]

import cv2
import numpy as np
import psutil  # type: ignore[import-untyped]  # ultralytics brings it, without types

from bench.builds import in_turns, machine, running_build
from bench.streams import Recognised, one_stream
from moving_people import SIZE_WH, Clip, Person
from servers import Server
from soaking import PATIENT

FRAME_WH = (1280, 720)
DETECT_EVERY = 5


@dataclass
class Build:
    """A build's service, suspended between its turns, and what it recognised."""

    server: Server
    process: psutil.Process
    recognised: list[Recognised] = field(default_factory=list)

    def turn(self, jpegs: Sequence[bytes], truth: Sequence[list[Person]]) -> list[float]:
        """Frames a second of the clip, from the first to the last answer."""
        self.process.resume()
        streamed = one_stream(self.server.grpc_target, jpegs, detect_every=DETECT_EVERY)
        seconds, answers = asyncio.run(streamed)
        self.process.suspend()
        self.recognised.append(Recognised())
        for people, answer in zip(truth, answers, strict=True):
            self.recognised[-1].add(people, answer)
        return [len(jpegs) / seconds]


def enlarged(clip: Clip, frames: int) -> tuple[list[bytes], list[list[Person]]]:
    """The clip as JPEGs of `FRAME_WH`, its height filled, and the people in them."""
    scale = FRAME_WH[1] / SIZE_WH[1]
    width = round(SIZE_WH[0] * scale)
    left = (FRAME_WH[0] - width) // 2
    jpegs, truth = [], []
    for index in range(frames):
        picture = cv2.resize(clip.picture(index)[..., ::-1], (width, FRAME_WH[1]))
        right = FRAME_WH[0] - width - left
        picture = cv2.copyMakeBorder(picture, 0, 0, left, right, cv2.BORDER_REPLICATE)
        jpegs.append(cv2.imencode(".jpg", picture)[1].tobytes())
        truth.append([_moved(person, scale, left) for person in clip.people(index)])
    return jpegs, truth


def _moved(person: Person, scale: float, left_px: int) -> Person:
    shift = np.array([left_px, 0])
    return replace(
        person,
        box_xyxy_px=person.box_xyxy_px * scale + np.tile(shift, 2),
        keypoints_xy_px=person.keypoints_xy_px * scale + shift,
    )


@contextmanager
def build_of(python: str, folder: Path, dtype: str) -> Iterator[Build]:
    """The service of this interpreter's build, on the CPU, suspended."""
    settings = {"MODEL__DTYPE": dtype, **PATIENT}
    with running_build(python, folder, settings) as (server, process):
        process.suspend()
        yield Build(server, process)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--old", metavar="PYTHON", required=True, help="interpreter of the other build"
    )
    parser.add_argument("--dtype", choices=("float32", "auto"), default="auto")
    parser.add_argument("--turns", type=int, default=5, help="of each build")
    parser.add_argument("--frames", type=int, default=150, help="of the clip")
    options = parser.parse_args()
    jpegs, truth = enlarged(Clip(), options.frames)
    # Not resolved: an environment's interpreter is often a link to the one that created it.
    pythons = {"old": os.path.abspath(options.old), "new": sys.executable}  # noqa: PTH100 - resolve() follows links
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        builds = {
            build: running.enter_context(build_of(python, Path(name) / build, options.dtype))
            for build, python in pythons.items()
        }
        seen = in_turns(options.turns, builds, lambda build: build.turn(jpegs, truth))
    print(f"{machine()}; {options.turns} turns of {options.frames} frames, {options.dtype}")
    print("| | frames a second | found | switches | OKS |\n| --- | ---: | ---: | ---: | ---: |")
    for name, build in builds.items():
        last = build.recognised[-1]
        rate = statistics.median(seen[name][0])
        found = f"{last.found} of {last.people}"
        print(f"| {name} | {rate:.1f} | {found} | {last.switches} | {np.mean(last.oks):.3f} |")
    ratios = [new / old for old, new in zip(seen["old"][0], seen["new"][0], strict=True)]
    spread = f"{min(ratios):.2f}, {max(ratios):.2f}"
    print(f"times as fast: {statistics.median(ratios):.2f} (least, most: {spread})")


if __name__ == "__main__":
    main()
