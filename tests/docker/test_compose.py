"""The files, services and commands that compose.yaml refers to exist."""

import re
from pathlib import Path
from typing import Any

import yaml

from distilpose.service.settings import Settings

DOCKER = Path(__file__).parents[2] / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def test_every_file_it_mounts_is_there() -> None:
    mounted = [each.split(":")[0] for one in SERVICES.values() for each in one.get("volumes", [])]
    assert len(mounted) == 3
    assert [path for path in mounted if not (DOCKER / path).exists()] == []


def test_it_builds_a_target_of_the_dockerfile() -> None:
    build = SERVICES["distilpose"]["build"]
    dockerfile = (DOCKER / build["context"] / build["dockerfile"]).read_text()
    assert re.search(rf"^FROM \S+ AS {build['target']}$", dockerfile, re.MULTILINE)


def test_prometheus_asks_the_service_by_the_name_and_port_it_has() -> None:
    [job] = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    [found] = job["dns_sd_configs"]
    assert found["names"] == ["distilpose"]
    assert found["names"][0] in SERVICES
    dockerfile = (DOCKER / "Dockerfile").read_text()
    assert f"DISTILPOSE_TELEMETRY__METRICS_PORT={found['port']}" in dockerfile


def test_grafana_asks_prometheus_by_the_name_it_has() -> None:
    provisioning = DOCKER / "grafana/provisioning/datasources/prometheus.yaml"
    [source] = yaml.safe_load(provisioning.read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in SERVICES


def test_only_this_machine_reaches_its_ports() -> None:
    ports = [port for one in SERVICES.values() for port in one.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_it_is_stopped_no_sooner_than_it_has_drained() -> None:
    life = Settings().life
    grace = int(SERVICES["distilpose"]["stop_grace_period"].removesuffix("s"))
    assert grace >= life.drain_delay_seconds + life.drain_seconds + 5
