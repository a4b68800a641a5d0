"""Parameters and multiply-adds, compared with the authors' counts, and speed by a fake clock."""

import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import pytest

from distilpose.model.arrays import CropsBHWC
from distilpose.model.configs import NETWORKS, PublishedConfig
from distilpose.model.errors import ConfigError
from distilpose.model.measure.cost import measure_speed, network_cost
from distilpose.model.runtime.devices import ComputeDevice
from distilpose.model.runtime.engine import PoseArrays, PoseEngine
from golden_rules import golden_json

PUBLISHED = {
    "distilpose-s": (5.36, 2.38),
    "distilpose-l": (21.3, 10.33),
    "tokenpose-l": (69.4, 17.03),
}
"""Millions of parameters and 10^9 operations, from the paper and its code's README."""


class Timed(PoseEngine):
    """Takes these seconds for its runs, in turn, on a clock that otherwise stands still."""

    runtime = "torch"

    def __init__(self, runs_seconds: Sequence[float]) -> None:
        every_size = range(1, 65)
        super().__init__(device=ComputeDevice("cpu", 1), precision="float32", buckets=every_size)
        self.waiting = list(runs_seconds)
        self.batch_sizes: list[int] = []
        self.now = 0.0

    def _answer(self, crops_BHWC: CropsBHWC) -> PoseArrays:
        self.batch_sizes.append(len(crops_BHWC))
        self.now += self.waiting.pop(0)
        none = np.zeros(0, np.float32)
        return PoseArrays(none, none, none)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Timed:
    engine = Timed([60.0, 1.0, 0.5, 0.25, 9.0])
    monkeypatch.setattr(time, "perf_counter", lambda: engine.now)
    return engine


@pytest.mark.parametrize("name", [n for n, c in NETWORKS.items() if isinstance(c, PublishedConfig)])
def test_counts_are_the_authors_with_the_attention_products_that_they_leave_out(name: str) -> None:
    counts, cost = golden_json("counts")[name], network_cost(name)
    assert cost.parameters == counts["parameters_trainable"]
    attention = counts["attention_matmul_macs_not_counted"]
    assert cost.gmacs * 1e9 == counts["conv_and_linear_macs"] + attention


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_without_attention_products_are_near_the_published_ones(name: str) -> None:
    # The published count is slightly higher: 2 for each element of a norm, 1 for each of a ReLU.
    million_parameters, published = PUBLISHED[name]
    cost, attention = network_cost(name), 0.343
    assert cost.parameters / 1e6 == pytest.approx(million_parameters, rel=2e-3)
    assert cost.gmacs - attention == pytest.approx(published, rel=0.01)


def test_the_student_on_the_trunk_costs_a_quarter_of_the_published_one() -> None:
    ours, published = network_cost("distilpose-n"), network_cost("distilpose-s")
    assert ours.parameters == 4_518_030
    assert ours.gmacs == pytest.approx(published.gmacs / 4.41, rel=0.01)


def test_a_process_that_counts_costs_first_can_still_load_the_detector() -> None:
    # Networks are counted on the meta device, and this one is the first to import ultralytics.
    script = (
        "from distilpose.model.load import load_models\n"
        "from distilpose.model.measure.cost import network_cost\n"
        "network_cost('distilpose-n')\n"
        "print(load_models(engine='torch').detector.image_size_px)\n"
    )
    asked = [sys.executable, "-c", script]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == "640\n"


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown network 'yolov8n'"):
        network_cost("yolov8n")


def test_speed_is_that_of_the_median_run_after_one_to_warm_up(timed: Timed) -> None:
    speed = measure_speed(timed, 4, seconds=1.7)
    assert timed.batch_sizes == [4] * 4
    assert speed.crops_per_second == 4 / 0.5


def test_speed_is_measured_three_times_however_long_a_run_takes(timed: Timed) -> None:
    assert measure_speed(timed, 1, seconds=0.1).crops_per_second == 2
    assert len(timed.waiting) == 1


def test_a_speed_says_what_it_depends_on(timed: Timed) -> None:
    speed = measure_speed(timed, 2)
    assert (speed.batch_size, speed.runtime) == (2, "torch")
    assert (speed.device, speed.dtype) == ("cpu", "float32")
    assert speed.threads == 1
