"""Where the time of a training step goes: waiting for people, augmentation, teacher, the rest.

    python tests/bench/train_feed.py RUN.yaml [GROUP.FIELD=VALUE ...]

RUN.yaml is a run as `distilpose train` takes it, measured as it is at its start. On a GPU each part
is waited for, which is slower than training: crops a second come from a pass that waits once.
The teacher's part is of the same batch by itself.
"""

import itertools
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from distilpose.cli.train_options import overrides_of
from distilpose.model.configs import IMAGENET
from distilpose.model.train.augment import augment
from distilpose.model.train.batch import StoredBatch, TrainBatch
from distilpose.model.train.loop import Run
from distilpose.model.train.prepare import Observers, prepare
from distilpose.model.train.schedule import augment_strength, input_size_hw
from distilpose.model.train.settings import load_run
from distilpose.model.train.start import teacher_file
from distilpose.model.weights import load

WARM_UP, COUNTED = 2, 10
FEEDING = ("waiting for people", "augmentation")
STEP, TEACHER = "forward, backward, update", "teacher"


class Laps:
    """Seconds by name; `wait` returns when the device has done what it was given."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._wait = wait
        self._began = time.perf_counter()

    def end(self, name: str) -> None:
        """Count the time since the last call as `name`'s."""
        self._wait()
        now = time.perf_counter()
        self.seconds[name] += now - self._began
        self._began = now


def take(run: Run, batches: Iterator[StoredBatch], count: int, laps: Laps) -> TrainBatch:
    """Take `count` steps that move nothing; the last batch."""
    settings = run.settings
    changes = settings.augment.scaled(augment_strength(settings, 0.0))
    generator = torch.Generator(run.device).manual_seed(0)
    size_hw = input_size_hw(settings.run, 0.0)
    for stored in itertools.islice(batches, count):
        laps.end(FEEDING[0])
        with torch.no_grad():
            batch = augment(
                stored, changes, generator=generator, normalisation=IMAGENET, size_hw=size_hw
            )
        laps.end(FEEDING[1])
        run._step(batch, learning_rate=0.0, step=0)
        laps.end(STEP)
    return batch


def teach(run: Run, batch: TrainBatch, count: int, laps: Laps) -> None:
    """Ask a student's teacher `count` times; it is a part of every step, measured by itself."""
    path = teacher_file(run.settings)
    if path is None:
        return
    teacher = load(path).network.to(run.device)
    teacher.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    ask = torch.compile(teacher) if run.settings.run.compile else teacher
    with torch.no_grad(), run.autocast():
        for _ in range(WARM_UP):
            ask(batch.crops_BCHW)
        laps.end("warm-up")
        for _ in range(count):
            ask(batch.crops_BCHW)
        laps.end(TEACHER)


def measure(run: Run) -> tuple[dict[str, float], float]:
    """Seconds that each part of a step takes, and crops a second."""

    def wait() -> None:
        if run.device.type == "cuda":
            torch.cuda.synchronize(run.device)

    epochs = (run.loader.epoch(number) for number in itertools.count())
    batches = itertools.chain.from_iterable(epochs)
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


def main() -> None:
    """Print the table."""
    path, *overrides = sys.argv[1:]
    settings = load_run(Path(path), overrides_of(overrides, None) | {"data.evaluate_on": None})
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
