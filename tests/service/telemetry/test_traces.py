"""Traces that are disabled."""

from distilpose.service.telemetry import traces
from distilpose.service.telemetry.spans import Spans


def test_a_journey_outside_a_trace_leaves_nothing() -> None:
    traces.add_journey(Spans(), began_at=0.0, ended_at=1.0)  # there is no event loop to run it
