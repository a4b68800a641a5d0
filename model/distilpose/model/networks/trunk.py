"""The trunk of YOLO26n-pose: features of a crop at four strides, pretrained on COCO by Ultralytics.

It consists of layers 0 to 22 of that network and the point branch of its head without the last
layer. Batch norms are folded into the convolutions, so that the trunk has none. This is the only
file of `networks` that knows ultralytics, from whose modules it is built. Nothing is downloaded:
weights come from a file of ours.

Shape letters: B batch, C channels, H height, W width.
Source: Ultralytics YOLO26, configuration yolo26-pose, scale n.
"""

import math
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from distilpose.model.networks.offline import import_ultralytics

_LAYERS: Final = 23
_STRIDE_4_LAYER: Final = 2
_LEVEL_LAYERS: Final = (16, 19, 22)
_SCALE: Final = "n"


class TrunkOut(NamedTuple):
    """Features of B crops at strides 8, 16 and 32 pixels, each list finest first."""

    levels_BCHW: tuple[Tensor, ...]
    """YOLO's P3, P4 and P5, with 64, 128 and 256 channels."""
    points_BCHW: tuple[Tensor, ...]
    """The point branch, from which YOLO reads its own keypoints, with 85 channels each."""
    stride_4_BCHW: Tensor
    """Features at a quarter of the crop's size, before any context, with 64 channels."""


class Trunk(nn.Module):
    """Converts crops (B, 3, H, W), H and W multiples of 32, to features; initialised at random.

    Building it does not advance torch's random generator.
    """

    level_channels: Final = (64, 128, 256)
    point_channels: Final = 85
    stride_4_channels: Final = 64

    def __init__(self) -> None:
        super().__init__()
        device = torch.get_default_device()
        whole = yolo26n_pose().fuse(verbose=False).model
        self.layers = nn.ModuleList(whole[:_LAYERS])
        self.points = nn.ModuleList(whole[_LAYERS].cv4)
        self.requires_grad_(True).to(device)

    def forward(self, crops_BCHW: Tensor) -> TrunkOut:
        """Return the features of crops whose channels are R, G, B in 0..1."""
        kept: list[Tensor] = []
        x = crops_BCHW
        for layer in self.layers:
            sources: Any = layer.f
            x = layer(_inputs(sources, x, kept))
            kept.append(x)
        levels = tuple(kept[index] for index in _LEVEL_LAYERS)
        points = tuple(branch(level) for branch, level in zip(self.points, levels, strict=True))
        return TrunkOut(levels, points, kept[_STRIDE_4_LAYER])


def _inputs(sources: int | list[int], last: Tensor, kept: list[Tensor]) -> Tensor | list[Tensor]:
    """Return the outputs of the layers with the numbers `sources`; -1 is the last one."""
    if isinstance(sources, int):
        return last if sources == -1 else kept[sources]
    return [last if source == -1 else kept[source] for source in sources]


def yolo26n_pose() -> Any:
    """Return the whole network on the CPU, in evaluation mode, with its batch norms.

    Weights are drawn at random, without advancing torch's random generator.
    """
    utils = import_ultralytics("utils")
    config = utils.YAML.load(utils.ROOT / "cfg" / "models" / "26" / "yolo26-pose.yaml")
    tasks = import_ultralytics("nn.tasks")
    # Ultralytics determines its strides by running the network, which the meta device cannot.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        return tasks.PoseModel({**config, "scale": _SCALE}, verbose=False).eval()


def initialise_trunk(trunk: Trunk) -> None:
    """Draw the weights of a trunk without pretraining from torch's generator.

    Without batch norms, convolutions must preserve the scale of their inputs: He initialisation, as
    for
    rectified units.
    """
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_in))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
