"""Video streams: tracking, the gain and cost of following, and many streams of 10 fps at once.

    python tests/bench/streams.py [--frames 250] [--seconds 20] [--streams 1 8 32]

First one stream of the clip of `tests/moving_people.py`, whose people are known, as fast as it is
answered, with the detector on each frame and on each fifth; OKS covers the visible keypoints of
everybody who was found (IoU of 0.5). A switch is a change of somebody's track id. Then streams of
10 frames a second in both modes: frames answered per second; milliseconds from the time a frame was
due to its answer; shares of frames dropped, and failed by deadline, among those reported in that
time. In mode ordered, frames that are not read yet wait with their caller and age there.
"""

import argparse
import asyncio
import math
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("", "support")]

import cv2
import numpy as np
import psutil  # type: ignore[import-untyped]  # no py.typed there

from distilpose.model.container import usable_cpus
from distilpose.model.similarity import match_people, oks
from distilpose.model.skeleton import AREA_SHARE
from distilpose.v1 import pose_pb2
from grpc_callers import stream_stub
from moving_people import Clip, Person, timestamp_ms
from servers import Server, start
from soaking import PATIENT

Answer = pose_pb2.StreamPoseResponse
FRAMES_A_SECOND = 10
FOUND_IOU = 0.5


@dataclass
class Recognised:
    """The quality of detection and tracking."""

    oks: list[float] = field(default_factory=list)
    people: int = 0
    found: int = 0
    switches: int = 0
    numbers: dict[int, int] = field(default_factory=dict)
    """The last track id of each person."""

    def add(self, people: Sequence[Person], answer: Answer) -> None:
        """Compare one frame's answer with the truth."""
        self.people += len(people)
        overlap = np.array([[_iou(person, pose) for pose in answer.poses] for person in people])
        overlap[overlap < FOUND_IOU] = 0
        matches = match_people(overlap.reshape(len(people), -1))
        for person, index in zip(people, matches, strict=True):
            if index is not None:
                self._add_found(person, answer.poses[index])

    def _add_found(self, person: Person, pose: pose_pb2.Pose) -> None:
        self.found += 1
        self.switches += self.numbers.get(person.number, pose.track_id) != pose.track_id
        self.numbers[person.number] = pose.track_id
        if person.is_seen.any():
            keypoints = np.array([(point.x, point.y) for point in pose.keypoints])
            box = person.box_xyxy_px
            area_px2 = float((box[2:] - box[:2]).prod()) * AREA_SHARE
            true_xy_px = person.keypoints_xy_px
            self.oks.append(
                float(oks(keypoints, true_xy_px, area_px2=area_px2, counted=person.is_seen))
            )


def _iou(person: Person, pose: pose_pb2.Pose) -> float:
    some = person.box_xyxy_px
    other = np.array([pose.box.x1, pose.box.y1, pose.box.x2, pose.box.y2])
    sides = np.minimum(some[2:], other[2:]) - np.maximum(some[:2], other[:2])
    common = float(sides.clip(0).prod())
    both = float((some[2:] - some[:2]).prod() + (other[2:] - other[:2]).prod())
    return common / (both - common)


def opening(**options: Any) -> pose_pb2.StreamPoseRequest:
    """The first message of a stream."""
    return pose_pb2.StreamPoseRequest(options=pose_pb2.StreamOptions(**options))


def pictured(number: int, at_ms: float, jpeg: bytes) -> pose_pb2.StreamPoseRequest:
    """A frame."""
    frame = pose_pb2.Frame(frame_id=number, timestamp_ms=at_ms, encoded=jpeg)
    return pose_pb2.StreamPoseRequest(frame=frame)


async def one_stream(
    target: str, jpegs: Sequence[bytes], **options: Any
) -> tuple[float, list[Answer]]:
    """Send a stream as fast as it is answered; return the seconds taken and the answers."""
    messages = [opening(track=True, **options)]
    messages += [pictured(i, timestamp_ms(i), jpeg) for i, jpeg in enumerate(jpegs)]
    began = time.perf_counter()
    async with stream_stub(target) as stub:
        answers = [answer async for answer in stub.StreamPose(iter(messages))]
    return time.perf_counter() - began, answers


@dataclass
class Row:
    """The total answers of many streams."""

    dropped: int = 0
    failed: int = 0
    ages_seconds: list[float] = field(default_factory=list)

    def add(self, answer: Answer, *, age_seconds: float) -> None:
        """Record an answer."""
        self.dropped += len(answer.dropped_frame_ids)
        if answer.HasField("error"):
            self.failed += 1
        else:
            self.ages_seconds.append(age_seconds)

    def __str__(self) -> str:
        ages = np.array(self.ages_seconds) * 1000
        p50, p95 = np.percentile(ages, [50, 95]) if len(ages) else (np.nan, np.nan)
        reported = len(ages) + self.dropped + self.failed
        dropped, failed = (count / max(reported, 1) for count in (self.dropped, self.failed))
        return f"{p50:11.0f} {p95:7.0f} {dropped:8.0%} {failed:7.0%}"


async def camera(
    target: str, jpegs: Sequence[bytes], row: Row, *, seconds: float, **options: Any
) -> None:
    """One stream of 10 frames a second."""
    began = time.perf_counter()

    async def messages() -> AsyncIterator[pose_pb2.StreamPoseRequest]:
        yield opening(track=True, **options)
        number = 0
        while True:
            due = began + number / FRAMES_A_SECOND
            await asyncio.sleep(due - time.perf_counter())
            yield pictured(number, 1000 * (due - began), jpegs[number % len(jpegs)])
            number += 1

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), stream_stub(target) as stub:
            async for answer in stub.StreamPose(messages()):
                age_seconds = time.perf_counter() - began - answer.timestamp_ms / 1000
                row.add(answer, age_seconds=age_seconds)


def recognition(server: Server, clip: Clip, jpegs: Sequence[bytes], *, rounds: int) -> None:
    """Print the gain and cost of following; rounds alternate, and the best one counts."""
    best = {1: Cost(), 5: Cost()}
    results: dict[int, Recognised] = {}
    truth = [clip.people(index) for index in range(len(jpegs))]
    for _ in range(rounds):
        for every, cost in best.items():
            spent = cpu_seconds(server)
            took, answers = asyncio.run(one_stream(server.grpc_target, jpegs, detect_every=every))
            best[every] = cost.least(Cost(took, cpu_seconds(server) - spent))
            results[every] = Recognised()
            for people, answer in zip(truth, answers, strict=True):
                results[every].add(people, answer)
    print("detect_every  frames/s  CPU ms/frame    OKS  people found  switches")
    for every, result in results.items():
        cost, frames = best[every], len(jpegs)
        print(
            f"{every:12} {frames / cost.seconds:9.1f} {1000 * cost.cpu_seconds / frames:13.0f} "
            f"{np.mean(result.oks):6.3f} {result.found:5} of {result.people:5} "
            f"{result.switches:9}"
        )
    faster = best[1].seconds / best[5].seconds
    cheaper = best[1].cpu_seconds / best[5].cpu_seconds
    print(f"detect_every 5: {faster:.2f} times as fast, {cheaper:.2f} times less CPU time")


class Cost(NamedTuple):
    """The cost of a run of the clip."""

    seconds: float = math.inf
    cpu_seconds: float = math.inf
    """CPU time of the server, in seconds."""

    def least(self, other: "Cost") -> "Cost":
        """The minimum of both, field by field."""
        return Cost(*map(min, zip(self, other, strict=True)))


def cpu_seconds(server: Server) -> float:
    """The CPU time of the server's process so far."""
    times = psutil.Process(server.process.pid).cpu_times()
    return float(times.user + times.system)


def many(target: str, jpegs: Sequence[bytes], options: argparse.Namespace) -> None:
    """Print the rows of many streams."""
    print("mode     detect_every  streams  frames/s  age p50 ms  p95 ms  dropped  failed")
    for every in (1, 5):
        for mode in ("ORDERED", "LATEST"):
            for streams in options.streams:
                row = Row()
                cameras = [
                    camera(
                        target,
                        [*jpegs[7 * number % len(jpegs) :], *jpegs[: 7 * number % len(jpegs)]],
                        row,
                        seconds=options.seconds,
                        mode=pose_pb2.StreamMode.Value(f"STREAM_MODE_{mode}"),
                        detect_every=every,
                    )
                    for number in range(streams)
                ]
                asyncio.run(together(cameras))
                rate = len(row.ages_seconds) / options.seconds
                print(f"{mode.lower():8} {every:12} {streams:8} {rate:9.1f} {row}", flush=True)


async def together(cameras: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all of them concurrently."""
    await asyncio.gather(*cameras)


@contextmanager
def running_server(**settings: str) -> Iterator[Server]:
    """A server that runs while the context is open."""
    with tempfile.TemporaryDirectory() as folder:
        server, log = start(Path(folder), 0, settings)
        try:
            server.wait_until_ready()
            yield server
        finally:
            server.stop()
            log.close()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=250, help="of the clip")
    parser.add_argument("--rounds", type=int, default=2, help="of the clip; the best counts")
    parser.add_argument("--seconds", type=float, default=20, help="of each row of streams")
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 8, 32])
    options = parser.parse_args()
    clip = Clip()
    jpegs = []
    for index in range(options.frames):
        _, jpeg = cv2.imencode(".jpg", clip.picture(index)[..., ::-1])
        jpegs.append(jpeg.tobytes())
    print(f"{usable_cpus()} CPUs, load {os.getloadavg()[0]:.1f}")
    with running_server(**PATIENT) as server:
        recognition(server, clip, jpegs, rounds=options.rounds)
    with running_server() as server:
        many(server.grpc_target, jpegs, options)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
