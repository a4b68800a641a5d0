"""Write the Grafana dashboard: `python helm/dashboard.py helm/distilpose/files/dashboard.json`.

Each entry of `ROWS` is a row of the dashboard; the service's `telemetry/metrics.py` defines its
metrics.
"""

import itertools
import sys
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

from distilpose.service.words import Stage
from promql import (
    CALLS,
    Query,
    busy_share,
    each,
    mean,
    part_of_request,
    quantiles,
    rate,
    ratio,
    series,
    share_of_calls,
)

SOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
FAILED: Final = 'blame="service"'
JUDGED: Final = 'blame=~"none|service"'
REFUSED: Final = 'blame="refused"'
NOT_SPOILT: Final = 'blame!="caller"'


class Graph:
    """One panel; `note` is its tooltip."""

    def __init__(
        self, title: str, unit: str, *queries: Query, stacked: bool = False, note: str = ""
    ) -> None:
        self.title, self.unit, self.queries = title, unit, queries
        self.stacked, self.note = stacked, note


READY_BY_MODEL: Final = (
    f"sum by (name, version, dtype) ({series('distilpose_ready')} * on (namespace, pod)"
    f" group_left (name, version, dtype) {series('distilpose_model_info')})"
)
TRAFFIC: Final = (
    Graph(
        "Requests",
        units.RequestsPerSecond,
        each(
            "transport, code, blame",
            rate("distilpose_requests_total", 'method!="other"') + " > 0",
        ),
        stacked=True,
        note="By transport, code and who is to blame; probes and scrapes are left out.",
    ),
    Graph(
        "Failed and refused",
        units.PercentUnit,
        Query(share_of_calls(FAILED, JUDGED), "failed"),
        Query(share_of_calls(REFUSED, NOT_SPOILT), "refused"),
        note="Failed: of those answered or failed because of the service. Refused: also while "
        "starting or draining. What callers spoil themselves does not count.",
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
    for stage in Stage
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
        note="The signal for scaling out.",
    ),
    Graph(
        "Dropped items",
        units.Short,
        each("stage, reason", rate("distilpose_dropped_items_total")),
        each("reason", rate("distilpose_refusals_total")),
        each("reason", rate("distilpose_connections_refused_total")),
        each("transport", rate("distilpose_answers_dropped_total")),
        stacked=True,
        note="Per second.",
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
        note="The share of computed items that is not padding.",
    ),
    Graph("Padding", units.Short, Query(PADDING, "{{stage}}"), note="Empty places per second."),
)

PICTURES: Final = (
    Graph("Decodes", units.Short, each("size", rate("distilpose_decodes_total")), stacked=True),
    Graph(
        "People per image",
        units.Short,
        *quantiles("distilpose_people_per_image"),
        note="The cost of an image grows with its people.",
    ),
    Graph("Poses", units.Short, Query(f"sum ({rate('distilpose_poses_total')})", "per second")),
    Graph(
        "Mean keypoint score",
        units.PercentUnit,
        Query(mean("distilpose_keypoint_score"), "score"),
        note="Changes when the photos change in kind.",
    ),
)

FRAMES: Final = "distilpose_stream_frames_total"
LATEST, REPLACED = 'mode="latest"', 'outcome="replaced"'
STREAMS: Final = (
    Graph("Open streams", units.Short, each("pod", series("distilpose_streams_active"))),
    Graph(
        "Frames", units.Short, each("mode, outcome", rate(FRAMES)), stacked=True, note="Per second."
    ),
    Graph(
        "Dropped for newer ones",
        units.PercentUnit,
        Query(ratio(rate(FRAMES, LATEST, REPLACED), rate(FRAMES, LATEST), by="pod"), "{{pod}}"),
        note="Share of the frames of streams in mode `latest`.",
    ),
    Graph(
        "Age of answers",
        units.Seconds,
        *quantiles("distilpose_stream_frame_age_seconds", by="mode"),
    ),
)

WORKERS: Final = (
    Graph(
        "Busy",
        units.PercentUnit,
        Query(busy_share("pod, pool"), "{{pod}} {{pool}}"),
        note="The share of their time that a pool's workers work. The largest of a pod is its busy "
        "share, by which the autoscaler keeps pods.",
    ),
    Graph(
        "Workers", units.Short, each("pool", series("distilpose_pool_workers")), note="All pods."
    ),
    Graph(
        "Stalled",
        units.Short,
        each("pod", series("distilpose_stalled")),
        note="1 while work is queued and nothing runs or ends.",
    ),
)

DEVICE: Final = (
    Graph(
        "Device time",
        units.PercentUnit,
        each("stage", rate("distilpose_device_busy_seconds_total")),
        stacked=True,
        note="Busy devices, by the stage they compute.",
    ),
    Graph(
        "Device memory",
        units.BytesIEC,
        each("pod, kind", series("distilpose_device_memory_bytes")),
        note="0 if the device shares the process's memory.",
    ),
    Graph("Errors", units.Short, each("pod, kind", rate("distilpose_device_errors_total"))),
)

THROTTLED: Final = "container_cpu_cfs_throttled_periods_total"
PERIODS: Final = "container_cpu_cfs_periods_total"
NAMED: Final = 'container!=""'
PROCESS: Final = (
    Graph("CPU", units.Short, each("pod", rate("process_cpu_seconds_total")), note="Cores in use."),
    Graph(
        "CPU throttled",
        units.PercentUnit,
        Query(ratio(rate(THROTTLED, NAMED), rate(PERIODS, NAMED), by="pod"), "{{pod}}"),
        note="The share of periods in which a container reached its limit, from the kubelet.",
    ),
    Graph(
        "Memory",
        units.BytesIEC,
        each("pod", series("process_resident_memory_bytes")),
        each("pod, part", series("distilpose_memory_held_bytes")),
        each("pod", series("distilpose_memory_limit_bytes")),
        note="Of the process, of requests by purpose, and the limit of all requests together.",
    ),
    Graph(
        "Dropped log lines",
        units.Short,
        each("pod", rate("distilpose_log_lines_dropped_total")),
        note="Per second. Standard error was not read in time.",
    ),
)

ROWS: Final = {
    "Traffic and errors": (TRAFFIC,),
    "Latency": (LATENCY, STAGES),
    "Queues": (QUEUES,),
    "Batches": (BATCHES,),
    "Pictures and people": (PICTURES,),
    "Streams": (STREAMS,),
    "Workers": (WORKERS,),
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
