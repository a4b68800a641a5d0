"""Writes the tables of docs/scaling.md anew: `PYTHONPATH=tools python -m sizing.tables`."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from sizing import sizing
from sizing.days import LATE, MEASURED, TEN_TIMES_FASTER, VALUES, answered_waits, lived
from sizing.fleet import BUSY, QUEUE, Record
from sizing.sizing import StageTimes

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "scaling.md"
BUSY_SHARE: Final = VALUES["autoscaling"]["targetBusyShare"]
_PLACE: Final = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def photos() -> str:
    """Replicas of the measured CPU for photos a second."""
    rates = (1, 5, 20, 100)
    return _table(
        ["people", "device seconds a photo", "photos a second, one replica"]
        + [f"replicas for {rate}" for rate in rates],
        (
            [
                people,
                f"{MEASURED.device_seconds(people):.3f}",
                f"{BUSY_SHARE / MEASURED.device_seconds(people):.1f}",
                *(
                    sizing.replicas_for_photos(rate, people, MEASURED, busy_share=BUSY_SHARE)
                    for rate in rates
                ),
            ]
            for people in (1, 2, 4, 8)
        ),
    )


def streams() -> str:
    """Replicas of the measured CPU for ten streams, by the frames a second that are answered."""

    def row(people: int, detect_every: int) -> list[object]:
        each = sizing.frames_per_second(
            people, MEASURED, busy_share=BUSY_SHARE, detect_every=detect_every
        )
        return [
            people,
            detect_every,
            f"{each:.1f}",
            *(_for_streams(10, fps, answered_per_second=each) for fps in (30, 5, 2, 1)),
        ]

    return _table(
        [
            "people",
            "`detect_every`",
            "frames a second, one replica",
            "replicas for 10 streams at 30 fps",
            *(f"at {fps} fps" for fps in (5, 2, 1)),
        ],
        itertools.starmap(row, itertools.product((1, 2, 4), (1, 5))),
    )


def devices() -> str:
    """Replicas of any device, by the milliseconds that a photo or frame takes of it."""

    def row(milliseconds: float) -> list[object]:
        times = StageTimes(MEASURED.decode, milliseconds / 1000, 0)
        each = sizing.frames_per_second(0, times, busy_share=BUSY_SHARE)
        return [
            f"{milliseconds:g} ms",
            f"{each:.0f}",
            f"{sizing.decode_cores(each, times):.1f}",
            *(
                sizing.replicas_for_photos(rate, 0, times, busy_share=BUSY_SHARE)
                for rate in (100, 1000)
            ),
            *(_for_streams(count, 30, answered_per_second=each) for count in (1, 10, 100)),
        ]

    return _table(
        [
            "device time",
            "photos a second, one replica",
            "cores that decode them",
            "replicas for 100 a second",
            "for 1000",
            "for 1 stream of 30 fps",
            "for 10",
            "for 100",
        ],
        map(row, (2, 5, 10, 20, 50, 100)),
    )


def days() -> str:
    """The outcome of the made day."""
    fast, cpu = "ten times faster (made up)", "measured CPU"
    return _table(
        [
            "device",
            "rule",
            "a new pod takes",
            "turns",
            "most in 10 min",
            "refused",
            "p50 wait",
            "p99 wait",
            "mean replicas",
        ],
        [
            [fast, "as shipped", "60 s", *_day(lived(TEN_TIMES_FASTER))],
            [fast, "as shipped", "300 s", *_day(lived(TEN_TIMES_FASTER, start=LATE))],
            [fast, "waiting alone", "60 s", *_day(lived(TEN_TIMES_FASTER, signals=(QUEUE,)))],
            [fast, "busy share alone", "60 s", *_day(lived(TEN_TIMES_FASTER, signals=(BUSY,)))],
            [cpu, "as shipped", "60 s", *_day(lived(MEASURED))],
            [
                cpu,
                "`targetQueueSeconds: 0.5`",
                "60 s",
                *_day(lived(MEASURED, target_queue_seconds=0.5)),
            ],
        ],
    )


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "photos": photos,
    "streams": streams,
    "devices": devices,
    "days": days,
}


def written(text: str) -> str:
    """The document with each table as it is now."""
    return _PLACE.sub(lambda place: place[1] + TABLES[place[2]]() + place[3], text)


def _for_streams(count: int, fps: float, *, answered_per_second: float) -> str:
    replicas = sizing.replicas_for_streams(count, fps, answered_per_second=answered_per_second)
    return "does not fit" if replicas is None else str(replicas)


def _day(record: Record) -> Iterable[Any]:
    waits = answered_waits(record)
    return [
        len(record.turns_at()),
        record.most_turns_within(600),
        f"{record.refused_share:.2%}",
        f"{np.median(waits):.2f} s",
        f"{np.quantile(waits, 0.99):.2f} s",
        f"{np.mean(record.replicas):.1f}",
    ]


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    heads = list(head)
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text("utf-8")), "utf-8")
