"""The Job that trains."""

import re
from pathlib import Path
from typing import Any

import yaml

from charts import CHART, SCENARIOS, Rendered, refusal, render
from distilpose.model.train.settings import load_run

TRAINING = {"training": SCENARIOS["everything"]["training"]}
RUNBOOK = (CHART.parents[1] / "docs" / "training.md").read_text("utf-8")


def container(made: Rendered) -> Any:
    return made.one("Job")["spec"]["template"]["spec"]["containers"][0]


def test_it_runs_the_runbooks_torchrun_line() -> None:
    made = container(render(TRAINING))
    command = " ".join([*made["command"], *made["args"]])
    start = "torchrun --standalone --nproc-per-node 8 -m distilpose.cli train student"
    assert command.startswith(f"tini -- {start} --config /config/run.yaml --out runs/student")
    assert start in RUNBOOK
    assert command.endswith("--resume")


def test_a_process_for_each_device() -> None:
    four = render(TRAINING, "training.gpu.count=4")
    assert container(four)["command"][-1] == "4"
    assert container(four)["resources"]["limits"]["nvidia.com/gpu"] == 4
    none = render(TRAINING, "training.gpu.count=0")
    assert container(none)["command"][-1] == "1"
    assert "nvidia.com/gpu" not in container(none)["resources"]["limits"]


def test_training_reads_the_run(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(render(TRAINING).objects["training-config.yaml"]["data"]["run.yaml"])
    assert load_run(path).run.batch_size == 64


def test_the_runbooks_values_make_a_job_whose_run_is_valid(tmp_path: Path) -> None:
    [values] = [
        yaml.safe_load(block)
        for block in re.findall(r"```yaml\n(.*?)```", RUNBOOK, re.DOTALL)
        if block.startswith("training:")
    ]
    made = render(values)
    assert container(made)["resources"]["limits"]["nvidia.com/gpu"] == 8
    path = tmp_path / "run.yaml"
    path.write_text(made.objects["training-config.yaml"]["data"]["run.yaml"])
    assert load_run(path).run.budget_seconds == 1500


def test_its_folders_are_the_claims() -> None:
    made = render(TRAINING)
    pod = made.one("Job")["spec"]["template"]["spec"]
    claims = {
        v["name"]: v["persistentVolumeClaim"]["claimName"]
        for v in pod["volumes"]
        if "persistentVolumeClaim" in v
    }
    assert claims == {"data": "people", "cache": "crops", "runs": "runs"}
    mounts = {m["name"]: m["mountPath"] for m in container(made)["volumeMounts"]}
    assert all(mounts[name] == f"/train/{name}" for name in claims)
    assert {v["name"]: v for v in pod["volumes"]}["shm"]["emptyDir"]["medium"] == "Memory"


def test_another_run_is_another_job() -> None:
    def name(*changes: str) -> str:
        return str(render(TRAINING, *changes).one("Job")["metadata"]["name"])

    assert re.fullmatch(r"distilpose-train-[0-9a-f]{8}", name())
    assert len({name(), name("training.run.run.batch_size=32"), name("training.image.tag=b")}) == 3
    assert name() == name("replicaCount=4", "config.http.max_images=2")


def test_being_preempted_is_no_failure() -> None:
    spec = render(TRAINING).one("Job")["spec"]
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert rule["action"] == "Ignore"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["backoffLimit"] == 3


def test_it_is_none_of_the_services_pods() -> None:
    made = render(TRAINING)
    labels = made.one("Job")["spec"]["template"]["metadata"]["labels"]
    selected = made.one("Deployment")["spec"]["selector"]["matchLabels"]
    assert not selected.items() <= labels.items()


def test_it_goes_where_devices_are() -> None:
    pod = render(SCENARIOS["everything"]).one("Job")["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "gpu"}
    assert pod["runtimeClassName"] == "nvidia"
    assert "priorityClassName" not in pod


def test_what_it_needs_is_demanded_by_name() -> None:
    text = refusal("training={enabled: true, image: {repository: r}}")
    for name in ("training.run", "claims.data", "claims.cache", "claims.runs"):
        assert f"{name} is not set" in text
    assert "training.image.repository is not set" in refusal(TRAINING, "training.image.repository=")
