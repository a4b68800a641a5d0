"""The made day, lived by the pods that the chart's own values ask for."""

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
"""On a photo, as on the one that was measured; in the made day by chance, on average."""
MEASURED: Final = StageTimes.measured(
    decode=0.0027, photos_per_second=4.57, people=PEOPLE, crops_per_second=23.41
)
"""Two cores of an AMD EPYC, OpenVINO in float32, 810x1080, 16 callers: docs/scaling.md."""
TEN_TIMES_FASTER: Final = StageTimes(MEASURED.decode, MEASURED.detect / 10, MEASURED.pose / 10)
"""A device that is not measured, but made up."""
SOON: Final = Start(pending_seconds=30, loading_seconds=30)
LATE: Final = Start(pending_seconds=240, loading_seconds=60)
"""A start that has to wait for a node."""


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
    """The day's record under the chart's values, or under those given in their place."""
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
    """Seconds, of the photos that were not refused."""
    waits = record.all_waits
    return waits[np.isfinite(waits)]
