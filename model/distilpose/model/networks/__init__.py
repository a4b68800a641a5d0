"""The published networks, with their checkpoints' parameter names, and two on YOLO26n's trunk."""

from torch import nn

from distilpose.model.configs import NetworkConfig, PublishedConfig, TrunkConfig, network_config
from distilpose.model.networks.distilpose import DistilPose
from distilpose.model.networks.distilpose_n import DistilPoseN, initialise_student
from distilpose.model.networks.layers import TokenHead
from distilpose.model.networks.roles import Student, StudentOut, Teacher, TeacherOut
from distilpose.model.networks.tokenpose import TokenPose, heatmap_head
from distilpose.model.networks.tokenpose_n import TokenPoseN, initialise_teacher

__all__ = [
    "DistilPose",
    "DistilPoseN",
    "Student",
    "StudentOut",
    "Teacher",
    "TeacherOut",
    "TokenPose",
    "TokenPoseN",
    "build",
    "construct",
    "heatmap_head",
    "initialise",
]


def build(name: str) -> Student | Teacher:
    """Return the network called `name`, initialised for training from scratch.

    Raises:
        ConfigError: naming the known networks.
    """
    network = construct(network_config(name))
    initialise(network)
    return network


def construct(config: NetworkConfig) -> Student | Teacher:
    """Return the network of `config`, not initialised, for loading weights."""
    match config:
        case TrunkConfig(role="student"):
            return DistilPoseN(config)
        case TrunkConfig():
            return TokenPoseN(config)
        case PublishedConfig(role="student"):
            return DistilPose(config)
        case PublishedConfig():
            return TokenPose(config)
    raise TypeError(f"no network is built of a {type(config).__name__}")


def initialise(network: nn.Module) -> None:
    """Draw the weights of a network, or a part of one, from torch's generator.

    Networks on the trunk have their own rules; all others are initialised as published:

    | parameters                     | value                              |
    | ------------------------------ | ---------------------------------- |
    | convolution                    | normal, 0.001                      |
    | linear weight, keypoint tokens | truncated normal, 0.02, cut at +-2 |
    | linear bias                    | 0                                  |
    | batch and layer norm           | weight 1, bias 0                   |
    """
    if isinstance(network, DistilPoseN):
        initialise_student(network)
    elif isinstance(network, TokenPoseN):
        initialise_teacher(network)
    else:
        _initialise_as_published(network)


def _initialise_as_published(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.001)
        elif isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, TokenHead):
            nn.init.trunc_normal_(module.keypoint_token, std=0.02)
        elif isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            module.reset_parameters()
