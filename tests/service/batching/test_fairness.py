"""While there is not enough for all, callers get alike, and nothing is lost. In virtual time."""

import asyncio
from typing import Final

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from distilpose.service.batching.fairness import (
    FADE_SECONDS,
    FORGET_SECONDS,
    MOST_CALLERS,
    REFUSED_LATELY_SECONDS,
    Shares,
)
from distilpose.service.errors import Overloaded
from distilpose.service.words import RefusalReason
from shops import Manner, Shop, run_shop
from virtual_time import run_virtually

GREEDY: Final = 60
POLITE: Final = 2
SECONDS: Final = 120
Callers = list[tuple[str, Manner]]

# Failing cases are small enough; shrinking them takes minutes and adds nothing.
property_test = settings(
    max_examples=4, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)


def greedy_and_polite(items: int, again_after_seconds: float) -> Callers:
    greedy = [(f"greedy {i}", Manner(items, again_after_seconds)) for i in range(GREEDY)]
    return greedy + [(f"polite {i}", Manner(items)) for i in range(POLITE)]


def run(callers: Callers, *, items_per_second: float, capacity: int, is_fair: bool = True) -> Shop:
    def opened() -> Shop:
        return Shop(items_per_second=items_per_second, capacity=capacity, is_fair=is_fair)

    return run_shop(opened, callers, seconds=SECONDS)


@property_test
@given(
    requests_per_second=st.floats(2, 20),
    capacity_seconds=st.floats(1, 4),
    items=st.sampled_from([1, 1, 2, 5, 8]),
    again_after_seconds=st.sampled_from([0.05, 0.1, 0.3]),
)
def test_who_honours_the_delay_gets_half_of_an_equal_share_beside_sixty_that_do_not(
    requests_per_second: float, capacity_seconds: float, items: int, again_after_seconds: float
) -> None:
    shop = run(
        greedy_and_polite(items, again_after_seconds),
        items_per_second=requests_per_second * items,
        capacity=max(2, items, int(requests_per_second * items * capacity_seconds)),
    )
    equal = sum(shop.answers.values()) / (GREEDY + POLITE)
    for number in range(POLITE):
        assert shop.answers[f"polite {number}"] >= int(equal / 2)
    assert shop.answered_items >= 0.98 * requests_per_second * items * SECONDS - 2 * items


@pytest.mark.parametrize("items", [1, 8])
def test_without_shares_who_honours_the_delay_gets_next_to_nothing(items: int) -> None:
    callers = greedy_and_polite(items, 0.05)
    shop = run(callers, items_per_second=10 * items, capacity=20 * items, is_fair=False)
    equal = sum(shop.answers.values()) / (GREEDY + POLITE)
    assert min(shop.answers[f"polite {number}"] for number in range(POLITE)) < equal / 4


@pytest.mark.parametrize("again_after_seconds", [None, 0.3])
def test_two_hundred_requests_of_one_caller_leave_others_their_share(
    again_after_seconds: float | None,
) -> None:
    busy = [("busy", Manner(1, again_after_seconds))] * 200
    shop = run(
        busy + [(f"quiet {i}", Manner()) for i in range(5)], items_per_second=10, capacity=20
    )
    equal = sum(shop.answers.values()) / 6
    # One request at a time, each behind a queue of two seconds, is all that they ask for.
    assert min(shop.answers[f"quiet {i}"] for i in range(5)) >= min(equal, SECONDS / 3)
    assert shop.answered_items >= 10 * SECONDS - 2


@property_test
@given(
    callers=st.lists(
        st.tuples(
            st.sampled_from("abcdefgh"),
            st.builds(
                Manner,
                items=st.sampled_from([1, 1, 3, 8]),
                again_after_seconds=st.sampled_from([None, 0.05]),
            ),
        ),
        min_size=1,
        max_size=60,
    ),
    items_per_second=st.floats(2, 40),
    capacity=st.integers(16, 80),
)
def test_fairness_costs_no_throughput(
    callers: Callers, items_per_second: float, capacity: int
) -> None:
    fair, unfair = (
        run(callers, items_per_second=items_per_second, capacity=capacity, is_fair=is_fair)
        for is_fair in (True, False)
    )
    assert fair.answered_items >= 0.98 * unfair.answered_items - 16


@property_test
@given(
    manners=st.lists(
        st.builds(
            Manner,
            items=st.integers(1, 8),
            again_after_seconds=st.sampled_from([None, 0.05]),
        ),
        min_size=1,
        max_size=40,
    ),
    capacity=st.integers(1, 40),
)
def test_a_caller_alone_is_treated_as_if_there_were_no_shares(
    manners: list[Manner], capacity: int
) -> None:
    callers = [("alone", manner) for manner in manners]
    fair, unfair = (
        run(callers, items_per_second=10, capacity=capacity, is_fair=is_fair)
        for is_fair in (True, False)
    )
    assert fair.answers == unfair.answers
    assert fair.refusals == unfair.refusals
    assert RefusalReason.SHARE not in fair.refusals


def test_equal_callers_get_alike() -> None:
    callers = [(f"caller {i}", Manner(1, 0.05)) for i in range(62)]
    shop = run(callers, items_per_second=10, capacity=20)
    answers = shop.answers.values()
    assert max(answers) - min(answers) <= 5
    assert shop.answered_items >= 10 * SECONDS - 2


def test_who_is_refused_for_its_share_and_honours_the_delay_finds_room() -> None:
    """The queue is then half empty, if nobody else comes."""

    async def scenario() -> None:
        shop = Shop(items_per_second=5, capacity=20)
        serving = asyncio.create_task(shop.serve())
        busy = [asyncio.create_task(shop.ask("busy", 1)) for _ in range(18)]
        await asyncio.sleep(0)
        quiet = [asyncio.create_task(shop.ask("quiet", 1)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await shop.ask("another", 20)
        with pytest.raises(Overloaded, match="more than its share") as refused:
            await shop.ask("busy", 1)
        assert shop.refusals[RefusalReason.SHARE] == 1
        await asyncio.sleep(refused.value.retry_after_seconds or 0)
        await shop.ask("busy", 1)
        await asyncio.gather(*busy, *quiet)
        serving.cancel()

    run_virtually(scenario())


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_strangers_without_end_are_not_remembered_without_end() -> None:
    clock = Clock()
    shares = Shares(clock)
    for number in range(3 * MOST_CALLERS):
        shares.standing(f"stranger {number}")
        shares.charge(f"stranger {number}", 0.1)
    assert len(shares) == MOST_CALLERS
    clock.now += FORGET_SECONDS
    shares.standing("late")
    assert len(shares) == 1


def test_use_fades_and_who_has_had_most_is_above_its_share_until_then() -> None:
    clock = Clock()
    shares = Shares(clock)
    for caller in ("much", "some"):
        shares.standing(caller)
    for _ in range(90):
        shares.charge("much", 0.1)
    shares.charge("some", 1.0)
    assert shares.standing("much").ratio == pytest.approx(1.8)
    assert shares.standing("some").has_had_little
    clock.now += 2 * FADE_SECONDS
    shares.standing("some")
    shares.charge("some", 1.0)
    assert shares.standing("much").ratio < 1.1


def test_a_request_that_was_not_admitted_counts_for_nothing() -> None:
    shares = Shares(Clock())
    for caller in ("a", "b"):
        shares.standing(caller)
        shares.charge(caller, 0.5)
    shares.give_back(shares.charge("a", 0.5))
    assert shares.standing("a").ratio == pytest.approx(1)


def test_shares_count_only_while_another_caller_is_refused() -> None:
    clock = Clock()
    shares = Shares(clock)
    assert not shares.standing("a").others_refused
    shares.refused("a")
    assert not shares.standing("a").others_refused
    assert shares.standing("b").others_refused
    shares.refused("b")
    shares.refused("b")
    assert shares.standing("a").others_refused
    assert shares.standing("b").others_refused
    clock.now += REFUSED_LATELY_SECONDS + 0.1
    assert not shares.standing("a").others_refused


def test_years_of_use_do_not_run_out_of_numbers() -> None:
    clock = Clock()
    shares = Shares(clock)
    for _ in range(20_000):
        clock.now += 5
        for caller in ("much", "little"):
            shares.standing(caller)
        for _ in range(9):
            shares.charge("much", 0.1)
        shares.charge("little", 0.1)
    assert shares.standing("much").ratio == pytest.approx(1.8, abs=0.01)
