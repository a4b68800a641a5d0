"""Short real runs on six people: stopping, resuming, failing."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import labelled
from distilpose.model.arrays import ImageHWC
from distilpose.model.errors import ConfigError, WeightsError
from distilpose.model.header import read_card
from distilpose.model.load import packaged_student
from distilpose.model.skeleton import KEYPOINT_NAMES
from distilpose.model.train import checkpoint
from distilpose.model.train.checkpoint import TRAINING_DATA
from distilpose.model.train.loop import Run, TrainingFailed
from distilpose.model.train.prepare import prepare
from distilpose.model.train.settings import load_run
from distilpose.model.train.validate import EarlyFigures
from distilpose.model.weights import load, read_tensors
from photos import photo_path
from tiny_people import BOXES_XYWH_PX, write_people


class Listener:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.entries: list[dict[str, float]] = []
        self.figures: list[EarlyFigures] = []
        self.saved: list[int] = []

    def on_note(self, text: str) -> None:
        self.notes.append(text)

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
    """A run with changed settings; `resumes=True` continues from the folder's checkpoint."""
    resumes = changes.pop("resumes", False)
    values = {
        "network": "tokenpose-s",
        "data": {"people": str(people), "cache": str(people / "cache")},
        "run": {
            "steps": 4,
            "batch_size": 2,
            "log_every_steps": 3,
            "device": "cpu",
            "precision": "float32",
            "small_first": {"until": 1.0, "height": 64},
        },
    }
    out.mkdir(exist_ok=True)
    (out / "run.yaml").write_text(yaml.safe_dump(values))
    listener = Listener()
    run = prepare(load_run(out / "run.yaml", changes), out, observer=listener, resumes=resumes)
    return run, listener


ON_TRUNK = {"network": "distilpose-n", "run.small_first": None, "run.log_every_steps": 2}


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
    [figures] = listener.figures
    assert 0 < figures.mean_oks < 1
    saved = checkpoint.load(run.checkpoint_path, torch.device("cpu"))
    assert saved.figures == figures._asdict()
    weights = load(tmp_path / "tokenpose-s.safetensors")
    assert weights.card.architecture == "tokenpose-s"
    assert "4 steps" in weights.card.source
    assert weights.card.accuracy[0].name == "ap"
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["train"] * 2 + ["figures"]
    for picture in ("curves.png", "predictions.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


def test_a_run_only_stores_what_it_is_made_of(people: Path, tmp_path: Path) -> None:
    run, listener = make(people, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    generator = torch.get_rng_state()
    again = replace(run, stopping=True)
    for field in fields(Run):
        if field.init and field.name != "stopping":
            assert getattr(again, field.name) is getattr(run, field.name)
    assert torch.equal(torch.get_rng_state(), generator)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert (listener.notes, listener.entries) == ([], [])


NEIGHBOURS = {"augment.neighbour_probability": 1.0, "run.batch_size": 6}


@pytest.mark.parametrize("changes", [{}, NEIGHBOURS], ids=["alone", "with neighbours"])
def test_a_resumed_run_is_bit_equal_to_one_that_went_through(
    people: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    whole, _ = make(people, tmp_path / "whole", **changes)
    whole.fit()
    first, listener = make(people, tmp_path / "parts", **changes)
    take = listener.on_log

    def stop_after_three(entry: dict[str, float]) -> None:
        take(entry)
        first.stopping = entry["step"] == 3

    listener.on_log = stop_after_three  # type: ignore[method-assign]  # stop in the middle
    first.fit()
    assert listener.saved == [3]
    second, _ = make(people, tmp_path / "parts", resumes=True, **changes)
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
    with pytest.raises(WeightsError, match="is of tokenpose-s, not of distilpose-n"):
        make(people, tmp_path, resumes=True, **ON_TRUNK)


def test_a_folder_with_another_runs_checkpoint_is_not_begun_in(
    people: Path, tmp_path: Path
) -> None:
    run, _ = make(people, tmp_path)
    run.save()
    with pytest.raises(
        ConfigError, match=rf"{tmp_path}: already has the checkpoint\.pt .* --resume"
    ):
        make(people, tmp_path, **ON_TRUNK)


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


def test_a_published_student_is_distilled_from_a_teacher_and_starts_from_it(
    people: Path, tmp_path: Path
) -> None:
    teacher, _ = make(people, tmp_path / "teacher", **{"run.steps": 1})
    teacher.fit()
    weights = tmp_path / "teacher" / "tokenpose-s.safetensors"
    changes = {
        "network": "distilpose-s",
        "teacher": str(weights),
        "run.steps": 1,
        "loss.heatmaps_of": "teacher",
        "loss.map": 0,
        "loss.dense": 0,
        "loss.attention": 0,
    }
    student, listener = make(people, tmp_path / "student", **changes)
    name = "backbone.conv1.weight"
    taught = load(weights).network.state_dict()[name]
    assert torch.equal(student.network.state_dict()[name], taught)
    student.fit()
    assert {"reg", "vis_dist", "kpt_dist", "score", "reg2hm"} <= set(listener.entries[0])
    card = read_card(tmp_path / "student" / "distilpose-s.safetensors")
    assert "taught by tokenpose-s.safetensors" in card.source
    assert f"from tokenpose-s {read_card(weights).version} (" in card.source


def stopped_after(run: Run, listener: Listener, step: int) -> None:
    """Stop a run in its middle, at this step."""

    def stop(entry: dict[str, float]) -> None:
        run.stopping = entry.get("step") == step

    listener.on_log = stop  # type: ignore[method-assign]  # stop in the middle
    run.fit()


def test_a_student_on_the_trunk_goes_on_bit_for_bit_while_its_trunk_thaws(
    people: Path, tmp_path: Path
) -> None:
    changes = {**ON_TRUNK, "optimiser.trunk_frozen": 0.75}
    whole, listener = make(people, tmp_path / "whole", **changes)
    trunk = "trunk.layers.0.conv.weight"
    before = whole.network.state_dict()[trunk].clone()
    whole.fit()
    assert {"reg", "reg2hm", "score", "map", "dense", "attention"} <= set(listener.entries[0])
    first, listener = make(people, tmp_path / "parts", **changes)
    stopped_after(first, listener, 2)
    assert torch.equal(first.network.state_dict()[trunk], before)
    second, _ = make(people, tmp_path / "parts", resumes=True, **changes)
    assert second.progress.step == 2
    second.fit()
    assert not torch.equal(second.network.state_dict()[trunk], before)
    for kind in ("network", "averaged", "helped"):
        expected, got = (getattr(run, kind).state_dict() for run in (whole, second))
        assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_crops_seen_are_counted_on_from_file_to_file(people: Path, tmp_path: Path) -> None:
    first, _ = make(people, tmp_path / "first", **ON_TRUNK)
    first.fit()
    path = tmp_path / "first" / "distilpose-n.safetensors"
    assert read_card(path).crops_seen == 4 * 2
    second, listener = make(
        people, tmp_path / "second", **ON_TRUNK, **{"start_from": str(path), "run.steps": 3}
    )
    stopped_after(second, listener, 2)
    path.unlink()  # needed no more
    changes = {"start_from": str(path), "run.steps": 3}
    third, _ = make(people, tmp_path / "second", resumes=True, **ON_TRUNK, **changes)
    third.fit()
    assert read_card(tmp_path / "second" / "distilpose-n.safetensors").crops_seen == 8 + 3 * 2
    saved = checkpoint.load(third.checkpoint_path, torch.device("cpu"))
    assert saved.crops_seen == 8 + 3 * 2
    fourth, _ = make(people, tmp_path / "fourth", **ON_TRUNK, start_from=str(third.checkpoint_path))
    assert fourth.crops_seen == 8 + 3 * 2
    assert torch.equal(
        fourth.helped.own_state()["dense.weight"], third.helped.own_state()["dense.weight"]
    )


def test_the_terms_of_what_a_run_began_with_are_its_own_from_file_to_file(
    people: Path, tmp_path: Path
) -> None:
    changes = {**ON_TRUNK, "run.log_every_steps": 1}
    first, listener = make(people, tmp_path / "first", start_from="packaged", **changes)
    stopped_after(first, listener, 1)
    packaged = read_card(packaged_student())
    assert any("AGPL-3.0" in licence for licence in packaged.licences)
    terms = (*packaged.licences, TRAINING_DATA)
    second, _ = make(people, tmp_path / "first", resumes=True, start_from="packaged", **changes)
    second.save()
    card = read_card(tmp_path / "first" / "distilpose-n.safetensors")
    assert card.licences == terms
    assert f"from distilpose-n {packaged.version} (distilpose-n.safetensors, sha256" in card.source
    begun = str(second.checkpoint_path)
    third, _ = make(people, tmp_path / "third", start_from=begun, **ON_TRUNK)
    third.save()
    card = read_card(tmp_path / "third" / "distilpose-n.safetensors")
    assert card.licences == terms
    assert "from distilpose-n at step 1 (checkpoint.pt, sha256" in card.source


def test_early_figures_stay_on_the_card_when_a_resumed_run_is_stopped(
    people: Path, tmp_path: Path
) -> None:
    changes = {"data.evaluate_on": str(people), "run.log_every_steps": 1}
    first, listener = make(people, tmp_path, **changes)
    first.measure()
    first.save()
    second, _ = make(people, tmp_path, resumes=True, **changes)
    second.save()
    [*figures] = read_card(tmp_path / "tokenpose-s.safetensors").accuracy
    assert [figure.name for figure in figures] == list(listener.figures[0]._asdict())


def test_only_training_has_the_dense_map(people: Path, tmp_path: Path) -> None:
    run, _ = make(people, tmp_path, **ON_TRUNK, **{"run.steps": 1})
    run.fit()
    saved = checkpoint.load(run.checkpoint_path, torch.device("cpu"))
    assert set(saved.helpers) == {"dense.weight", "dense.bias"}
    tensors, _, _ = read_tensors(tmp_path / "distilpose-n.safetensors")
    assert tensors.keys() == run.network.state_dict().keys()
    assert not any("dense" in name for name in tensors)


def test_a_run_of_points_from_tokens_is_measured_and_leaves_no_weights_to_serve(
    people: Path, tmp_path: Path
) -> None:
    changes = {"loss.point": "token", "loss.map": 0, "run.steps": 1}
    run, listener = make(
        people, tmp_path, **ON_TRUNK, **changes, **{"data.evaluate_on": str(people)}
    )
    run.fit()
    [figures] = listener.figures
    assert 0 < figures.mean_oks < 1
    saved = checkpoint.load(run.checkpoint_path, torch.device("cpu"))
    assert saved.figures == figures._asdict()
    assert list(tmp_path.glob("*.safetensors")) == []


def test_the_precision_that_a_trial_chose_is_noted_and_kept(people: Path, tmp_path: Path) -> None:
    changes = {**ON_TRUNK, "run.precision": "auto", "run.steps": 2, "run.log_every_steps": 1}
    run, listener = make(people, tmp_path, **changes)
    stopped_after(run, listener, 1)
    assert len(listener.notes) == 1
    assert "a trial took" in listener.notes[0]
    first_line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert first_line == {"kind": "note", "text": listener.notes[0]}
    again, listener = make(people, tmp_path, resumes=True, **changes)
    again.fit()
    assert again.precision == run.precision
    assert listener.notes == []


def write_sixteen_people(folder: Path) -> Path:
    """Sixteen people that only their pixels tell apart.

    They are the six of two photos, unchanged and mirrored, and four of them upside down too. Each
    has its own random pose in its box, so that knowing the box or a twin does not help.
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
        "calm": 0.0,
        "loss.cross_entropy": 0.1,
        "optimiser.learning_rate": 1.0e-3,
        "optimiser.warmup_steps": 20,
        "data.evaluate_on": str(people),
    }
    run, listener = make(people, tmp_path / "run", **changes)
    run.fit()
    assert run.held_out is not None
    assert len(run.held_out.table) == 16
    assert listener.figures[-1].mean_oks > 0.95
