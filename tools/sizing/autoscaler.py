"""The decisions of Kubernetes' HorizontalPodAutoscaler, one every 15 seconds.

*Source:* kubernetes/kubernetes pkg/controller/podautoscaler,
replica_calculator.go and horizontal.go.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

SYNC_SECONDS: Final = 15.0
TOLERANCE: Final = 0.1
Values: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class PodValues:
    """One metric of a Deployment's pods."""

    known: Sequence[float]
    """Of the pods that have it."""
    missing: int = 0
    """Running pods that have none yet."""
    pending: int = 0
    """Pods that do not run yet."""


class Autoscaler:
    """The controller with `autoscaling` of the chart's values, for metrics with these targets."""

    def __init__(self, autoscaling: Values, targets: Mapping[str, float]) -> None:
        self._least: int = autoscaling["minReplicas"]
        self._most: int = autoscaling["maxReplicas"]
        self._up, self._down = (autoscaling["behavior"][f"scale{way}"] for way in ("Up", "Down"))
        self._targets = targets
        self._wanted: list[tuple[float, int]] = []
        self._changes: list[tuple[float, int]] = []

    def decide(self, now: float, current: int, metrics: Mapping[str, PodValues]) -> int:
        """The number of replicas from now on, `current` until now."""
        each = (
            wanted_for(metrics[name], target, current) for name, target in self._targets.items()
        )
        wanted = min(max(*each, self._least), self._most)
        chosen = self._limited(now, current, self._stabilised(now, current, wanted))
        if chosen != current:
            self._changes.append((now, chosen - current))
        return chosen

    def _stabilised(self, now: float, current: int, wanted: int) -> int:
        """No more than was wanted all through the window of going up, no less for going down."""
        windows = [rules["stabilizationWindowSeconds"] for rules in (self._up, self._down)]
        self._wanted = [(at, n) for at, n in self._wanted if at > now - max(windows)]
        self._wanted.append((now, wanted))
        up, down = ([n for at, n in self._wanted if at > now - window] for window in windows)
        return min(max(current, min(up, default=wanted)), max(down, default=wanted))

    def _limited(self, now: float, current: int, wanted: int) -> int:
        if wanted > current:
            ceiling = self._reachable(now, current, self._up, max)
            return min(wanted, max(ceiling, current), self._most)
        floor = self._reachable(now, current, self._down, min)
        return max(wanted, min(floor, current), self._least)

    def _reachable(
        self,
        now: float,
        current: int,
        rules: Values,
        choose: Callable[[Iterable[int]], int],
    ) -> int:
        """Largest change that the policies allow, counted from the start of each one's period."""
        sign = 1 if rules is self._up else -1
        reached = []
        for policy in rules["policies"]:
            since = now - policy["periodSeconds"]
            began = current - sum(change for at, change in self._changes if at > since)
            step = policy["value"]
            if policy["type"] == "Percent":
                step = began * step / 100
            reached.append(math.ceil(began + sign * step))
        return choose(reached)


def wanted_for(metric: PodValues, target: float, current: int) -> int:
    """Number of pods that one metric asks for.

    Pods without it count as idle where more are asked for, and as right where fewer are.
    """
    if not metric.known:
        return current
    ratio = _mean(metric.known) / target
    values = list(metric.known)
    values += [0.0 if ratio >= 1 else target] * metric.missing
    values += [0.0] * (metric.pending if ratio > 1 else 0)
    new_ratio = _mean(values) / target
    turned = (ratio - 1) * (new_ratio - 1) < 0
    if abs(new_ratio - 1) <= TOLERANCE or turned:
        return current
    wanted = math.ceil(round(new_ratio * len(values), 6))  # the controller counts in thousandths
    return min(wanted, current) if new_ratio < 1 else max(wanted, current)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
