"""Two callers that honour Retry-After beside sixty that ask again at once, for two minutes."""

import asyncio
import json
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import greedy_callers
from photos import photo
from servers import Server
from soaking import FAST, address, ask, assert_no_harm, samples, start_callers

SECONDS = 120
GREEDY = 60
POLITE = 2

pytestmark = pytest.mark.soak


def start_greedy_callers(server: Server, file: Path, keys: list[str]) -> "subprocess.Popen[str]":
    """Start them; they have begun when this returns."""
    host, port = address(server)
    arguments = [host, port, SECONDS, file, ",".join(keys)]
    return start_callers(greedy_callers.__file__, *arguments)


async def ask_politely(server: Server, body: bytes, key: str, ends_at: float) -> Counter[int]:
    """Count the answers by their status; after a refusal wait for as long as it says."""
    answers: Counter[int] = Counter()
    while time.monotonic() < ends_at:
        answer = await ask(server, body, x_api_key=key)
        answers[answer.status] += 1
        if answer.status != 200:
            await asyncio.sleep(int(answer.headers["retry-after"]))
    return answers


async def test_polite_callers_get_half_of_an_equal_share_beside_sixty_greedy_ones(
    start_server: Any, tmp_path: Path
) -> None:
    keys = [f"key-{number}" for number in range(GREEDY + POLITE)]
    server: Server = start_server(**FAST, SECURITY__API_KEYS=json.dumps(keys))
    body, file = photo("bus.jpg"), tmp_path / "bus.jpg"
    file.write_bytes(body)
    ends_at = time.monotonic() + SECONDS
    with start_greedy_callers(server, file, keys[:GREEDY]) as greedy:
        try:
            polite = await asyncio.gather(
                *(ask_politely(server, body, key, ends_at) for key in keys[GREEDY:])
            )
            output, _ = await asyncio.to_thread(greedy.communicate)
        finally:
            greedy.kill()
    greedy_answers = [counts.get("200", 0) for counts in json.loads(output)]
    polite_answers = [counts[200] for counts in polite]
    equal = (sum(greedy_answers) + sum(polite_answers)) / (GREEDY + POLITE)
    scrape = samples(server, authorization=f"Bearer {keys[0]}")
    refusals = {name: count for name, count in scrape.items() if name.startswith("refusals")}
    print(  # noqa: T201 - figures for whoever runs it
        f"an equal share is {equal:.1f}; polite {polite_answers} {polite}, greedy "
        f"{min(greedy_answers)} to {max(greedy_answers)}; {refusals}"
    )
    assert min(polite_answers) >= equal / 2
    assert_no_harm(server)
