"""Weights whose bits were flipped: every stored number is finite, but the answers are not."""

from pathlib import Path

import torch

from distilpose.model import weights


def flip_exponents(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor with the highest bit of each exponent flipped where that leaves it finite."""
    bits, mask = {
        torch.float16: (torch.int16, 1 << 14),
        torch.float32: (torch.int32, 1 << 30),
    }[tensor.dtype]
    flipped = (tensor.contiguous().view(bits) ^ mask).view(tensor.dtype)
    return torch.where(flipped.isfinite(), flipped, tensor)


def damage(source: Path, target: Path) -> Path:
    """Write a copy of a weights file with flipped bits in every matrix, and return its path."""
    tensors, card, _ = weights.read_tensors(source)
    damaged = {
        key: flip_exponents(tensor) if tensor.ndim > 1 else tensor
        for key, tensor in tensors.items()
    }
    weights.write_tensors(target, damaged, card)
    return target
