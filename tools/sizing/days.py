"""The synthetic day, simulated with the pods and the autoscaler of the chart's own values."""

import functools
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml

from sizing import day
from sizing.autoscaler import SYNC_SECONDS, Autoscaler
from sizing.day import Photos
from sizing.fleet import BUSY, QUEUE, Fleet, Record, Start
from sizing.sizing import StageTimes

CHART: Final = Path(__file__).parents[2] / "helm" / "distilpose"
VALUES: Final = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))

PEOPLE: Final = 4
"""People per photo, as in the measured one; in the synthetic day this is the mean."""
MEASURED: Final = StageTimes.measured(
    decode=0.0027,
    decode_workers=2,
    photos_per_second=4.57,
    people=PEOPLE,
    crops_per_second=23.41,
)
"""Two cores of an AMD EPYC, OpenVINO in float32, 810x1080, 16 callers: docs/scaling.md."""
TEN_TIMES_FASTER: Final = StageTimes(MEASURED.decode, MEASURED.detect / 10, MEASURED.pose / 10)
"""A hypothetical device that was not measured."""
SOON: Final = Start(pending_seconds=30, loading_seconds=30)
LATE: Final = Start(pending_seconds=240, loading_seconds=60)
"""The start of a pod that first needs a new node."""


@functools.cache
def lived(
    times: StageTimes,
    *,
    start: Start = SOON,
    signals: tuple[str, ...] = (QUEUE, BUSY),
    target_queue_seconds: float | None = None,
    window_seconds: int | None = None,
    seed: int = day.SEED,
) -> Record:
    """Simulate the day with the chart's values, except those given here."""
    values: dict[str, Any] = VALUES["autoscaling"]
    if window_seconds is not None:
        down = {**values["behavior"]["scaleDown"], "stabilizationWindowSeconds": window_seconds}
        values = {**values, "behavior": {**values["behavior"], "scaleDown": down}}
    targets = {
        QUEUE: target_queue_seconds or values["targetQueueSeconds"],
        BUSY: values["targetBusyShare"],
    }
    autoscaler = Autoscaler(values, {name: targets[name] for name in signals})
    return Fleet(autoscaler, times, people=PEOPLE, start=start).live(_photos(times, seed))


@functools.cache
def _photos(times: StageTimes, seed: int) -> list[Photos]:
    return list(
        day.photos(
            day.made_load(seed),
            seconds_a_photo=times.device_seconds(PEOPLE),
            people_a_photo=PEOPLE,
            step_seconds=SYNC_SECONDS,
            seed=seed,
        )
    )


def answered_waits(record: Record) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """The waits, in seconds, of the photos that were not refused."""
    waits = record.all_waits
    return waits[np.isfinite(waits)]
