"""The convolutional backbones: from a crop to a feature map at a quarter of its resolution.

Notable:
- The stem of HRNet alone serves the small networks (256 channels).
- HRNet-W48 keeps up to four resolutions, each half of the previous one, and fuses them at the end
  of every module; only the finest is returned (48 channels), so the last module computes only that.
- No convolution has a bias; a batch norm follows each.
- Attribute names are those of published checkpoints, which call HRNet's parts stages.

Shape letters: B batch, C channels, H height, W width.
Source: HRNet, arXiv 1908.07919, as the DistilPose authors use it.
"""

from functools import reduce
from typing import Final

import torch
from torch import Tensor, nn

from distilpose.model.configs import Backbone

_BRANCH_CHANNELS: Final = (48, 96, 192, 384)
_MODULES_OF_STAGE: Final = {2: 1, 3: 4, 4: 3}
_BLOCKS_OF_BRANCH: Final = 4


def _conv_bn(channels_in: int, channels_out: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out))


def _conv_bn_relu(
    channels_in: int, channels_out: int, kernel: int, *, stride: int = 1
) -> nn.Sequential:
    conv_bn = _conv_bn(channels_in, channels_out, kernel, stride=stride)
    return conv_bn.append(nn.ReLU(inplace=True))


class Bottleneck(nn.Module):
    """ResNet's block of 1x1, 3x3 and 1x1 convolutions around a shortcut, stride 1."""

    def __init__(self, channels_in: int, channels_mid: int) -> None:
        super().__init__()
        channels_out = 4 * channels_mid
        self.conv1 = nn.Conv2d(channels_in, channels_mid, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_mid)
        self.conv2 = nn.Conv2d(channels_mid, channels_mid, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_mid)
        self.conv3 = nn.Conv2d(channels_mid, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Identity() if channels_in == channels_out else _conv_bn(channels_in, channels_out, 1)
        )

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return features of four times `channels_mid` channels and the same size."""
        x = self.relu(self.bn1(self.conv1(features_BCHW)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        out_BCHW: Tensor = self.relu(x + self.downsample(features_BCHW))
        return out_BCHW


class BasicBlock(nn.Module):
    """ResNet's block of two 3x3 convolutions around a shortcut, stride 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return features of the same shape."""
        x = self.relu(self.bn1(self.conv1(features_BCHW)))
        x = self.bn2(self.conv2(x))
        out_BCHW: Tensor = self.relu(x + features_BCHW)
        return out_BCHW


class Stem(nn.Module):
    """Two strided convolutions and four bottlenecks: (B, 3, H, W) to (B, 256, H/4, W/4)."""

    channels = 256

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(
            Bottleneck(64, 64), Bottleneck(256, 64), Bottleneck(256, 64), Bottleneck(256, 64)
        )

    def forward(self, crops_BCHW: Tensor) -> Tensor:
        """Return the feature map, (B, `channels`, H/4, W/4)."""
        x = self.relu(self.bn1(self.conv1(crops_BCHW)))
        x = self.relu(self.bn2(self.conv2(x)))
        features_BCHW: Tensor = self.layer1(x)
        return features_BCHW


class ExchangeModule(nn.Module):
    """HRNet's module: blocks on each branch, then each output is the sum of all branches.

    Of the outputs only the finest `outputs` are computed.
    """

    def __init__(self, channels: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width) for _ in range(_BLOCKS_OF_BRANCH)))
            for width in channels
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_resize(channels, source, target) for source in range(len(channels)))
            for target in range(outputs)
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, branches_BCHW: list[Tensor]) -> list[Tensor]:
        """Return the fused branches, finest first."""
        xs = [branch(x) for branch, x in zip(self.branches, branches_BCHW, strict=True)]
        return [self.relu(_fuse(row, xs)) for row in self.fuse_layers]


def _fuse(resizers: nn.Module, xs: list[Tensor]) -> Tensor:
    resized = (resize(x) for resize, x in zip(resizers.children(), xs, strict=True))
    fused: Tensor = reduce(torch.add, resized)
    return fused


def _resize(channels: tuple[int, ...], source: int, target: int) -> nn.Module:
    """Return layers that convert branch `source` to the channels and size of branch `target`."""
    if source == target:
        return nn.Identity()
    if source > target:
        upsample = nn.Upsample(scale_factor=2 ** (source - target), mode="nearest")
        return _conv_bn(channels[source], channels[target], 1).append(upsample)
    halvings = [
        _conv_bn_relu(channels[source], channels[source], 3, stride=2)
        for _ in range(target - source - 1)
    ]
    return nn.Sequential(*halvings, _conv_bn(channels[source], channels[target], 3, stride=2))


class HRNetW48(Stem):
    """HRNet-W48 with its first three or all four stages: (B, 3, H, W) to (B, 48, H/4, W/4)."""

    channels = _BRANCH_CHANNELS[0]

    def __init__(self, *, stages: int) -> None:
        super().__init__()
        fine, coarse = _BRANCH_CHANNELS[:2]
        self.transition1 = nn.ModuleList(
            [
                _conv_bn_relu(Stem.channels, fine, 3),
                nn.Sequential(_conv_bn_relu(Stem.channels, coarse, 3, stride=2)),
            ]
        )
        self.stage2 = _stage(2, last=False)
        self.transition2 = _new_branch(2)
        self.stage3 = _stage(3, last=stages == 3)
        self.has_fourth_stage = stages == 4
        if self.has_fourth_stage:
            self.transition3 = _new_branch(3)
            self.stage4 = _stage(4, last=True)

    def forward(self, crops_BCHW: Tensor) -> Tensor:
        """Return the finest branch, (B, `channels`, H/4, W/4)."""
        x = super().forward(crops_BCHW)
        xs = self.stage2([transition(x) for transition in self.transition1])
        xs = self.stage3([*xs, self.transition2[-1](xs[-1])])
        if self.has_fourth_stage:
            xs = self.stage4([*xs, self.transition3[-1](xs[-1])])
        finest_BCHW: Tensor = xs[0]
        return finest_BCHW


def _stage(number: int, *, last: bool) -> nn.Sequential:
    channels = _BRANCH_CHANNELS[:number]
    outputs = [number] * _MODULES_OF_STAGE[number]
    if last:
        outputs[-1] = 1
    return nn.Sequential(*(ExchangeModule(channels, count) for count in outputs))


def _new_branch(branches: int) -> nn.ModuleList:
    """Return a list whose last entry makes a further branch; the others pass through."""
    channels_in, channels_out = _BRANCH_CHANNELS[branches - 1 : branches + 1]
    halving = nn.Sequential(_conv_bn_relu(channels_in, channels_out, 3, stride=2))
    return nn.ModuleList([*(nn.Identity() for _ in range(branches)), halving])


def build_backbone(name: Backbone) -> Stem:
    """Return the backbone called `name`, not initialised."""
    if name == "stem":
        return Stem()
    return HRNetW48(stages=3 if name == "hrnet-w48-3" else 4)
