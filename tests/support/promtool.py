"""Prometheus' own tool, if it is installed."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)"
)


def promtool(*arguments: str | Path) -> None:
    """Run promtool; fail with its output."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def check_over(
    series: dict[str, str],
    folder: Path,
    *,
    interval: str = "1m",
    rules: Path | None = None,
    **expectations: Any,
) -> None:
    """Check `alert_rule_test` or `promql_expr_test` over series in promtool's notation."""
    group = {
        "interval": interval,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        **expectations,
    }
    test = {
        "rule_files": [str(rules)] if rules else [],
        "evaluation_interval": interval,
        "tests": [group],
    }
    path = folder / "test.yaml"
    path.write_text(json.dumps(test))  # JSON is YAML as well
    promtool("test", "rules", path)
