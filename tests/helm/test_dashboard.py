"""The dashboard: the committed file is current, and Grafana accepts it."""

import itertools
import subprocess
import sys
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry

from charts import CHART, render
from distilpose.service.telemetry.metrics import Metrics
from monitoring import NAME, RELEASE, dashboard, graphs, metrics_of

DOCKER = CHART.parents[1] / "docker"
ROWS = {
    "Traffic and errors": [
        "Requests",
        "Failed and refused",
        "Images",
        "Ready replicas",
    ],
    "Latency": ["Requests", "Where the time goes", "decode", "detect", "pose"],
    "Queues": ["Items waiting", "Oldest item", "Mean wait", "Dropped items"],
    "Batches": ["Mean batch", "Fill", "Padding"],
    "Pictures and people": ["Decodes", "People per image", "Poses", "Mean keypoint score"],
    "Streams": ["Open streams", "Frames", "Dropped for newer ones", "Age of answers"],
    "Workers": ["Busy", "Workers", "Stalled"],
    "Device": ["Device time", "Device memory", "Errors"],
    "Process": ["CPU", "CPU throttled", "Memory", "Dropped log lines"],
}
SHOWN_ELSEWHERE = {
    "distilpose_requests_in_flight",  # counts the scrape itself
    "distilpose_build_info",  # not a number to plot, for manual queries
}


def test_the_file_is_what_its_program_writes(tmp_path: Path) -> None:
    written = tmp_path / "dashboard.json"
    program = CHART.parent / "dashboard.py"
    subprocess.run([sys.executable, str(program), str(written)], check=True)
    committed = CHART / "files" / "dashboard.json"
    assert committed.read_text("utf-8") == written.read_text("utf-8")


def test_it_is_a_config_map_that_grafanas_sidecar_finds() -> None:
    board = render("dashboard.enabled=true", release=RELEASE).objects["dashboard.yaml"]
    assert board["kind"] == "ConfigMap"
    assert board["metadata"]["name"] == f"{NAME}-dashboard"
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    values = {"dashboard": {"enabled": True, "labels": {"find": "me"}}}
    assert render(values).objects["dashboard.yaml"]["metadata"]["labels"]["find"] == "me"


def test_rows_and_panels_are_those_that_operating_needs() -> None:
    rows: dict[str, list[str]] = {}
    for panel in dashboard()["panels"]:
        if panel["type"] == "row":
            rows[panel["title"]] = []
        else:
            rows[list(rows)[-1]].append(panel["title"])
    assert rows == ROWS


def test_panels_fill_lines_of_24_without_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        lines = range(place["y"], place["y"] + place["h"])
        cells = set(itertools.product(columns, lines))
        assert not cells & taken
        taken |= cells
    heights = {line for _, line in taken}
    assert taken == set(itertools.product(range(24), heights))
    assert heights == set(range(len(heights)))


def test_every_panel_asks_the_chosen_data_source_for_the_chosen_pods() -> None:
    board = dashboard()
    assert [variable["name"] for variable in board["templating"]["list"]] == [
        "datasource",
        "namespace",
        "pod",
    ]
    for panel in graphs():
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["options"]
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == list("ABCD"[: len(letters)])
        assert letters
        for target in panel["targets"]:
            chosen = 'namespace=~"$namespace",pod=~"$pod"'
            assert target["expr"].count("{") == target["expr"].count(chosen) > 0
            assert target["legendFormat"]
    numbers = [panel["id"] for panel in board["panels"]]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_metric_of_the_service_is_on_it() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    ours = {
        f"{family.name}_info" if family.type == "info" else family.name
        for family in registry.collect()
    }
    exprs = [target["expr"] for panel in graphs() for target in panel["targets"]]
    asked = set(itertools.chain(*map(metrics_of, exprs)))
    shown = {name for name in ours for each in asked if each.startswith(name)}
    assert shown | SHOWN_ELSEWHERE == ours


def test_compose_scrapes_with_the_labels_that_the_dashboard_chooses_by() -> None:
    config = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text("utf-8"))
    [job] = config["scrape_configs"]
    assert job["dns_sd_configs"][0]["port"] == 9090
    assert {rule["target_label"] for rule in job["relabel_configs"]} == {"namespace", "pod"}
