"""Print the serving benchmark's table and goals."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np

from bench.contestants import Outcome
from distilpose.model.container import usable_cpus

Results: TypeAlias = dict[tuple[str, str, str], Outcome]
"""Outcomes by workload, load (in words) and contestant."""

GOAL = 0.95
HEAD = (
    f"  {'':<9}{'a second':>9}{'ratio':>6}{'p50':>7}{'p95':>7}{'p99':>7}{'batches':>11}{'pad':>5}"
    f"{'429':>5}{'fail':>5}{'drop':>5}{'decode':>8}{'device':>7}{'cpu ms':>8}{'load':>6}"
    f"{'others':>7}  memory"
)
_QUEUES = ("detect", "pose")


def row(name: str, outcome: Outcome, *, alone: Outcome) -> str:
    """A line of the table; the ratio is relative to the engine alone."""
    sent, seconds = outcome.sent, outcome.sent.seconds
    load_share, others_share = _cpu_shares(outcome)
    cpu_ms = 1000 * outcome.server_cpu_seconds / max(outcome.items, 1)
    rate = outcome.items_per_second
    p50_ms, p95_ms, p99_ms = percentiles_ms(outcome)
    batches = f"{mean_batch(outcome, 'detect'):.1f} {mean_batch(outcome, 'pose'):.1f}"
    refused, failed, dropped = sent.refused, sum(sent.failures.values()), _dropped(outcome)
    return (
        f"  {name:<9}{rate:9.2f}{rate / alone.items_per_second:6.2f}"
        f"{p50_ms:7.0f}{p95_ms:7.0f}{p99_ms:7.0f}{batches:>11}"
        f"{_sum(outcome, 'padding_items_total'):5.0f}{refused:5}{failed:5}{dropped:5.0f}"
        f"{_decode_share(outcome):8.1%}{_sum(outcome, 'device_busy_seconds_total') / seconds:7.0%}"
        f"{cpu_ms:8.1f}{load_share:6.1%}{others_share:7.0%}"
        f"  {outcome.memory_mib[0]:.0f} {outcome.memory_mib[-1]:.0f} {sent.failures or ''}"
    ).rstrip()


def percentiles_ms(outcome: Outcome) -> tuple[float, float, float]:
    """The median, the 95th and the 99th percentile; 0 if there were no requests."""
    seconds = outcome.sent.latency_seconds or [0.0]
    p50, p95, p99 = np.percentile(seconds, (50, 95, 99)) * 1000
    return float(p50), float(p95), float(p99)


def mean_batch(outcome: Outcome, stage: str) -> float:
    """Mean number of items per batch."""
    batches = outcome.counted[f"batch_items_count {stage}"]
    return outcome.counted[f"batch_items_sum {stage}"] / batches if batches else 0.0


def _cpu_shares(outcome: Outcome) -> tuple[float, float]:
    """The shares of the machine's CPU time that the load generator and everything else used."""
    server, load = outcome.server_cpu_seconds, outcome.sent.cpu_seconds
    others = max(outcome.machine_cpu_seconds - server - load, 0.0)
    machine = outcome.sent.seconds * usable_cpus()
    return load / machine, others / machine


def _sum(outcome: Outcome, counter: str) -> float:
    return sum(outcome.counted[f"{counter} {stage}"] for stage in _QUEUES)


def _dropped(outcome: Outcome) -> float:
    """Accepted items that were not computed; those not accepted count as refused."""
    return sum(
        count
        for name, count in outcome.counted.items()
        if name.startswith("dropped_items_total") and "overloaded" not in name
    )


def _decode_share(outcome: Outcome) -> float:
    stages = [outcome.counted[f"stage_duration_seconds_sum {s}"] for s in ("decode", *_QUEUES)]
    return stages[0] / sum(stages) if any(stages) else 0.0


def goals(results: Results, *, load: str, alone: Mapping[str, str], peers: Iterable[str]) -> None:
    """Print how our server compares with the engine alone, and with its peers, under one load."""
    print(f"{load}: goals are {GOAL} of the engine alone, and no less than a peer")
    for workload, name in alone.items():
        for ours in ("rest", "grpc"):
            if (workload, load, ours) not in results:
                continue
            rate = results[workload, load, ours].items_per_second
            ratios = [
                f"{rate / results[workload, load, each].items_per_second:.3f} of {each}"
                for each in (name, *peers)
            ]
            print(f"  {workload} by {ours}: {', '.join(ratios)}")
