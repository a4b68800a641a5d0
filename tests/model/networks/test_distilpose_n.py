"""The student on the trunk against its prototype, and the promises of both networks on it."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from distilpose.model import networks
from distilpose.model.configs import network_config
from distilpose.model.networks import DistilPoseN, TokenPoseN
from distilpose.model.networks.distilpose_n import Observed, centre_of_mass
from distilpose.model.networks.trunk import TrunkOut
from golden_rules import filled_state, golden_arrays, golden_shapes, image_batch, scaled_error

OUTPUTS = 1e-5
TENSORS = 1e-4


def student() -> DistilPoseN:
    network = networks.construct(network_config("distilpose-n")).eval()
    assert isinstance(network, DistilPoseN)
    return network


def teacher() -> TokenPoseN:
    network = networks.construct(network_config("tokenpose-n")).eval()
    assert isinstance(network, TokenPoseN)
    return network


class Run:
    """The student with the reference's weights and crops."""

    def __init__(self) -> None:
        network = student()
        network.load_state_dict(filled_state("distilpose-n"))
        self.blocks: list[Tensor] = []
        for block in network.blocks:
            block.register_forward_hook(lambda _module, _inputs, out: self.blocks.append(out[0]))
        with torch.inference_mode():
            self.features: TrunkOut = network.trunk(image_batch())
            self.observed: Observed = network.observe(image_batch())
            self.alone = network(image_batch())
        self.blocks = self.blocks[: len(network.blocks)]
        self.want: dict[str, npt.NDArray[Any]] = golden_arrays("net_distilpose-n")


@pytest.fixture(scope="module")
def run() -> Run:
    return Run()


def test_names_and_shapes_are_those_of_the_prototype_in_its_order() -> None:
    got = [(key, tuple(tensor.shape)) for key, tensor in student().state_dict().items()]
    assert got == list(golden_shapes("distilpose-n").items())


def test_the_trunk_gives_the_prototypes_features_at_every_stride(run: Run) -> None:
    for index, stride in enumerate((8, 16, 32)):
        step = max(1, 4 >> index)
        level, point = run.features.levels_BCHW[index], run.features.points_BCHW[index]
        want_level, want_point = run.want[f"level{stride}_sub"], run.want[f"point{stride}_sub"]
        assert scaled_error(level[:, ::8, ::step, ::step], want_level) <= TENSORS
        assert scaled_error(point[:, ::8, ::step, ::step], want_point) <= TENSORS


def test_full_and_lean_blocks_give_the_prototypes_tokens(run: Run) -> None:
    probes = [block[:, [0, 16, 17, 150, 208], :8] for block in run.blocks]
    assert scaled_error(torch.stack(probes), run.want["block_probe"]) <= TENSORS


def test_answers_are_the_prototypes(run: Run) -> None:
    for out in (run.observed.out, run.alone):
        assert scaled_error(out.xy_crop, run.want["pred"]) <= OUTPUTS
        assert scaled_error(out.raw_score, run.want["score"][..., 0]) <= OUTPUTS
        assert scaled_error(out.sigma_cell, run.want["sigma"]) <= OUTPUTS


def test_training_sees_the_prototypes_map_and_attention(run: Run) -> None:
    maps_BKHW, attention_BKV = run.observed.map_logits_BKHW, run.observed.attention_BKV
    assert attention_BKV is not None
    assert scaled_error(maps_BKHW[:, :, ::4, ::4], run.want["maps_sub"]) <= TENSORS
    assert scaled_error(attention_BKV[:, :, ::8], run.want["attention_sub"]) <= OUTPUTS


def test_networks_on_the_trunk_can_be_built_without_memory_for_their_weights() -> None:
    with torch.device("meta"):
        networks_on_meta = [student(), teacher()]
    assert all(p.is_meta for network in networks_on_meta for p in network.parameters())


@pytest.mark.parametrize("name", ["distilpose-n", "tokenpose-n"])
def test_the_same_seed_builds_the_same_network(name: str) -> None:
    def built() -> Tensor:
        torch.manual_seed(3)
        return torch.nn.utils.parameters_to_vector(networks.build(name).parameters())

    first = built()
    assert torch.equal(first, built())
    assert not torch.equal(first, torch.zeros_like(first))


def test_smaller_crops_give_fewer_visual_tokens() -> None:
    with torch.inference_mode():
        of_student, of_teacher = (net(torch.zeros(2, 3, 128, 96)) for net in (student(), teacher()))
    assert of_student.vis_token.shape == of_teacher.vis_token.shape == (2, 48, 192)
    assert of_teacher.heatmaps_BKHW.shape == (2, 17, 32, 24)


def test_a_half_precision_student_answers_in_float32() -> None:
    network = student().to(torch.bfloat16)
    network.output_layer.float()
    with torch.inference_mode():
        out = network(torch.zeros(1, 3, 64, 64, dtype=torch.bfloat16))
    assert out.kpt_token.dtype == torch.bfloat16
    assert {out.xy_crop.dtype, out.raw_score.dtype, out.sigma_cell.dtype} == {torch.float32}


def test_the_centre_of_mass_of_a_sharp_map_is_the_middle_of_its_place() -> None:
    logits = torch.full((1, 2, 32, 24), -50.0)
    logits[0, 0, 0, 0] = logits[0, 1, 31, 12] = 50.0
    got = centre_of_mass(logits)[0]
    np.testing.assert_allclose(got, [[0.5 / 24, 0.5 / 32], [12.5 / 24, 31.5 / 32]], atol=1e-6)


def test_only_keypoint_tokens_change_in_lean_blocks(run: Run) -> None:
    visual = [block[:, 17:] for block in run.blocks]
    assert torch.equal(visual[1], visual[2])
    assert torch.equal(visual[2], visual[3])
    assert not torch.equal(run.blocks[1][:, :17], run.blocks[2][:, :17])
