"""Profile a training step, and compare the speed of steps with another trainer's.

    python tests/bench/train_feed.py RUN.yaml [GROUP.FIELD=VALUE ...]

RUN.yaml is a run of `distilpose train`, measured as at its start: waiting for people, augmentation,
teacher, the rest. On a GPU each part is synchronised, which is slower than training: crops a second
come from a pass that synchronises once. The teacher's part is measured separately on the same
batch.

    python tests/bench/train_feed.py RUN.yaml --kit FOLDER [--people 400] [GROUP.FIELD=VALUE ...]

compares whole steps (load, augment, step) with those of the trainer in FOLDER, the prototype that
trained the first student on the trunk: alternating turns of two processes of one thread each, on
the same few people, with the same batch size and precision. The prototype's weights are in its own
folder, the run's are those of `start_from`. Crops per second of CPU time exclude other work on the
machine; wall time is shown beside them.
"""

import argparse
import gzip
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from distilpose.cli.train.options import overrides_of
from distilpose.model.train.feed import augment, augment_cpu
from distilpose.model.train.feed.batch import StoredBatch, TrainBatch
from distilpose.model.train.loop import Run
from distilpose.model.train.observers import Observers
from distilpose.model.train.prepare import prepare
from distilpose.model.train.schedule import augment_strength, input_size_hw
from distilpose.model.train.settings import TrainSettings, load_run
from distilpose.model.weights import load

WARM_UP, COUNTED = 2, 10
TURN = 4
"""Number of steps that one trainer takes before it is the other's turn."""
FEEDING = ("waiting for people", "augmentation")
STEP, TEACHER = "forward, backward, update", "teacher"
MIDDLE = 0.5
"""Share of a run at which steps are compared."""

KIT = """
import json, sys, time
folder, data, cache, work, batch, precision = sys.argv[1:7]
sys.path.insert(0, folder)
sys.argv = [
    "train.py", "--work", work, "--data", data, "--cache", cache, "--batch", batch, "--seed", "0",
    "--precision", precision,
]
import torch
torch.set_num_threads(1)
import train
options = train.options()
options.work.mkdir(parents=True, exist_ok=True)
train.build_cache(options.data, options.cache, "train", 1)
people = train.People(options.cache, "train", train.training_people, mapped=True)
cycle = train.Cycle(options)
batches = train.Batches(people, options.batch, options.repeat_coco, options.seed)
print(json.dumps({"people": len(people)}), flush=True)
for line in sys.stdin:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(int(line)):
        cycle.train_step(batches.next(options.strength), 0.5)
    spent = [time.process_time() - cpu, time.perf_counter() - wall]
    print(json.dumps(spent), flush=True)
"""


class Laps:
    """Seconds by name; `wait` returns when the device is idle."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._wait = wait
        self._began = time.perf_counter()

    def end(self, name: str) -> None:
        """Add the time since the last call to `name`."""
        self._wait()
        now = time.perf_counter()
        self.seconds[name] += now - self._began
        self._began = now


def take(run: Run, batches: Iterator[StoredBatch], count: int, laps: Laps) -> TrainBatch:
    """Take `count` steps at a learning rate of 0; return the last batch."""
    settings = run.settings
    changes = settings.augment.scaled(augment_strength(settings, 0.0))
    generator = torch.Generator(run.device).manual_seed(0)
    change = augment_cpu.augment if run.device.type == "cpu" else augment.augment
    for stored in itertools.islice(batches, count):
        laps.end(FEEDING[0])
        with torch.no_grad():
            batch = change(
                stored,
                changes,
                generator=generator,
                normalisation=run.network.config.normalisation,
                size_hw=input_size_hw(settings.run, 0.0),
            )
        laps.end(FEEDING[1])
        run.step(batch, learning_rate=0.0, step=0)
        laps.end(STEP)
    return batch


def teach(run: Run, batch: TrainBatch, count: int, laps: Laps) -> None:
    """Run a student's teacher `count` times; part of every step, measured separately."""
    path = run.settings.teacher
    if path is None:
        return
    teacher = load(path).network.to(run.device)
    teacher.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    ask = torch.compile(teacher) if run.settings.run.compile else teacher
    with torch.no_grad(), run.step.autocast():
        for _ in range(WARM_UP):
            ask(batch.crops_BCHW)
        laps.end("warm-up")
        for _ in range(count):
            ask(batch.crops_BCHW)
        laps.end(TEACHER)


def endless(run: Run) -> Iterator[StoredBatch]:
    """Batches of epoch after epoch, without end."""
    epochs = (run.loader.epoch(number) for number in itertools.count())
    return itertools.chain.from_iterable(epochs)


def measure(run: Run) -> tuple[dict[str, float], float]:
    """The seconds of each part of a step, and crops per second."""

    def wait() -> None:
        if run.device.type == "cuda":
            torch.cuda.synchronize(run.device)

    batches = endless(run)
    take(run, batches, WARM_UP, Laps(wait))
    laps = Laps(wait)
    batch = take(run, batches, COUNTED, laps)
    teach(run, batch, COUNTED, laps)
    began = time.perf_counter()
    take(run, batches, COUNTED, Laps(lambda: None))
    wait()
    seconds = time.perf_counter() - began
    laps.seconds[STEP] -= laps.seconds[TEACHER]
    parts = {name: laps.seconds[name] / COUNTED for name in (*FEEDING, STEP, TEACHER)}
    return parts, COUNTED * len(batch.weight) / seconds


def few_people(folder: Path, out: Path, count: int) -> Path:
    """A folder with the first `count` people of the first annotation file that has keypoints."""
    out.mkdir()
    for shard in folder.glob("*.tar"):
        (out / shard.name).symlink_to(shard.resolve())
    path = min(folder.glob("*.json.gz"))
    document: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    people = [each for each in document["annotations"] if each.get("num_keypoints")][:count]
    shown = {each["image_id"] for each in people}
    document["annotations"] = people
    document["images"] = [each for each in document["images"] if each["id"] in shown]
    (out / path.name).write_bytes(gzip.compress(json.dumps(document).encode()))
    return out


def our_turns(run: Run) -> Iterator[tuple[float, float]]:
    """CPU and wall seconds of each turn of the project's own steps."""
    batches = endless(run)
    while True:
        cpu, wall = time.process_time(), time.perf_counter()
        for stored in itertools.islice(batches, TURN):
            run._take(stored, MIDDLE)
        yield time.process_time() - cpu, time.perf_counter() - wall


def kit_turns(kit: subprocess.Popen[str]) -> Iterator[tuple[float, float]]:
    """CPU and wall seconds of each turn of the kit's steps."""
    assert kit.stdin
    assert kit.stdout
    while True:
        kit.stdin.write(f"{TURN}\n")
        kit.stdin.flush()
        cpu, wall = json.loads(kit.stdout.readline())
        yield cpu, wall


def compare(settings: TrainSettings, kit_folder: Path, people: int, turns: int) -> None:
    """Print crops a second of both trainers, turn by turn, and the ratio of their medians."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = few_people(settings.data.people, folder / "people", people)
        changed = settings.model_copy(
            update={
                "data": settings.data.model_copy(
                    update={"people": data, "cache": folder / "cache", "repeat": {}}
                )
            }
        )
        run = prepare(changed, folder, observer=Observers([]))
        ours = our_turns(run)
        next(ours)
        batch_size, precision = settings.run.batch_size, run.precision
        print(f"{settings.network}, one thread, batch of {batch_size}, {precision}")
        folders = [kit_folder, data, folder / "kit-cache", folder / "kit"]
        arguments = [*folders, batch_size, precision]
        with subprocess.Popen(
            [sys.executable, "-c", KIT, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "YOLO_CONFIG_DIR": str(folder)},
        ) as kit:
            try:
                assert kit.stdout
                while not (line := kit.stdout.readline()).startswith("{"):
                    print(f"kit: {line.strip()}")
                theirs = kit_turns(kit)
                next(theirs)
                pairs = [(next(ours), next(theirs)) for _ in range(turns)]
            finally:
                kit.kill()
    print_comparison(pairs, TURN * settings.run.batch_size)


def print_comparison(
    pairs: list[tuple[tuple[float, float], tuple[float, float]]], crops: int
) -> None:
    """Print the table and the ratio."""
    for kind, name in ((0, "CPU"), (1, "wall")):
        ours, theirs = ([crops / pair[side][kind] for pair in pairs] for side in (0, 1))
        for who, speeds in (("ours", ours), ("kit", theirs)):
            each = " ".join(f"{speed:.1f}" for speed in speeds)
            print(f"  {who:<5}{statistics.median(speeds):6.1f} crops/s of {name} time  ({each})")
        ratio = statistics.median(ours) / statistics.median(theirs)
        print(f"  ratio of medians, {name} time: {ratio:.3f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="GROUP.FIELD=VALUE")
    parser.add_argument("--kit", type=Path, help="folder of the other trainer")
    parser.add_argument("--people", type=int, default=400, help="people to compare on")
    parser.add_argument("--turns", type=int, default=5, help="turns of each to compare")
    given = parser.parse_intermixed_args()
    settings = load_run(given.run, overrides_of(given.overrides) | {"data.evaluate_on": None})
    if given.kit:
        compare(settings, given.kit, given.people, given.turns)
        return
    with tempfile.TemporaryDirectory() as out:
        run = prepare(settings, Path(out), observer=Observers([]))
        parts, crops_a_second = measure(run)
    fed = sum(parts[name] for name in FEEDING)
    whole = sum(parts.values())
    batch_size, (height, width) = settings.run.batch_size, input_size_hw(settings.run, 0.0)
    print(f"{settings.network}, {height}x{width}, batch of {batch_size}, {run.device.type}")
    for name, seconds in parts.items():
        print(f"  {name:<26}{seconds * 1000:9.1f} ms {seconds / whole:7.2%}")
    print(f"  feeding takes {fed / whole:.2%}, {fed / batch_size * 1e6:.0f} us a crop")
    print(f"  {crops_a_second:.0f} crops a second")


if __name__ == "__main__":
    main()
