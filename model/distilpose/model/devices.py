"""Which device computes, in which precision, on how many threads."""

import shutil
from typing import Literal

import cv2
import torch

from distilpose.model.errors import ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    """The device called `name`: cuda, mps, cpu, or auto for the first of these that is there.

    Raises:
        ConfigError: it is not there.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, present in there.items() if present)
    if not there.get(name):
        found = ", ".join(device for device, present in there.items() if present)
        raise ConfigError(f"device {name!r} is not available here; found: {found}")
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The precision called `name`; auto is bfloat16 on a GPU that computes in it, else float32.

    Not on a CPU so far: what bfloat16 costs in accuracy there has not been measured.

    Raises:
        ConfigError: the name is unknown.
    """
    if name == "auto":
        on_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if on_gpu else torch.float32
    if name not in DTYPES:
        raise ConfigError(f"dtype {name!r} is unknown; known: auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def choose_compile(choice: Literal["auto", "on", "off"], device: torch.device) -> bool:
    """Whether to compile; auto does on CUDA where a C compiler is found, which Triton needs."""
    if choice != "auto":
        return choice == "on"
    return device.type == "cuda" and bool(shutil.which("cc") or shutil.which("gcc"))


def use_threads(count: int) -> None:
    """Let torch and OpenCV use `count` threads, and float32 mean float32 on every device.

    OpenCV gets one: its calls run in the decode threads, which are as many already.
    """
    torch.set_num_threads(count)
    cv2.setNumThreads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def describe(device: torch.device) -> str:
    """The device in words: its name, and for a GPU its driver's CUDA and its memory."""
    if device.type != "cuda":
        return f"{device.type}, {torch.get_num_threads()} threads"
    properties = torch.cuda.get_device_properties(device)
    memory_gib = properties.total_memory / 2**30
    return f"{properties.name}, {memory_gib:.0f} GiB, CUDA {torch.version.cuda}"
