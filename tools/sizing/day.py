"""A synthetic day of photos: a daily curve, bursts and random arrivals, reproducible."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

SEED: Final = 20_240_229
DAY_SECONDS: Final = 24 * 3600.0
NIGHT, NOON = 0.25, 2.0
"""Load at four in the morning and in the afternoon, in fully busy devices."""
BURSTS: Final = 12
BURST_LOAD: Final = (0.3, 0.9)
BURST_SECONDS: Final = (120.0, 1500.0)
_RAMP_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Photos:
    """Photos in the order of their arrival."""

    arrived_at: Numbers
    people: Numbers


def made_load(seed: int = SEED) -> Callable[[float], float]:
    """The load at each second of the day, in fully busy devices."""
    chance = np.random.default_rng(seed)
    began_at = chance.uniform(0, DAY_SECONDS, BURSTS)
    lasts = chance.uniform(*BURST_SECONDS, BURSTS)
    more = chance.uniform(*BURST_LOAD, BURSTS)

    def load(at: float) -> float:
        sun = (1 - np.cos(2 * np.pi * (at / DAY_SECONDS - 4 / 24))) / 2
        risen = np.clip((at - began_at) / _RAMP_SECONDS, 0, 1)
        fallen = np.clip((at - began_at - lasts) / _RAMP_SECONDS, 0, 1)
        return float(NIGHT + (NOON - NIGHT) * sun**2 + np.sum(more * (risen - fallen)))

    return load


def photos(
    load: Callable[[float], float],
    *,
    seconds_a_photo: float,
    people_a_photo: float,
    step_seconds: float,
    seed: int = SEED,
) -> Iterator[Photos]:
    """The photos of each step of the day.

    Arrivals are random and independent, and so is the number of people in each photo.
    """
    chance = np.random.default_rng(seed)
    for began_at in np.arange(0, DAY_SECONDS, step_seconds):
        expected = load(began_at) / seconds_a_photo * step_seconds
        arrived_at = np.sort(
            chance.uniform(began_at, began_at + step_seconds, chance.poisson(expected))
        )
        yield Photos(arrived_at, chance.poisson(people_a_photo, len(arrived_at)).astype(float))
