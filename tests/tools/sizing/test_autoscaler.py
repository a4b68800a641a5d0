"""The controller's arithmetic, on cases small enough to work out by hand."""

from typing import Any

import pytest

from sizing.autoscaler import Autoscaler, PodValues, wanted_for

VALUES: dict[str, Any] = {
    "minReplicas": 1,
    "maxReplicas": 10,
    "behavior": {
        "scaleUp": {
            "stabilizationWindowSeconds": 30,
            "policies": [
                {"type": "Percent", "value": 100, "periodSeconds": 60},
                {"type": "Pods", "value": 2, "periodSeconds": 60},
            ],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": 600,
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}],
        },
    },
}


@pytest.mark.parametrize(
    ("metric", "current", "wanted"),
    [
        (PodValues([0.7, 0.7]), 2, 2),
        (PodValues([0.76, 0.76]), 2, 2),  # within a tenth of the target
        (PodValues([0.78, 0.78]), 2, 3),
        (PodValues([0.2, 0.4, 0.3]), 3, 2),
        (PodValues([0.0]), 1, 0),
        (PodValues([1.4]), 1, 2),
        (PodValues([1.4], pending=1), 2, 2),  # the starting pod may be enough
        (PodValues([1.4, 1.4], missing=1), 3, 4),
        (PodValues([0.35], missing=1), 2, 2),  # the missing pod may be on target
        (PodValues([0.35, 0.35], pending=1), 3, 1),
        (PodValues([]), 3, 3),
    ],
)
def test_pods_wanted_for_a_busy_share_of_seven_tenths(
    metric: PodValues, current: int, wanted: int
) -> None:
    assert wanted_for(metric, 0.7, current) == wanted


def test_ten_pods_that_are_always_busy_ask_for_fifteen_and_no_more() -> None:
    assert wanted_for(PodValues([1.0] * 10), 0.7, 10) == 15
    assert wanted_for(PodValues([1.0] * 10 + [0.0] * 5), 0.7, 15) == 15


def decided(values: list[float], *, seconds: float = 15) -> list[int]:
    """The replicas after each decision, with this metric on each pod and a target of 1."""
    autoscaler = Autoscaler(VALUES, {"metric": 1.0})
    replicas = [1]
    for number, value in enumerate(values):
        metric = PodValues([value] * replicas[-1])
        replicas.append(autoscaler.decide(number * seconds, replicas[-1], {"metric": metric}))
    return replicas[1:]


def test_the_largest_answer_holds() -> None:
    autoscaler = Autoscaler(VALUES, {"waiting": 1.0, "busy": 1.0})
    metrics = {"waiting": PodValues([0.0, 0.0]), "busy": PodValues([1.4, 1.4])}
    assert autoscaler.decide(0, 2, metrics) == 3


def test_going_up_waits_until_more_was_wanted_for_the_whole_window() -> None:
    assert decided([1, 3, 3]) == [1, 1, 3]
    assert decided([1, 3, 1, 3, 1]) == [1, 1, 1, 1, 1]


def test_going_up_keeps_to_the_faster_policy() -> None:
    # Two pods, or twice as many, in a minute.
    assert decided([9] * 12, seconds=30) == [3, 3, 6, 6, 10, 10, 10, 10, 10, 10, 10, 10]


def test_going_down_waits_for_the_window_and_then_takes_one_pod_after_the_other() -> None:
    replicas = decided([4, *[0.1] * 29], seconds=30)
    assert replicas[:20] == [3] * 20
    assert replicas[20:] == [2, 2, 2, 2, 1, 1, 1, 1, 1, 1]


def test_limits_hold() -> None:
    assert max(decided([100] * 20, seconds=60)) == 10
    assert min(decided([0] * 20, seconds=600)) == 1
