"""The alerts and the dashboard of a release of the chart called `pose`."""

import json
import re
from pathlib import Path
from typing import Any, Final

from charts import NAMESPACE, render

RELEASE: Final = "pose"
NAME: Final = f"{RELEASE}-distilpose"
POD: Final = f"{NAME}-6d5f8c7b9d-x2v4q"
"""A pod of the release, with a name as given by its Deployment."""
Json = dict[str, Any]

SCRAPED = f'namespace="{NAMESPACE}",pod="{POD}",job="{NAME}",container="distilpose"'
KUBE_STATE = f'namespace="{NAMESPACE}",job="kube-state-metrics",container="kube-state-metrics"'
DEPLOYMENT = f'{{{KUBE_STATE},deployment="{NAME}"}}'
READY = f"kube_deployment_status_replicas_ready{DEPLOYMENT}"
WANTED = f"kube_deployment_spec_replicas{DEPLOYMENT}"
RESTARTS = (
    "kube_pod_container_status_restarts_total"
    f'{{namespace="{NAMESPACE}",pod="{POD}",container="distilpose",job="kube-state-metrics"}}'
)
STALLED = f"distilpose_stalled{{{SCRAPED}}}"


def requests(
    code: str, blame: str = "none", *, transport: str = "rest", method: str = "estimate_pose"
) -> str:
    """The series of the requests that end with this code and this blame."""
    ending = f'code="{code}",blame="{blame}"'
    labels = f'{SCRAPED},transport="{transport}",method="{method}",{ending}'
    return f"distilpose_requests_total{{{labels}}}"


def alerts(**limits: Any) -> list[Json]:
    """The rules of the PrometheusRule."""
    values = {"prometheusRule": {"enabled": True, **limits}}
    [group] = render(values, release=RELEASE).one("PrometheusRule")["spec"]["groups"]
    rules: list[Json] = group["rules"]
    return rules


def rule_file(folder: Path) -> Path:
    """A file with the alerts of the release, for promtool."""
    path = folder / "alerts.yaml"
    path.write_text(json.dumps({"groups": [{"name": NAME, "rules": alerts()}]}), "utf-8")
    return path


def dashboard() -> Json:
    """The dashboard in the form for Grafana."""
    made = render("dashboard.enabled=true", release=RELEASE).objects["dashboard.yaml"]
    document: Json = json.loads(made["data"]["distilpose.json"])
    return document


def graphs() -> list[Json]:
    """The dashboard's panels, without rows."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def chosen(expr: str) -> str:
    """A query of the dashboard with the release's pods selected, as Grafana sends it."""
    for name, value in (("namespace", NAMESPACE), ("pod", POD), ("__rate_interval", "1m")):
        expr = expr.replace(f"${name}", value)
    return expr


def metrics_of(expr: str) -> set[str]:
    """The names of the metrics in a query."""
    return set(re.findall(r"([a-z_]+)\{", expr))
