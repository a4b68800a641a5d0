"""The four published networks compared with their authors' code."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from distilpose.model import networks
from distilpose.model.configs import NETWORKS, PublishedConfig, network_config
from distilpose.model.errors import ConfigError
from distilpose.model.networks import DistilPose, StudentOut, TeacherOut, TokenPose
from distilpose.model.networks.layers import position_code
from golden_rules import (
    filled_state,
    golden_arrays,
    golden_json,
    golden_shapes,
    image_batch,
    scaled_error,
)

OUTPUTS = 1e-5
TENSORS = 1e-4
PUBLISHED = [n for n, config in NETWORKS.items() if isinstance(config, PublishedConfig)]
*SMALLER, LARGEST = PUBLISHED
COUNTED = ("Conv2d", "Linear", "BatchNorm2d", "LayerNorm", "ReLU", "Upsample")


class Run(NamedTuple):
    """One network run on the reference's two crops, with the reference's values."""

    name: str
    out: StudentOut | TeacherOut
    between: dict[str, Tensor]
    """Outputs of intermediate layers, by the reference's names."""
    counted: dict[str, int]
    """Operations for the two crops by type of layer, by the authors' counter."""
    want: dict[str, npt.NDArray[Any]]


@pytest.fixture(scope="module", params=[*SMALLER, pytest.param(LARGEST, marks=pytest.mark.slow)])
def run(request: pytest.FixtureRequest) -> Run:
    name = request.param
    network = _published(name)
    network.load_state_dict(filled_state(name))
    network.eval()
    between: dict[str, Tensor] = {}
    for label, layer in _watched(network):
        layer.register_forward_hook(partial(_keep, between, label))
    counted = dict.fromkeys(COUNTED, 0)
    for module in network.modules():
        if type(module).__name__ in COUNTED:
            module.register_forward_hook(partial(_count, counted))
    with torch.inference_mode():
        out = network(image_batch())
    return Run(name, out, between, counted, golden_arrays(f"net_{name}"))


def _published(name: str) -> DistilPose | TokenPose:
    network = networks.construct(network_config(name))
    assert isinstance(network, DistilPose | TokenPose)
    return network


def _watched(network: DistilPose | TokenPose) -> Iterator[tuple[str, nn.Module]]:
    yield "feature", network.backbone
    yield "layer1", network.backbone.layer1
    for label, layer in network.backbone.named_children():
        if label.startswith("stage"):
            yield label, layer
    (head,) = network.keypoint_head.children()
    yield "patch_embedding", head.get_submodule("patch_to_embedding")
    for index, block in enumerate(head.get_submodule("transformer.layers").children()):
        yield f"block{index:02}", block
    yield "mlp_head", head.get_submodule("mlp_head")


def _keep(
    between: dict[str, Tensor], label: str, _layer: nn.Module, _inputs: object, out: Any
) -> None:
    if isinstance(out, list):
        between.update({f"{label}_{index}": branch.clone() for index, branch in enumerate(out)})
    else:
        between[label] = out.clone()


def _count(counted: dict[str, int], module: nn.Module, inputs: tuple[Tensor], out: Tensor) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        operations = out.numel() * module.weight[0].numel()
    elif isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
        operations = 2 * inputs[0].numel()
    else:
        operations = out.numel()
    counted[type(module).__name__] += operations


def test_the_backbone_gives_the_published_features(run: Run) -> None:
    features_BCHW = run.between["feature"]
    step = features_BCHW.shape[1] // 16
    assert scaled_error(features_BCHW[:, ::step, ::8, ::8], run.want["feature_sub"]) <= TENSORS


def test_patches_are_embedded_as_published(run: Run) -> None:
    embedded = run.between["patch_embedding"][:, ::16, ::4]
    assert scaled_error(embedded, run.want["patch_embedding_sub"]) <= TENSORS


def test_every_transformer_block_gives_the_published_tokens(run: Run) -> None:
    tokens = [0, 16, 17, 150, 272]
    probes = [run.between[f"block{index:02}"][:, tokens, :8] for index in range(12)]
    assert scaled_error(torch.stack(probes), run.want["block_probe"]) <= TENSORS


def test_tokens_are_the_published_ones(run: Run) -> None:
    assert scaled_error(run.out.kpt_token, run.want["kpt_token"]) <= TENSORS
    assert scaled_error(run.out.vis_token[:, ::16], run.want["vis_token_sub"]) <= TENSORS


def test_whole_tensors_have_the_published_statistics(run: Run) -> None:
    tensors = run.between | {"vis_token": run.out.vis_token, "kpt_token": run.out.kpt_token}
    if isinstance(run.out, StudentOut):
        tensors |= {"pred": run.out.xy_crop, "score": run.out.raw_score}
        tensors |= {"sigma": run.out.sigma_cell}
    else:
        tensors |= {"pred": run.out.heatmaps_BKHW}
    for name, want in zip(run.want["stats_names"], run.want["stats"], strict=True):
        full = tensors[name].double()
        got = torch.stack([full.mean(), full.std(correction=0), full.min(), full.max()])
        assert scaled_error(got, want) <= TENSORS, name


def test_answers_are_the_published_ones(run: Run) -> None:
    if isinstance(run.out, StudentOut):
        assert scaled_error(run.between["mlp_head"], run.want["mlp_head"]) <= OUTPUTS
        assert scaled_error(run.out.xy_crop, run.want["pred"]) <= OUTPUTS
        assert scaled_error(run.out.raw_score, run.want["score"][..., 0]) <= OUTPUTS
        assert scaled_error(run.out.sigma_cell, run.want["sigma"]) <= OUTPUTS
    else:
        maps_BKHW = run.out.heatmaps_BKHW
        assert scaled_error(maps_BKHW[:, :, ::4, ::4], run.want["pred_sub"]) <= TENSORS
        assert scaled_error(maps_BKHW[0, 0], run.want["pred_full_0_0"]) <= TENSORS
        assert scaled_error(maps_BKHW[1, 16], run.want["pred_full_1_16"]) <= TENSORS
        assert scaled_error(maps_BKHW.amax(dim=(2, 3)), run.want["pred_max"]) <= TENSORS
        assert scaled_error(maps_BKHW.sum(dim=(2, 3)), run.want["pred_sum"]) <= TENSORS
        assert maps_BKHW.flatten(2).argmax(dim=2).tolist() == run.want["pred_argmax"].tolist()


def test_the_authors_counter_sees_the_published_operations(run: Run) -> None:
    want = golden_json("counts")[run.name]
    of_one_crop = {kind: operations // 2 for kind, operations in run.counted.items()}
    assert of_one_crop == want["counter_by_module_type"]
    assert sum(of_one_crop.values()) == want["counter_total"]


class Unfilled(NamedTuple):
    """A network after construction, before any run."""

    name: str
    network: DistilPose | TokenPose


@pytest.fixture(scope="module", params=PUBLISHED)
def unfilled(request: pytest.FixtureRequest) -> Unfilled:
    return Unfilled(request.param, _published(request.param))


def test_names_and_shapes_are_those_of_published_checkpoints_in_order(unfilled: Unfilled) -> None:
    got = [(key, tuple(tensor.shape)) for key, tensor in unfilled.network.state_dict().items()]
    assert got == list(golden_shapes(unfilled.name).items())


def test_only_the_position_code_is_frozen(unfilled: Unfilled) -> None:
    parameters = unfilled.network.named_parameters()
    frozen = [key for key, value in parameters if not value.requires_grad]
    assert frozen == golden_json(f"keys/{unfilled.name}")["frozen_parameters"]


def test_parameters_are_as_many_as_published(unfilled: Unfilled) -> None:
    network, counts = unfilled.network, golden_json("counts")[unfilled.name]
    assert _trainable(network) == counts["parameters_trainable"]
    assert _trainable(network.backbone) == counts["trainable_backbone"]
    elements = sum(tensor.numel() for tensor in network.state_dict().values())
    assert elements == counts["state_dict_elements"]


def _trainable(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters() if value.requires_grad)


def test_filled_weights_are_those_of_the_reference() -> None:
    state, want = filled_state("distilpose-s"), golden_json("weights_check")["distilpose-s"]
    for key, sample in want["samples"].items():
        assert state[key].flatten()[:4].tolist() == sample["first4"], key
    kept = [key for key in state if not key.endswith(("pos_embedding", "num_batches_tracked"))]
    total = sum(float(state[key].double().abs().sum()) for key in kept)
    assert total == pytest.approx(want["total_abs_sum"], rel=1e-12)


def test_the_position_code_is_the_published_one() -> None:
    want = golden_arrays("pos_embedding")["pos_embedding"]
    assert scaled_error(position_code(16, 16, width=192), want) <= 1e-6


def test_the_position_code_of_a_smaller_grid_covers_the_same_turn() -> None:
    code = position_code(8, 8, width=192)
    assert code.shape == (1, 64, 192)
    # The last token is a full turn along both axes, as in the published grid.
    last_of_published_grid = position_code(16, 16, width=192)[0, -1].numpy()
    assert scaled_error(code[0, -1], last_of_published_grid) <= 1e-6


@pytest.mark.parametrize("name", ["distilpose-s", "tokenpose-s"])
def test_crops_of_half_the_size_give_a_quarter_of_the_visual_tokens(name: str) -> None:
    network = networks.construct(network_config(name)).eval()
    with torch.inference_mode():
        out = network(torch.zeros(2, 3, 128, 96))
    assert out.vis_token.shape == (2, 64, 192)
    assert out.kpt_token.shape == (2, 17, 192)


def test_a_half_precision_student_keeps_its_output_layer_in_float32() -> None:
    student = networks.construct(network_config("distilpose-s"))
    student.to(torch.bfloat16).eval()
    student.output_layer.float()
    with torch.inference_mode():
        out = student(torch.zeros(1, 3, 32, 24, dtype=torch.bfloat16))
    assert out.kpt_token.dtype == torch.bfloat16
    assert {out.xy_crop.dtype, out.raw_score.dtype, out.sigma_cell.dtype} == {torch.float32}


def test_a_new_network_has_the_published_initial_weights() -> None:
    torch.manual_seed(0)
    state = networks.build("distilpose-s").state_dict()
    head = "keypoint_head.tokenhead."
    assert float(state["backbone.layer1.0.conv2.weight"].std()) == pytest.approx(1e-3, rel=0.02)
    assert float(state[head + "patch_to_embedding.weight"].std()) == pytest.approx(0.02, rel=0.02)
    assert float(state[head + "keypoint_token"].std()) == pytest.approx(0.02, rel=0.05)
    assert state[head + "mlp_head.1.bias"].tolist() == [0] * 5
    assert state["backbone.bn1.weight"].unique().tolist() == [1]
    assert state["backbone.bn1.bias"].unique().tolist() == [0]


def test_the_same_seed_builds_the_same_network() -> None:
    def built() -> Tensor:
        torch.manual_seed(3)
        return nn.utils.parameters_to_vector(networks.build("distilpose-s").parameters())

    assert torch.equal(built(), built())


def test_an_unknown_network_is_not_built() -> None:
    with pytest.raises(ConfigError, match="unknown network 'resnet'"):
        networks.build("resnet")
