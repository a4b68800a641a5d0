"""Rows B6, B7 and R6: callers who leave, more work than can be done, many people."""

import asyncio
import io
import json
import time
from collections import Counter
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

pytestmark = pytest.mark.soak


async def test_b6_callers_who_stay_are_answered_while_every_second_one_leaves(
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
    """What callers get who each wait for their answer before they ask again."""
    ends_at = time.monotonic() + CAPACITY_SECONDS

    async def keep_asking() -> int:
        answered = 0
        while time.monotonic() < ends_at:
            answered += (await ask(server, body, ONE_PERSON)).status == 200
        return answered

    return sum(await asyncio.gather(*(keep_asking() for _ in range(callers)))) / CAPACITY_SECONDS


async def test_b7_at_three_times_its_capacity_a_server_does_what_it_can_and_refuses_the_rest(
    start_server: Any,
) -> None:
    server: Server = start_server(**FAST, **PATIENT)
    [body] = variants(PHOTO, 1, longest_px=600)
    capacity = await answered_a_second(server, body, callers=8)
    places = samples(server)['queue_capacity{stage="detect"}']
    held_mib: list[float] = []
    answers: list[Answer] = []
    done_at: list[float] = []

    async def one() -> None:
        answers.append(await ask(server, body, ONE_PERSON))
        done_at.append(time.monotonic())

    began = time.monotonic()
    async with asyncio.TaskGroup() as callers:
        for number in range(int(3 * capacity * OVERLOAD_SECONDS)):
            await asyncio.sleep(max(0, began + number / (3 * capacity) - time.monotonic()))
            callers.create_task(one())
            held_mib.append(rss_mib(server))
    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) == {200, 429}
    in_time = sum(
        answer.status == 200 and at < began + OVERLOAD_SECONDS
        for answer, at in zip(answers, done_at, strict=True)
    )
    goodput = in_time / OVERLOAD_SECONDS
    p99_seconds = float(np.percentile([a.seconds for a in answers if a.status == 200], 99))
    refused_seconds = float(np.percentile([a.seconds for a in answers if a.status == 429], 99))
    quarter = len(held_mib) // 4
    early_mib, late_mib = (
        float(np.median(part)) for part in (held_mib[quarter : 2 * quarter], held_mib[-quarter:])
    )
    print(  # noqa: T201 - figures for whoever runs it
        f"capacity {capacity:.2f}/s, goodput {goodput:.2f}/s ({goodput / capacity:.0%}), p99 of "
        f"accepted {p99_seconds:.2f} s for {places:.0f} places, p99 of refused "
        f"{refused_seconds:.3f} s; {early_mib:.0f} -> {late_mib:.0f} MiB; {dict(statuses)}"
    )
    assert all(int(a.headers["retry-after"]) >= 1 for a in answers if a.status == 429)
    # The queue fills in the first seconds, whose answers are a part of the goodput.
    assert goodput >= 0.95 * capacity
    assert p99_seconds <= (places + 1) / goodput * 1.1
    assert late_mib - early_mib < 20
    wait_until_idle(server)
    assert_no_harm(server)


async def test_r6_a_person_in_a_crowd_costs_no_more_than_alone(start_server: Any) -> None:
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
