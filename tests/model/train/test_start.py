"""The weights that a run starts from."""

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distilpose.model.card import Card
from distilpose.model.configs import network_config
from distilpose.model.errors import ConfigError, WeightsError
from distilpose.model.header import read_card
from distilpose.model.load import packaged_student
from distilpose.model.networks import build
from distilpose.model.train import checkpoint
from distilpose.model.train.checkpoint import TRAINING_DATA, UNKNOWN, Origin
from distilpose.model.train.settings import DataSettings, RunSettings, TrainSettings
from distilpose.model.train.start import FROM_NOTHING, frozen_teacher, start_weights
from distilpose.model.weights import read_tensors, save, write_tensors


def card(architecture: str, crops_seen: int | None = None) -> Card:
    return Card(
        architecture=architecture,
        version="1",
        created=date(2026, 1, 1),
        source="drawn",
        training_data="none",
        licences=("AGPL-3.0",),
        calibrated=False,
        limitations=(),
        crops_seen=crops_seen,
    )


def file_of(name: str, folder: Path, crops_seen: int | None = None) -> Path:
    torch.manual_seed(7)
    path = folder / f"{name}.safetensors"
    save(path, build(name).state_dict(), card(name, crops_seen))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    names = ("tokenpose-s", "tokenpose-n", "distilpose-n")
    return {name: file_of(name, folder, crops_seen=1000) for name in names}


def settings(network: str, **values: Any) -> TrainSettings:
    data = DataSettings(people=Path("a"), cache=Path("b"))
    run = {"network": network, "data": data, "run": RunSettings(steps=1)}
    if network == "distilpose-s":
        run["loss"] = {"map": 0, "dense": 0, "attention": 0}
    return TrainSettings.model_validate(run | values)


def tensors(path: Path) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in read_tensors(path)[0].items()}


@pytest.mark.parametrize(
    ("student", "teacher", "left_out"),
    [
        ("distilpose-s", "tokenpose-s", (".mlp_head.",)),
        ("distilpose-n", "tokenpose-n", ("head.", "ask.", "spots.")),
    ],
)
def test_a_student_starts_from_all_of_its_teacher_but_the_last_layers(
    files: dict[str, Path], student: str, teacher: str, left_out: tuple[str, ...]
) -> None:
    network = build(student)
    start = start_weights(network, settings(student, teacher=files[teacher]))
    names = [
        name
        for name in network.state_dict()
        if not any(name.startswith(part) or part in name for part in left_out)
    ]
    assert start.tensors == len(names)
    assert start.crops_seen == 1000


@pytest.mark.parametrize("name", ["tokenpose-s", "distilpose-n"])
def test_a_network_goes_on_from_its_own_weights(files: dict[str, Path], name: str) -> None:
    network = build(name)
    start = start_weights(network, settings(name, start_from=files[name]))
    assert start.tensors == len(network.state_dict())
    digest = hashlib.sha256(files[name].read_bytes()).hexdigest()
    assert start.origin == Origin(files[name].name, name, "1", digest, ("AGPL-3.0",))


def test_an_older_releases_checkpoint_says_that_it_does_not_know_its_terms(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    weights = build("distilpose-n").state_dict()
    about = {"settings": json.dumps({"network": "distilpose-n"}), "data_digest": "digest"}
    old = {"step": 2, "spent_seconds": 1.0, "code_version": "1", "optimiser": {}, **about}
    torch.save({"network": weights, "averaged": weights, **old}, path)
    start = start_weights(build("distilpose-n"), settings("distilpose-n", start_from=path))
    assert start.origin is not None
    assert start.origin.licences == (*UNKNOWN.licences, TRAINING_DATA)


def test_a_teacher_starts_from_a_student_with_a_map_of_its_own(files: dict[str, Path]) -> None:
    network = build("tokenpose-n")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    start_weights(network, settings("tokenpose-n", start_from=files["distilpose-n"]))
    given, got = tensors(files["distilpose-n"]), network.state_dict()
    for name in ("spots.weight", "ask.1.weight"):
        assert torch.equal(got[name], before[name])
    for name in ("kpt", "blocks.3.qkv.weight", "trunk.layers.0.conv.weight"):
        assert torch.equal(got[name], given[name])


def test_a_bare_trunk_is_a_start_that_has_seen_no_crops(
    files: dict[str, Path], tmp_path: Path
) -> None:
    trunk = {name: t for name, t in tensors(files["distilpose-n"]).items() if "trunk." in name}
    path = tmp_path / "trunk.safetensors"
    write_tensors(path, trunk, card("yolo26n-pose-trunk"))
    network = build("distilpose-n")
    start = start_weights(network, settings("distilpose-n", start_from=path))
    assert (start.tensors, start.crops_seen) == (len(trunk), 0)
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in trunk.items())


def test_a_run_goes_on_from_the_packages_own_weights() -> None:
    name = read_card(packaged_student()).architecture
    network = build(name)
    start_weights(network, settings(name, start_from="packaged"))
    own, packaged = network.state_dict(), tensors(packaged_student())
    assert own.keys() == packaged.keys()
    assert all(torch.equal(own[key].float(), packaged[key]) for key in own)


def test_a_checkpoint_gives_averaged_weights_helpers_and_what_they_saw(tmp_path: Path) -> None:
    torch.manual_seed(3)
    averaged = build("distilpose-n").state_dict()
    state = checkpoint.Checkpoint(
        step=2,
        spent_seconds=1.0,
        network=build("distilpose-n").state_dict(),
        averaged=averaged,
        optimiser={},
        settings=json.dumps({"network": "distilpose-n"}),
        data_digest="digest",
        code_version="1",
        helpers={"dense.bias": torch.ones(17)},
        crops_seen=4321,
    )
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, state)
    network = build("distilpose-n")
    start = start_weights(network, settings("distilpose-n", start_from=path))
    assert start.crops_seen == 4321
    assert start.helpers["dense.bias"].tolist() == [1] * 17
    assert all(torch.equal(network.state_dict()[name], t) for name, t in averaged.items())


def test_a_file_that_does_not_say_leaves_the_count_unknown(tmp_path: Path) -> None:
    path = file_of("distilpose-n", tmp_path)
    start = start_weights(build("distilpose-n"), settings("distilpose-n", start_from=path))
    assert start.crops_seen is None


@pytest.mark.parametrize("values", [{}, {"start_from": "nothing"}])
def test_a_run_from_scratch_takes_nothing(values: dict[str, str]) -> None:
    assert start_weights(build("tokenpose-s"), settings("tokenpose-s", **values)) == FROM_NOTHING


def test_a_file_of_which_nothing_fits_is_refused(files: dict[str, Path]) -> None:
    with pytest.raises(WeightsError, match="nothing in it fits distilpose-n"):
        start_weights(
            build("distilpose-n"), settings("distilpose-n", start_from=files["tokenpose-s"])
        )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.safetensors"
    with pytest.raises(WeightsError, match=r"none\.safetensors: no such file"):
        start_weights(build("tokenpose-s"), settings("tokenpose-s", start_from=path))


def test_a_teacher_is_frozen(files: dict[str, Path]) -> None:
    teacher = frozen_teacher(files["tokenpose-n"], network_config("distilpose-n"))
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ("distilpose-n", "is no teacher's weights"),
        ("tokenpose-s", "tokenpose-s cannot teach distilpose-n"),
    ],
)
def test_what_cannot_teach_is_refused(files: dict[str, Path], teacher: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        frozen_teacher(files[teacher], network_config("distilpose-n"))
