"""The cost of a network: parameters, multiply-adds for one crop, and measured speed."""

import statistics
import time
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH, network_config
from distilpose.model.networks import construct
from distilpose.model.runtime.engine import PoseEngine

_LEAST_RUNS: Final = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """Size of a network, whatever it runs on."""

    parameters: int
    """Trainable ones, so without the fixed position code, as published counts are."""
    gmacs: float
    """10^9 multiply-adds of one 256x192 crop: convolutions, linear layers and attention products.

    The published 2.38, 10.33 and 17.03 leave the attention products out, 0.34 of each network.
    """


@dataclass(frozen=True, slots=True)
class Speed:
    """Crops a second of an engine, with what the number depends on."""

    crops_per_second: float
    """From uint8 crops in memory to arrays in memory, by the median run."""
    batch_size: int
    runtime: str
    """Library that ran the network: `torch` or `openvino`."""
    device: str
    dtype: str
    threads: int
    """On the CPU; a GPU hardly needs them."""


def network_cost(name: str) -> Cost:
    """The size of the published network called `name`, counted without its weights.

    Raises:
        ConfigError: naming the known networks.
    """
    # Without memory, and where the counter sees attention: it misses the CPU's own kernel.
    with torch.device("meta"):
        network = construct(network_config(name)).eval()
        crops_BCHW = torch.zeros(1, 3, CROP_HEIGHT, CROP_WIDTH)
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        network(crops_BCHW)
    trainable = (each.numel() for each in network.parameters() if each.requires_grad)
    return Cost(sum(trainable), counter.get_total_flops() / 2 / 1e9)


def measure_speed(engine: PoseEngine, batch_size: int, *, seconds: float = 3.0) -> Speed:
    """The speed of `engine` on batches of black crops, by runs that take `seconds` in all."""
    crops_BHWC = np.zeros((batch_size, CROP_HEIGHT, CROP_WIDTH, 3), np.uint8)
    engine.run(crops_BHWC)  # warms up
    runs_seconds: list[float] = []
    while sum(runs_seconds) < seconds or len(runs_seconds) < _LEAST_RUNS:
        began = time.perf_counter()
        engine.run(crops_BHWC)
        runs_seconds.append(time.perf_counter() - began)
    return Speed(
        crops_per_second=batch_size / statistics.median(runs_seconds),
        batch_size=batch_size,
        runtime=engine.runtime,
        device=engine.device.kind,
        dtype=engine.precision,
        threads=engine.device.threads,
    )
