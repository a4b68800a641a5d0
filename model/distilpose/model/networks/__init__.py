"""The four published networks, under the parameter names of their published checkpoints."""

from torch import nn

from distilpose.model.configs import NetworkConfig, network_config
from distilpose.model.networks.layers import TokenHead
from distilpose.model.networks.student import Student, StudentOut
from distilpose.model.networks.teacher import Teacher, TeacherOut, heatmap_head

__all__ = [
    "Student",
    "StudentOut",
    "Teacher",
    "TeacherOut",
    "build",
    "construct",
    "heatmap_head",
    "initialise",
]


def build(name: str) -> Student | Teacher:
    """Return the network called `name`, initialised as published for training from scratch.

    Raises:
        ConfigError: naming the known networks.
    """
    network = construct(network_config(name))
    initialise(network)
    return network


def construct(config: NetworkConfig) -> Student | Teacher:
    """Return the network of `config` for weights to be loaded into."""
    return Student(config) if config.role == "student" else Teacher(config)


def initialise(network: nn.Module) -> None:
    """Draw the weights of `network` from torch's generator, as published.

    | parameters                     | value                              |
    | ------------------------------ | ---------------------------------- |
    | convolution                    | normal, 0.001                      |
    | linear weight, keypoint tokens | truncated normal, 0.02, cut at +-2 |
    | linear bias                    | 0                                  |
    | batch and layer norm           | weight 1, bias 0                   |
    """
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
