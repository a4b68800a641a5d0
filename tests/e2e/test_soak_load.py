"""Callers who leave, more work than can be done, many people."""

import asyncio
import io
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from PIL import Image

from photos import photo
from servers import Server
from soaking import (
    FAST,
    PATIENT,
    Answer,
    ask,
    assert_no_harm,
    assert_same_poses,
    rss_mib,
    samples,
    variants,
    wait_until_idle,
)

LEAVING_SECONDS = 60
CAPACITY_SECONDS = 20
OVERLOAD_SECONDS = 60
PHOTO = Image.open(io.BytesIO(photo("bus.jpg")))
ONE_PERSON = "/v1/pose?max_people=1"
DEVICE_STAGES = ("detect", "pose")

pytestmark = pytest.mark.soak


async def test_callers_who_stay_are_answered_while_every_second_one_leaves(
    start_server: Any,
) -> None:
    server: Server = start_server(**FAST, **PATIENT)
    photos = variants(PHOTO, 16, longest_px=600)
    solo = [await ask(server, each, ONE_PERSON) for each in photos]
    random = np.random.default_rng(6)
    ends_at = time.monotonic() + LEAVING_SECONDS
    outcomes: Counter[str] = Counter()

    async def keep_asking(number: int) -> None:
        while time.monotonic() < ends_at:
            asking = asyncio.create_task(ask(server, photos[number], ONE_PERSON))
            if random.integers(2):
                await asyncio.wait([asking], timeout=random.uniform(0, 1.5))
                outcomes["stayed after all" if asking.done() else "left"] += 1
                asking.cancel()
            else:
                answer = await asking
                assert answer.status == 200, answer.body
                assert_same_poses(answer.poses, solo[number].poses)
                outcomes["answered"] += 1
            await asyncio.gather(asking, return_exceptions=True)

    await asyncio.gather(*map(keep_asking, range(len(photos))))
    print(dict(outcomes))  # noqa: T201 - figures for whoever runs it
    wait_until_idle(server)
    withdrawn = samples(server)['dropped_items_total{reason="cancelled",stage="detect"}']
    assert min(outcomes["left"], outcomes["answered"], withdrawn) > 0
    assert_no_harm(server)


async def answered_a_second(server: Server, body: bytes, *, callers: int) -> float:
    """The load of callers who each wait for their answer before they ask again."""
    ends_at = time.monotonic() + CAPACITY_SECONDS

    async def keep_asking() -> int:
        answered = 0
        while time.monotonic() < ends_at:
            answered += (await ask(server, body, ONE_PERSON)).status == 200
        return answered

    return sum(await asyncio.gather(*(keep_asking() for _ in range(callers)))) / CAPACITY_SECONDS


def device_seconds(scrape: dict[str, float]) -> float:
    """Seconds that the device had been at work."""
    return sum(scrape[f'device_busy_seconds_total{{stage="{stage}"}}'] for stage in DEVICE_STAGES)


@dataclass
class Overload:
    """The outcome of more work than can be done."""

    answers: list[Answer] = field(default_factory=list)
    in_time: int = 0
    """Answered well before the callers stopped to come."""
    held_mib: list[float] = field(default_factory=list)
    at_its_end: dict[str, float] = field(default_factory=dict)

    def p99_seconds(self, status: int) -> float:
        """Of the answers with this status."""
        return float(np.percentile([a.seconds for a in self.answers if a.status == status], 99))

    @property
    def more_mib(self) -> float:
        """Memory held in the last quarter beyond that of the second."""
        quarter = len(self.held_mib) // 4
        late, early = self.held_mib[-quarter:], self.held_mib[quarter : 2 * quarter]
        return float(np.median(late) - np.median(early))


async def overload(server: Server, body: bytes, *, rate: float) -> Overload:
    """So many callers a second, who do not wait for one another."""
    seen = Overload()
    began = time.monotonic()

    async def one() -> None:
        answer = await ask(server, body, ONE_PERSON)
        seen.answers.append(answer)
        seen.in_time += answer.status == 200 and not seen.at_its_end

    async with asyncio.TaskGroup() as callers:
        for number in range(int(rate * OVERLOAD_SECONDS)):
            await asyncio.sleep(max(0, began + number / rate - time.monotonic()))
            callers.create_task(one())
            seen.held_mib.append(rss_mib(server))
        seen.at_its_end = samples(server)
    return seen


async def test_at_three_times_its_capacity_a_server_does_what_it_can_and_refuses_the_rest(
    start_server: Any,
) -> None:
    server: Server = start_server(**FAST, **PATIENT)
    [body] = variants(PHOTO, 1, longest_px=600)
    idle = samples(server)
    capacity = await answered_a_second(server, body, callers=8)
    full = samples(server)
    seen = await overload(server, body, rate=3 * capacity)
    wait_until_idle(server)
    statuses = Counter(answer.status for answer in seen.answers)
    goodput = seen.in_time / OVERLOAD_SECONDS
    places = full['queue_capacity{stage="detect"}']
    busy = (device_seconds(full) - device_seconds(idle)) / CAPACITY_SECONDS
    still_busy = (device_seconds(seen.at_its_end) - device_seconds(full)) / OVERLOAD_SECONDS
    print(  # noqa: T201 - figures for whoever runs it
        f"capacity {capacity:.2f}/s, goodput {goodput:.2f}/s ({goodput / capacity:.0%}), device "
        f"busy {busy:.1%} and {still_busy:.1%}, p99 of accepted {seen.p99_seconds(200):.2f} s for "
        f"{places:.0f} places, of refused {seen.p99_seconds(429):.3f} s; {seen.held_mib[-1]:.0f} "
        f"MiB, {seen.more_mib:+.0f}; {dict(statuses)}"
    )
    assert set(statuses) == {200, 429}
    assert all(int(a.headers["retry-after"]) >= 1 for a in seen.answers if a.status == 429)
    # In seconds at work: the machine itself may become slower or faster by a fifth meanwhile.
    assert still_busy >= 0.95 * busy
    assert goodput >= 0.75 * capacity
    detected = 'batch_items_sum{stage="detect"}'
    assert samples(server)[detected] - full[detected] == statuses[200], "computed in vain"
    assert seen.p99_seconds(200) <= (places + 1) / goodput * 1.1
    assert seen.more_mib < 20
    assert_no_harm(server)


async def test_a_person_in_a_crowd_costs_no_more_than_alone(start_server: Any) -> None:
    server: Server = start_server(**PATIENT)
    body = photo("bus.jpg")
    seconds: dict[int, list[float]] = {1: [], 50: []}
    for people in [1, 50] * 6:
        boxes = [[8.0 * i, 400.0, 8.0 * i + 190, 900.0] for i in range(people)]
        path = f"/v1/pose?boxes={json.dumps([boxes], separators=(',', ':'))}"
        answer = await ask(server, body, path)
        assert len(answer.poses) == people
        seconds[people].append(answer.json["timing_ms"]["pose"])
    alone, crowd = (float(np.median(seconds[people])) / people for people in (1, 50))
    print(f"{alone:.1f} ms alone, {crowd:.1f} ms in a crowd")  # noqa: T201 - the figures
    assert crowd <= alone
