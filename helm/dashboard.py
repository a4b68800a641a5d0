"""Writes the Grafana dashboard: `python helm/dashboard.py helm/distilpose/files/dashboard.json`.

A row of the dashboard is a line of `ROWS`; what its queries ask for is in `service/metrics.py`.
"""

import itertools
import re
import sys
from pathlib import Path
from typing import Final, NamedTuple

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

SOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
PODS: Final = 'namespace=~"$namespace",pod=~"$pod"'
QUANTILES: Final = (0.5, 0.95, 0.99)
CALLS: Final = 'method="estimate_pose"'
FAILED: Final = 'code=~"5..|INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED"'
REFUSED: Final = 'code=~"429|RESOURCE_EXHAUSTED"'


class Query(NamedTuple):
    """A line, or several, of a graph."""

    expr: str
    legend: str


class Graph:
    """One panel; `note` is what its corner says."""

    def __init__(
        self, title: str, unit: str, *queries: Query, stacked: bool = False, note: str = ""
    ) -> None:
        self.title = title
        self.unit = unit
        self.queries = queries
        self.stacked = stacked
        self.note = note


def series(name: str, *matchers: str) -> str:
    """A metric of the chosen pods."""
    return f"{name}{{{','.join((PODS, *matchers))}}}"


def rate(name: str, *matchers: str) -> str:
    """What a counter grows by in a second."""
    return f"rate({series(name, *matchers)}[$__rate_interval])"


def each(labels: str, expr: str) -> Query:
    """A line for each value of these labels, summed up over all others."""
    return Query(f"sum by ({labels}) ({expr})", re.sub(r"(\w+),?", r"{{\1}}", labels))


def ratio(part: str, whole: str, *, by: str = "") -> str:
    """A share, or a mean."""
    total = f"sum by ({by})" if by else "sum"
    return f"{total} ({part}) / {total} ({whole})"


def mean(histogram: str, *, by: str = "") -> str:
    """A histogram's mean."""
    return ratio(rate(f"{histogram}_sum"), rate(f"{histogram}_count"), by=by)


def share_of_calls(codes: str) -> str:
    """How much of all calls end with these codes."""
    calls = "distilpose_requests_total"
    return ratio(rate(calls, CALLS, codes), rate(calls, CALLS))


def quantiles(histogram: str, *matchers: str) -> tuple[Query, ...]:
    """A histogram's median, 95th and 99th percentile."""
    buckets = f"sum by (le) ({rate(f'{histogram}_bucket', *matchers)})"
    return tuple(Query(f"histogram_quantile({q}, {buckets})", f"p{q * 100:g}") for q in QUANTILES)


def part_of_request(histogram: str) -> str:
    """Seconds of each stage for one request or frame: each begins with decoding."""
    begun = rate("distilpose_stage_duration_seconds_count", 'stage="decode"')
    return f"sum by (stage) ({rate(f'{histogram}_sum')}) / on () group_left () sum ({begun})"


READY_BY_MODEL: Final = (
    f"sum by (name, version, dtype) ({series('distilpose_ready')} * on (namespace, pod)"
    f" group_left (name, version, dtype) {series('distilpose_model_info')})"
)
TRAFFIC: Final = (
    Graph(
        "Requests",
        units.RequestsPerSecond,
        each("transport, code", rate("distilpose_requests_total", 'method!="other"') + " > 0"),
        stacked=True,
        note="By transport and code; probes and scrapes are left out.",
    ),
    Graph(
        "Failed and refused",
        units.PercentUnit,
        Query(share_of_calls(FAILED), "failed"),
        Query(share_of_calls(REFUSED), "refused"),
    ),
    Graph("Images", units.Short, each("outcome", rate("distilpose_images_total")), stacked=True),
    Graph("Ready replicas", units.Short, Query(READY_BY_MODEL, "{{name}} {{version}}, {{dtype}}")),
)

LATENCY: Final = (
    Graph("Requests", units.Seconds, *quantiles("distilpose_request_duration_seconds", CALLS)),
    Graph(
        "Where the time goes",
        units.Seconds,
        Query(part_of_request("distilpose_stage_duration_seconds"), "{{stage}}"),
        Query(part_of_request("distilpose_queue_wait_seconds"), "wait for {{stage}}"),
        stacked=True,
        note="Means for one request or frame; stages and waits add up to the whole.",
    ),
)

STAGES: Final = tuple(
    Graph(stage, units.Seconds, *quantiles("distilpose_stage_duration_seconds", f'stage="{stage}"'))
    for stage in ("decode", "detect", "pose")
)

QUEUES: Final = (
    Graph(
        "Items waiting",
        units.Short,
        each("stage", series("distilpose_queue_items")),
        Query(f"sum by (stage) ({series('distilpose_queue_capacity')})", "room for {{stage}}"),
    ),
    Graph(
        "Oldest item",
        units.Seconds,
        Query(f"max by (stage) ({series('distilpose_queue_oldest_seconds')})", "{{stage}}"),
    ),
    Graph(
        "Mean wait",
        units.Seconds,
        Query(mean("distilpose_queue_wait_seconds", by="stage"), "{{stage}}"),
        note="What replicas are scaled out by.",
    ),
    Graph(
        "Dropped items",
        units.Short,
        each("stage, reason", rate("distilpose_dropped_items_total")),
        stacked=True,
        note="A second.",
    ),
)

ITEMS: Final = f"sum by (stage) ({rate('distilpose_batch_items_sum')})"
PADDING: Final = f"sum by (stage) ({rate('distilpose_padding_items_total')})"
BATCHES: Final = (
    Graph(
        "Mean batch", units.Short, Query(mean("distilpose_batch_items", by="stage"), "{{stage}}")
    ),
    Graph(
        "Fill",
        units.PercentUnit,
        Query(f"{ITEMS} / ({ITEMS} + {PADDING})", "{{stage}}"),
        note="How much of what the device computes is not padding.",
    ),
    Graph("Padding", units.Short, Query(PADDING, "{{stage}}"), note="Places a second."),
)

PICTURES: Final = (
    Graph("Decodes", units.Short, each("size", rate("distilpose_decodes_total")), stacked=True),
    Graph(
        "People per image",
        units.Short,
        *quantiles("distilpose_people_per_image"),
        note="What multiplies the cost of an image.",
    ),
    Graph("Poses", units.Short, Query(f"sum ({rate('distilpose_poses_total')})", "a second")),
    Graph(
        "Mean keypoint score",
        units.PercentUnit,
        Query(mean("distilpose_keypoint_score"), "score"),
        note="Other photos than before show here.",
    ),
)

STREAMS: Final = (
    Graph("Open streams", units.Short, each("pod", series("distilpose_streams_active"))),
    Graph(
        "Frames",
        units.Short,
        each("mode, outcome", rate("distilpose_stream_frames_total")),
        stacked=True,
        note="A second, by what became of them.",
    ),
    Graph("Age of answers", units.Seconds, *quantiles("distilpose_stream_frame_age_seconds")),
)

DEVICE: Final = (
    Graph("Busy", units.PercentUnit, each("pod", rate("distilpose_device_busy_seconds_total"))),
    Graph(
        "Memory of its own",
        units.BytesIEC,
        each("pod, kind", series("distilpose_device_memory_bytes")),
        note="0 where the device shares the process's memory.",
    ),
    Graph("Errors", units.Short, each("pod, kind", rate("distilpose_device_errors_total"))),
)

THROTTLED: Final = "container_cpu_cfs_throttled_periods_total"
PERIODS: Final = "container_cpu_cfs_periods_total"
PROCESS: Final = (
    Graph("CPU", units.Short, each("pod", rate("process_cpu_seconds_total")), note="Cores in use."),
    Graph(
        "CPU throttled",
        units.PercentUnit,
        Query(
            ratio(rate(THROTTLED, 'container!=""'), rate(PERIODS, 'container!=""'), by="pod"),
            "{{pod}}",
        ),
        note="The share of periods in which a container met its limit, from the kubelet.",
    ),
    Graph("Memory", units.BytesIEC, each("pod", series("process_resident_memory_bytes"))),
)

ROWS: Final = {
    "Traffic and errors": (TRAFFIC,),
    "Latency": (LATENCY, STAGES),
    "Queues": (QUEUES,),
    "Batches": (BATCHES,),
    "Pictures and people": (PICTURES,),
    "Streams": (STREAMS,),
    "Device": (DEVICE,),
    "Process": (PROCESS,),
}


def build() -> model.Dashboard:
    """The dashboard."""
    board = (
        dashboard.Dashboard("distilpose")
        .uid("distilpose")
        .tags(["distilpose"])
        .time("now-1h", "now")
        .refresh("30s")
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus"))
        .with_variable(_variable("namespace", "distilpose_ready"))
        .with_variable(_variable("pod", 'distilpose_ready{namespace=~"$namespace"}'))
    )
    numbers = itertools.count(1)
    for title, lines in ROWS.items():
        board.with_row(dashboard.Row(title).id(next(numbers)))
        for graphs in lines:
            for graph in graphs:
                board.with_panel(_panel(graph, next(numbers), width=24 // len(graphs)))
    return board.build()


def _variable(label: str, of: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(label)
        .datasource(SOURCE)
        .query(f"label_values({of}, {label})")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _panel(graph: Graph, number: int, *, width: int) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .id(number)
        .title(graph.title)
        .description(graph.note)
        .datasource(SOURCE)
        .unit(graph.unit)
        .min(0)
        .height(7)
        .span(width)
        .show_points(common_model.VisibilityMode.NEVER)
        .legend(common.VizLegendOptions().show_legend(True))
        .tooltip(common.VizTooltipOptions().mode(common_model.TooltipDisplayMode.MULTI))
    )
    if graph.stacked:
        panel.stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL))
        panel.fill_opacity(30)
    for letter, query in zip("ABCD", graph.queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).expr(query.expr)
        panel.with_target(target.legend_format(query.legend))
    return panel


if __name__ == "__main__":
    text = JSONEncoder(indent=1, sort_keys=True).encode(build())
    Path(sys.argv[1]).write_text(text + "\n", "utf-8")
