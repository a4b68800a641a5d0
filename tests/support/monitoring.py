"""The alerts and the dashboard of a release of the chart called `pose`."""

import json
import re
from typing import Any, Final

from charts import NAMESPACE, render

RELEASE: Final = "pose"
NAME: Final = f"{RELEASE}-distilpose"
POD: Final = f"{NAME}-6d5f8c7b9d-x2v4q"
"""A pod of the release, named as its Deployment names them."""
Json = dict[str, Any]


def alerts(**limits: Any) -> list[Json]:
    """The rules of the PrometheusRule."""
    values = {"prometheusRule": {"enabled": True, **limits}}
    [group] = render(values, release=RELEASE).one("PrometheusRule")["spec"]["groups"]
    rules: list[Json] = group["rules"]
    return rules


def dashboard() -> Json:
    """The dashboard as Grafana gets it."""
    made = render("dashboard.enabled=true", release=RELEASE).objects["dashboard.yaml"]
    document: Json = json.loads(made["data"]["distilpose.json"])
    return document


def graphs() -> list[Json]:
    """The dashboard's panels that show something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def chosen(expr: str) -> str:
    """A query of the dashboard, as Grafana sends it when the release's pod is chosen."""
    for name, value in (("namespace", NAMESPACE), ("pod", POD), ("__rate_interval", "1m")):
        expr = expr.replace(f"${name}", value)
    return expr


def metrics_of(expr: str) -> set[str]:
    """The names of the metrics that a query asks for."""
    return set(re.findall(r"([a-z_]+)\{", expr))
