"""Short real runs on six people: stopping, resuming, failing."""

import json
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import labelled
from distilpose.model.arrays import ImageHWC
from distilpose.model.errors import WeightsError
from distilpose.model.skeleton import KEYPOINT_NAMES
from distilpose.model.train import checkpoint
from distilpose.model.train.loop import Run, TrainingFailed
from distilpose.model.train.prepare import prepare
from distilpose.model.train.settings import load_run
from distilpose.model.train.validate import EarlyFigures
from distilpose.model.weights import load, read_card
from photos import photo_path
from tiny_people import BOXES_XYWH_PX, write_people


class Listener:
    def __init__(self) -> None:
        self.entries: list[dict[str, float]] = []
        self.figures: list[EarlyFigures] = []
        self.saved: list[int] = []

    def on_log(self, entry: dict[str, float]) -> None:
        self.entries.append(entry)

    def on_figures(self, step: int, figures: EarlyFigures, examples_HWC: ImageHWC) -> None:
        self.figures.append(figures)

    def on_saved(self, step: int) -> None:
        self.saved.append(step)

    def close(self) -> None:
        self.entries.append({"closed": 1})


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people"))


def make(people: Path, out: Path, **changes: Any) -> tuple[Run, Listener]:
    values = {
        "network": "tokenpose-s",
        "data": {"people": str(people), "cache": str(people / "cache")},
        "run": {
            "steps": 4,
            "batch_size": 2,
            "log_every_steps": 3,
            "device": "cpu",
            "small_first": {"until": 1.0, "height": 64},
        },
    }
    out.mkdir(exist_ok=True)
    (out / "run.yaml").write_text(yaml.safe_dump(values))
    listener = Listener()
    run = prepare(load_run(out / "run.yaml", changes), out, observer=listener)
    return run, listener


def test_a_run_logs_saves_and_writes_weights(people: Path, tmp_path: Path) -> None:
    run, listener = make(people, tmp_path, **{"data.evaluate_on": str(people)})
    run.fit()
    assert [entry["step"] for entry in listener.entries[:-1]] == [3, 4]
    assert listener.entries[-1] == {"closed": 1}
    assert {"heatmap", "gradient_norm", "learning_rate", "crops_per_second"} <= set(
        listener.entries[0]
    )
    # A step left over at the end is timed like any other: measuring does not start its clock.
    assert max(entry["crops_per_second"] for entry in listener.entries[:-1]) < 10_000
    assert listener.saved[-1] == 4
    assert 0 <= listener.figures[-1].mean_oks <= 1
    weights = load(tmp_path / "tokenpose-s.safetensors")
    assert weights.card.architecture == "tokenpose-s"
    assert "4 steps" in weights.card.source
    assert weights.card.accuracy[0].name == "ap"
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["train"] * 2 + ["figures"]
    for picture in ("curves.png", "predictions.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


def test_a_resumed_run_is_bit_equal_to_one_that_went_through(people: Path, tmp_path: Path) -> None:
    whole, _ = make(people, tmp_path / "whole")
    whole.fit()
    first, listener = make(people, tmp_path / "parts")
    take = listener.on_log

    def stop_after_three(entry: dict[str, float]) -> None:
        take(entry)
        first.stopping = entry["step"] == 3

    listener.on_log = stop_after_three  # type: ignore[method-assign]  # stop in the middle
    first.fit()
    assert listener.saved == [3]
    second, _ = make(people, tmp_path / "parts")
    second.resume()
    second.fit()
    for kind in ("network", "averaged"):
        expected, got = (getattr(run, kind).state_dict() for run in (whole, second))
        assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_nothing(
    people: Path, tmp_path: Path
) -> None:
    run, listener = make(people, tmp_path)
    with torch.no_grad():
        next(run.network.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingFailed, match=r"heatmap, gradient_norm not finite by step 3"):
        run.fit()
    assert listener.saved == []
    assert not run.checkpoint_path.exists()


def test_a_run_does_not_go_on_from_another_network(people: Path, tmp_path: Path) -> None:
    run, _ = make(people, tmp_path)
    run.save()
    off = {f"loss.{name}": 0 for name in ("vis_dist", "kpt_dist", "score", "reg2hm")}
    other, _ = make(people, tmp_path, network="distilpose-s", **off)
    with pytest.raises(WeightsError, match="is of tokenpose-s, not of distilpose-s"):
        other.resume()


def test_a_crash_while_saving_leaves_the_checkpoint_that_was_there(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = make(people, tmp_path)
    run.save()
    before = run.checkpoint_path.read_bytes()

    def crash(_: object, file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(OSError, match="disk full"):
        run.save()
    assert run.checkpoint_path.read_bytes() == before
    assert [path.name for path in tmp_path.glob(".checkpoint*")] == []
    assert checkpoint.load(run.checkpoint_path, torch.device("cpu")).step == 0


def test_a_student_is_distilled_from_a_teacher_and_starts_from_it(
    people: Path, tmp_path: Path
) -> None:
    teacher, _ = make(people, tmp_path / "teacher", **{"run.steps": 1})
    teacher.fit()
    weights = tmp_path / "teacher" / "tokenpose-s.safetensors"
    changes = {"network": "distilpose-s", "teacher": str(weights), "run.steps": 1}
    student, listener = make(people, tmp_path / "student", **changes)
    name = "backbone.conv1.weight"
    taught = load(weights).network.state_dict()[name]
    assert torch.equal(student.network.state_dict()[name], taught)
    student.fit()
    assert {"reg", "vis_dist", "kpt_dist", "score", "reg2hm"} <= set(listener.entries[0])
    card = read_card(tmp_path / "student" / "distilpose-s.safetensors")
    assert "taught by tokenpose-s.safetensors" in card.source


def test_a_joint_student_learns_without_a_second_network_and_goes_on_bit_for_bit(
    people: Path, tmp_path: Path
) -> None:
    changes = {"network": "distilpose-s", "joint": True}
    whole, listener = make(people, tmp_path / "whole", **changes)
    whole.fit()
    assert {"heatmap", "reg", "reg2hm", "score"} <= set(listener.entries[0])
    first, listener = make(people, tmp_path / "parts", **changes, **{"run.log_every_steps": 2})
    listener.on_log = lambda entry: setattr(first, "stopping", True)  # type: ignore[method-assign]  # stop in the middle
    first.fit()
    second, _ = make(people, tmp_path / "parts", **changes)
    second.resume()
    assert second.progress.step == 2
    second.fit()
    expected, got = (run.averaged.state_dict() for run in (whole, second))
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    weights = load(tmp_path / "whole" / "distilpose-s.safetensors")
    assert "learning jointly with a heatmap head" in weights.card.source


def write_sixteen_people(folder: Path) -> Path:
    """Sixteen people that only their pixels tell apart.

    They are the six of two photos as they are and mirrored, and four of them upside down too. Each
    has a pose of its own, drawn at random in its box, so that knowing the box or a twin is no help.
    """
    draw = np.random.default_rng(0)
    pictures, people, files = [], [], {}
    views = [("bus.jpg", 1, 1), ("zidane.jpg", 1, 1), ("bus.jpg", 1, -1), ("zidane.jpg", 1, -1)]
    for picture_id, (name, down, right) in enumerate([*views, ("bus.jpg", -1, -1)], start=1):
        with Image.open(photo_path(name)) as photo:
            image_HWC = np.asarray(photo)[::down, ::right]
        height, width = image_HWC.shape[:2]
        pictures.append(labelled.picture(picture_id, width=width, height=height))
        files[pictures[-1]["file_name"]] = labelled.encoded(image_HWC)
        for x, y, w, h in BOXES_XYWH_PX[name]:
            box = (x if right == 1 else width - x - w, y if down == 1 else height - y - h, w, h)
            xy_px = draw.uniform(box[:2], (box[0] + w, box[1] + h), (17, 2))
            pose = dict(zip(KEYPOINT_NAMES, map(tuple, xy_px.tolist()), strict=True))
            people.append(labelled.person(picture_id, pose, bbox=box, area=0.53 * w * h))
    return labelled.write_folder(folder, pictures, people, files=files).folder


@pytest.mark.slow
def test_sixteen_people_are_learned_by_heart(tmp_path: Path) -> None:
    people = write_sixteen_people(tmp_path / "people")
    changes = {
        "run.steps": 180,
        "run.batch_size": 16,
        "run.log_every_steps": 100,
        "augment_strength": 0.0,
        "augment.flip": 0.0,
        "loss.cross_entropy": 0.1,
        "optimiser.warmup_steps": 20,
        "data.evaluate_on": str(people),
    }
    run, listener = make(people, tmp_path / "run", **changes)
    run.fit()
    assert run.held_out is not None
    assert len(run.held_out.table) == 16
    assert listener.figures[-1].mean_oks > 0.95
