"""Milliseconds a photo by stage: the service over a socket beside the plain predictor, in one run.

    python tests/bench/photo.py [PHOTO]

There is a single caller, so that nothing waits; figures are medians after a warm-up.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("", "support")]

from distilpose.model import pictures
from distilpose.model.container import usable_cpus
from distilpose.model.load import load_models
from distilpose.model.runtime.pytorch.devices import use_threads
from photos import photo_path
from servers import start

WARM_UP, COUNTED = 5, 40


def median_ms(work: Callable[[], object]) -> float:
    """The median of `COUNTED` runs after `WARM_UP`."""
    seconds = []
    for _ in range(WARM_UP + COUNTED):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[WARM_UP:]) * 1000


def plain(data: bytes) -> tuple[float, int]:
    """The same steps in one thread without a server, with the number of people found."""
    use_threads()
    predictor = load_models().predictor

    def journey() -> int:
        image = pictures.read(data)
        [people] = predictor.detect([image], min_box_score=0.25)
        return len(predictor.poses(image, people.boxes_xyxy_px, people.scores))

    return median_ms(journey), journey()


def served(data: bytes) -> tuple[float, dict[str, float]]:
    """The latency for the caller, and the medians of the answers' own timings, in milliseconds."""
    timings: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        server, log = start(Path(folder), 0, {})
        try:
            server.wait_until_ready()
            with server.client() as client:

                def call() -> None:
                    answer = client.post(
                        "/v1/pose", content=data, headers={"content-type": "image/jpeg"}
                    )
                    timings.append(answer.raise_for_status().json()["timing_ms"])

                caller_ms = median_ms(call)
        finally:
            server.stop()
            log.close()
    counted = timings[WARM_UP:]
    stages = {name: statistics.median(t[name] for t in counted) for name in counted[0]}
    return caller_ms, stages


def main() -> None:
    """Print the table."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else photo_path("bus.jpg")
    data = path.read_bytes()
    caller_ms, stages = served(data)
    plain_ms, people = plain(data)
    print(f"{path.name}, {people} people, {usable_cpus()} CPUs, median of {COUNTED}")
    for name, milliseconds in stages.items():
        print(f"  {name:<7} {milliseconds:7.1f} ms")
    print(f"  caller  {caller_ms:7.1f} ms")
    print(f"  plain   {plain_ms:7.1f} ms; served/plain {caller_ms / plain_ms:.3f}")


if __name__ == "__main__":
    main()
