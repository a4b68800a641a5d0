"""Served crops and photos a second beside the engine's own and two other servers', in one run.

    python tests/bench/serve.py [--peers PYTHON] [--seconds 4] [--callers 1 4 16 64]

About a quarter of an hour on two cores. PYTHON is the interpreter of a separate environment:

    python -m venv peers && peers/bin/pip install -e '.[openvino]' litserve mosec

`boxes` are requests of bus.jpg with 16 given boxes, counted in crops and compared with the engine
alone at its largest bucket; `photos` are bus.jpg through the detector, compared with the predictor
in a plain loop, photo by photo. All contestants use the same networks, threads and JSON bodies, and
they take turns, so that other load on the machine affects all of them.

Columns: latency in milliseconds; mean batch of the detector and of the student; padding of batches;
requests refused and failed, items dropped; decode's share of the work in stages; the share of the
time that the device computed; the server's CPU time per item; the shares of the machine's CPU time
used by the load generator and others; the server's MiB before and after.
"""

import argparse
import base64
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("", "support")]

import numpy as np

from bench.contestants import (
    Alone,
    Contestant,
    Load,
    Outcome,
    Served,
    Workload,
    our_server,
    peer_server,
)
from bench.plain import MIN_BOX_SCORE, Photo, Poser, decode
from bench.report import HEAD, Results, goals, row
from distilpose.model import crop, geometry
from distilpose.model.arrays import FloatArray
from distilpose.model.container import usable_cpus
from distilpose.v1 import pose_pb2
from photos import BUS_BOXES_XYXY_PX, BUS_SIZE_WH, photo

PEERS = ("litserve", "mosec")
OURS = ("rest", "grpc")
ALONE = {"boxes": "engine", "photos": "plain"}
"""The baseline of each workload."""


def boxes_16() -> FloatArray:
    """16 boxes on bus.jpg: its four people, four times each, slightly moved."""
    shifts = np.array([(dx, dy, dx, dy) for dx in (-4, 4) for dy in (-4, 4)], np.float32)
    boxes = np.array(BUS_BOXES_XYXY_PX, np.float32)[:, None] + shifts
    return geometry.clip_boxes(boxes.reshape(16, 4), BUS_SIZE_WH)


def workloads(data: bytes, people: int) -> list[Workload]:
    """Both kinds of requests; `people` is the number that the detector finds."""
    image = {"content": base64.b64encode(data).decode()}
    boxes = boxes_16().tolist()
    given = [pose_pb2.Box(x1=x1, y1=y1, x2=x2, y2=y2) for x1, y1, x2, y2 in boxes]
    message = pose_pb2.EstimatePoseRequest(images=[pose_pb2.Image(encoded=data)])
    photos = Workload(
        name="photos",
        unit="photos",
        items=1,
        people=people,
        json_body=json.dumps({"images": [image]}).encode(),
        message=message.SerializeToString(),
    )
    message.options.boxes.add(boxes=given)
    with_boxes = Workload(
        name="boxes",
        unit="crops",
        items=len(boxes),
        people=len(boxes),
        json_body=json.dumps({"images": [image], "options": {"boxes": [boxes]}}).encode(),
        message=message.SerializeToString(),
    )
    return [with_boxes, photos]


def alone(poser: Poser, data: bytes) -> dict[str, Alone]:
    """The baseline of each workload."""
    predictor = poser.predictor
    bucket = predictor.engine.buckets[-1]
    crops = crop.cut(decode(data), geometry.crop_regions(boxes_16()))[:bucket]

    def plain() -> None:
        image = decode(data)
        [people] = predictor.detect([image], min_box_score=MIN_BOX_SCORE)
        predictor.poses(image, people.boxes_xyxy_px, people.scores)

    return {
        "boxes": Alone(ALONE["boxes"], lambda: predictor.engine.run(crops), bucket),
        "photos": Alone(ALONE["photos"], plain, 1),
    }


def take_turns(
    workload: Workload, load: Load, contestants: Sequence[Contestant], rounds: int
) -> dict[str, Outcome]:
    """The outcome of each contestant under one load, all bursts added up."""
    outcomes = {each.name: Outcome() for each in contestants}
    for _ in range(rounds):
        for each in contestants:
            outcomes[each.name].add(each.run(workload, load))
    return outcomes


def closed_loops(
    options: argparse.Namespace,
    workload: Workload,
    contestants: Sequence[Contestant],
    results: Results,
) -> None:
    """Callers who wait for their answers and, if refused, for the retry delay."""
    for callers in options.callers:
        load = Load(seconds=options.seconds, callers=callers)
        outcomes = take_turns(workload, load, contestants, options.rounds)
        print(f"{workload.name}, {callers} callers, {workload.unit}\n{HEAD}")
        for name, outcome in outcomes.items():
            results[workload.name, in_words(callers), name] = outcome
            print(row(name, outcome, alone=outcomes[contestants[0].name]), flush=True)


def open_loops(
    options: argparse.Namespace, workload: Workload, server: Served, results: Results
) -> None:
    """Requests at random times, at shares of the best rate of the closed loops."""
    of_it = {key: each for key, each in results.items() if key[0] == workload.name}
    best = max(each.items_per_second for key, each in of_it.items() if key[2] == server.name)
    alone = next(each for key, each in reversed(of_it.items()) if key[2] in ALONE.values())
    print(f"{workload.name}, no matter how they are answered, {workload.unit}\n{HEAD}")
    for share in options.rates:
        load = Load(seconds=options.open_loop_seconds, rate=share * best / workload.items)
        outcome = server.run(workload, load)
        print(row(f"{server.name} {share:.0%}", outcome, alone=alone), flush=True)
        if share > 1:
            bound = longest_wait_seconds(workload, server, outcome)
            print(f"  what the queues hold takes {bound * 1000:.0f} ms at that speed")


def longest_wait_seconds(workload: Workload, server: Served, outcome: Outcome) -> float:
    """The longest possible wait of an accepted request: for full queues and its own items."""
    crops = server.gauge("queue_capacity", "pose")
    if workload.unit == "crops":
        items = crops + workload.items
    else:
        items = server.gauge("queue_capacity", "detect") + crops / workload.people + workload.items
    return items / outcome.items_per_second


def in_words(callers: int) -> str:
    """Describe a load of the closed loop."""
    return f"{callers} callers"


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter that has litserve and mosec")
    parser.add_argument("--seconds", type=float, default=4, help="of a burst of requests")
    parser.add_argument("--rounds", type=int, default=2, help="bursts of each under each load")
    parser.add_argument("--callers", type=int, nargs="*", default=[1, 4, 16, 64])
    parser.add_argument("--rates", type=float, nargs="*", default=[0.5, 0.9, 1.5])
    parser.add_argument("--open-loop-seconds", type=float, default=30, help="at each rate")
    parser.add_argument("--transport", nargs="*", default=list(OURS), choices=OURS)
    parser.add_argument("--workload", nargs="*", default=list(ALONE), choices=ALONE)
    return parser.parse_args(arguments)


def main() -> None:
    """Print the table."""
    options = parsed()
    data = photo("bus.jpg")
    poser = Poser()
    people = len(poser.poses([Photo(decode(data), None)])[0])
    by_itself = alone(poser, data)
    peers = PEERS if options.peers else ()
    results: Results = {}
    print(f"{usable_cpus()} CPUs, load {os.getloadavg()[0]:.1f}, {poser.predictor.engine.runtime}")
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        ours = running.enter_context(our_server(folder))
        asked = workloads(data, people)
        rivals = [
            running.enter_context(peer_server(each, options.peers, folder, asked[0].json_body))
            for each in peers
        ]
        for workload in (each for each in asked if each.name in options.workload):
            servers = [ours[transport] for transport in options.transport]
            everyone: list[Contestant] = [by_itself[workload.name], *servers, *rivals]
            closed_loops(options, workload, everyone, results)
            for server in servers if options.rates else []:
                open_loops(options, workload, server, results)
    for callers in options.callers:
        goals(results, load=in_words(callers), alone=ALONE, peers=peers)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
