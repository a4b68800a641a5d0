"""Weights published by others: read without running code, or rejected."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from distilpose.model.errors import WeightsError
from distilpose.model.imports import (
    import_file,
    import_published,
    import_trunk,
    published_card,
    trunk_card,
)
from distilpose.model.networks.offline import import_ultralytics
from distilpose.model.networks.trunk import Trunk, TrunkOut, yolo26n_pose
from distilpose.model.weights import load
from golden_rules import filled_state


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return filled_state("distilpose-s")


def _checkpoint(path: Path, state: dict[str, Tensor], **more: Any) -> Path:
    torch.save({"meta": {"epoch": 210}, "state_dict": state, **more}, path)
    return path


def test_a_published_checkpoint_is_imported(tmp_path: Path, state: dict[str, Tensor]) -> None:
    imported = import_published(_checkpoint(tmp_path / "s.pth", state), "distilpose-s")
    assert list(imported) == list(state)
    assert all(torch.equal(imported[key], tensor) for key, tensor in state.items())


def test_a_wrapped_students_teacher_and_prefix_are_dropped(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    wrapped = {f"module.{key}": tensor for key, tensor in state.items()}
    wrapped["module.teacher_model.backbone.conv1.weight"] = torch.zeros(64, 3, 3, 3)
    imported = import_published(_checkpoint(tmp_path / "s.pth", wrapped), "distilpose-s")
    assert list(imported) == list(state)


def test_a_best_score_kept_as_a_numpy_number_does_not_hinder(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    meta = {"hook_msgs": {"best_score": np.float64(0.716)}}
    path = _checkpoint(tmp_path / "best.pth", state, meta=meta)
    assert len(import_published(path, "distilpose-s")) == 230


def test_a_checkpoint_of_another_network_is_refused_by_names(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = _checkpoint(tmp_path / "s.pth", state)
    with pytest.raises(WeightsError, match=r"tokenpose-s does not fit; \d+ missing: keypoint_head"):
        import_published(path, "tokenpose-s")


def test_a_file_without_a_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "meta.pth"
    torch.save({"meta": {}}, path)
    with pytest.raises(WeightsError, match="'state_dict'"):
        import_published(path, "distilpose-s")


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    path = _checkpoint(tmp_path / "trap.pth", {}, trap=Trap(sprung))
    with pytest.raises(WeightsError, match="holds Python objects besides tensors"):
        import_published(path, "distilpose-s")
    assert not sprung.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps({"a": 1}, 2)[:-3]])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "noise.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"noise.pth: "):
        import_published(path, "distilpose-s")
    with pytest.raises(WeightsError, match=r"none.pth: no such file"):
        import_published(tmp_path / "none.pth", "distilpose-s")


def yolo(config: str = "26/yolo26-pose.yaml", *, scale: str = "n", kind: str = "PoseModel") -> Any:
    """Return an ultralytics network with random weights and non-trivial batch norms."""
    utils, tasks = import_ultralytics("utils"), import_ultralytics("nn.tasks")
    torch.manual_seed(0)
    described = utils.YAML.load(utils.ROOT / "cfg" / "models" / config) | {"scale": scale}
    network = getattr(tasks, kind)(described, verbose=False).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.get_buffer("running_var")):
                nn.init.uniform_(values, 0.7, 1.4)
            for values in (module.bias, module.get_buffer("running_mean")):
                nn.init.normal_(values, std=0.1)
    return network


def save_yolo(network: nn.Module, path: Path) -> Path:
    """Write a checkpoint, or only the tensors if `path` ends in .safetensors."""
    if path.suffix == ".safetensors":
        state = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
        safetensors.torch.save_file(state, path)
    else:
        torch.save({"model": network, "train_args": {}}, path)
    return path


@pytest.fixture(scope="module")
def pose_network() -> Any:
    """YOLO26n-pose with its batch norms."""
    return yolo()


@pytest.fixture(scope="module")
def folded_network() -> Any:
    """The same with its batch norms folded."""
    return yolo().fuse(verbose=False)


@torch.inference_mode()
def features_of(whole: Any, crops_BCHW: Tensor) -> TrunkOut:
    """Return the intermediate features of a YOLO network."""
    kept = {}
    layers = whole.model
    hooks = [
        layers[index].register_forward_hook(lambda _m, _in, out, i=index: kept.update({i: out}))
        for index in (2, 16, 19, 22)
    ]
    whole(crops_BCHW)
    for hook in hooks:
        hook.remove()
    levels = tuple(kept[index] for index in (16, 19, 22))
    points = tuple(cv4(level) for cv4, level in zip(layers[-1].cv4, levels, strict=True))
    return TrunkOut(levels, points, kept[2])


def assert_same_features(state: dict[str, Tensor], whole: Any) -> None:
    trunk = Trunk().eval()
    trunk.load_state_dict({key.removeprefix("trunk."): tensor for key, tensor in state.items()})
    crops_BCHW = torch.rand(1, 3, 128, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        got = trunk(crops_BCHW)
    want = features_of(whole, crops_BCHW)
    for some, others in ((got.levels_BCHW, want.levels_BCHW), (got.points_BCHW, want.points_BCHW)):
        for one, other in zip(some, others, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got.stride_4_BCHW, want.stride_4_BCHW, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("network", ["pose_network", "folded_network"])
def test_a_trunk_gives_the_features_of_the_network_it_comes_from(
    tmp_path: Path, request: pytest.FixtureRequest, pose_network: Any, network: str, suffix: str
) -> None:
    path = save_yolo(request.getfixturevalue(network), tmp_path / f"yolo26n-pose{suffix}")
    state, sha256 = import_trunk(path)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert_same_features(state, pose_network)


def test_tensors_of_half_precision_without_counters_are_imported(
    tmp_path: Path, pose_network: Any
) -> None:
    state = {
        key: tensor.half().contiguous()
        for key, tensor in pose_network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    path = tmp_path / "half.safetensors"
    safetensors.torch.save_file(state, path)
    trunk, _ = import_trunk(path)
    rounded = yolo26n_pose()
    rounded.load_state_dict(state, strict=False)
    assert_same_features(trunk, rounded)
    assert {tensor.dtype for tensor in trunk.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("config", "scale", "kind", "message"),
    [
        (
            "26/yolo26-pose.yaml",
            "s",
            "PoseModel",
            r"\d+ of wrong shape: model\.0\.conv\.weight \(32,",
        ),
        (
            "11/yolo11-pose.yaml",
            "n",
            "PoseModel",
            r"\d+ missing: model\.13\.m\.0\.cv3\.conv\.weight",
        ),
        (
            "26/yolo26.yaml",
            "n",
            "DetectionModel",
            r"\d+ missing: model\.23\.cv4\.0\.0\.conv\.weight",
        ),
    ],
)
def test_another_network_is_refused_by_its_tensors(
    tmp_path: Path, config: str, scale: str, kind: str, message: str
) -> None:
    path = save_yolo(yolo(config, scale=scale, kind=kind), tmp_path / "other.pt")
    with pytest.raises(
        WeightsError, match=rf"other\.pt: the trunk of YOLO26n-pose does not fit; .*{message}"
    ):
        import_trunk(path)


def test_a_file_with_only_some_batch_norms_folded_is_refused(
    tmp_path: Path, pose_network: Any, folded_network: Any
) -> None:
    first = {k: t for k, t in folded_network.state_dict().items() if k.startswith("model.0.")}
    rest = {k: t for k, t in pose_network.state_dict().items() if not k.startswith("model.0.")}
    path = tmp_path / "mixed.safetensors"
    safetensors.torch.save_file(first | rest, path)
    with pytest.raises(
        WeightsError,
        match=r"4 missing: model\.0\.bn\.weight.*; 1 unexpected: model\.0\.conv\.bias",
    ):
        import_trunk(path)


def test_tensors_of_whole_numbers_are_refused(tmp_path: Path, folded_network: Any) -> None:
    state = folded_network.state_dict()
    path = tmp_path / "int8.safetensors"
    key = "model.0.conv.weight"
    safetensors.torch.save_file(state | {key: torch.zeros_like(state[key]).char()}, path)
    with pytest.raises(WeightsError, match=r"1 of wrong type: model\.0\.conv\.weight torch\.int8"):
        import_trunk(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("noise.pt", "not an ultralytics checkpoint"),
        ("noise.safetensors", "not a safetensors file"),
        ("noise.onnx", r"are \.pt or \.safetensors files"),
    ],
)
def test_a_file_that_is_no_yolo_network_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"noise")
    with pytest.raises(WeightsError, match=message):
        import_trunk(tmp_path / name)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_yolo_network_that_is_not_there_is_named(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(WeightsError, match=r"none\..*: cannot be read: No such file"):
        import_trunk(tmp_path / f"none{suffix}")


def test_code_in_a_yolo_checkpoint_is_not_run(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    path = tmp_path / "hostile.pt"
    torch.save({"model": Trap(sprung)}, path, pickle_module=pickle)
    with pytest.raises(WeightsError, match="not an ultralytics checkpoint"):
        import_trunk(path)
    assert not sprung.exists()


def test_importing_a_trunk_leaves_the_random_numbers_of_the_process_alone(
    tmp_path: Path, folded_network: Any
) -> None:
    path = save_yolo(folded_network, tmp_path / "yolo26n-pose.safetensors")
    torch.manual_seed(7)
    want = torch.rand(3)
    torch.manual_seed(7)
    import_trunk(path)
    assert torch.equal(torch.rand(3), want)


def test_a_file_is_imported_with_a_card_that_names_it(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path, out = _checkpoint(tmp_path / "s.pth", state), tmp_path / "s.safetensors"
    assert import_file(path, out, "distilpose-s", version="3", licences=["MIT"]) == len(state)
    loaded = load(out)
    for key, tensor in loaded.network.state_dict().items():
        torch.testing.assert_close(tensor, state[key], rtol=1e-3, atol=1e-5)  # float16 in the file
    card = loaded.card
    assert (card.architecture, card.version, card.licences) == ("distilpose-s", "3", ("MIT",))
    assert "s.pth" in card.source


def test_a_card_says_which_licences_are_known() -> None:
    published, trunk = published_card("distilpose-s", "s.pth", "1"), trunk_card("y.pt", "1")
    assert "ask its authors" in published.licences[0]
    assert "AGPL-3.0" in trunk.licences[0]
    assert trunk.crops_seen == 0
