"""Choose the device, precision, runtime and number of threads for the networks."""

import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import cv2
import torch

from distilpose.model.container import usable_cpus
from distilpose.model.errors import ConfigError, DeviceFault, OutOfDeviceMemory
from distilpose.model.runtime.openvino import graphs

EngineChoice: TypeAlias = Literal["auto", "torch", "openvino"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    """The device called `name`: cuda, mps, cpu, or auto for the first of these available.

    Raises:
        ConfigError: the device is not available.
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
    """The precision called `name`; auto is bfloat16 on a GPU that supports it, else float32.

    Not on a CPU so far: the loss of accuracy in bfloat16 has not been measured there.

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
    """Return True if networks should be compiled; auto needs CUDA and, for Triton, a C compiler."""
    if choice != "auto":
        return choice == "on"
    return device.type == "cuda" and bool(shutil.which("cc") or shutil.which("gcc"))


def choose_engine(
    name: EngineChoice,
    device: torch.device,
    *,
    dtype: torch.dtype,
    compile_network: bool,
) -> Literal["torch", "openvino"]:
    """The runtime called `name`; auto is OpenVINO on an x86 CPU in float32 where it is installed.

    It was measured to be faster than torch there; elsewhere it has not been measured.

    Raises:
        ConfigError: OpenVINO cannot run on this device, in this precision, or with torch.compile.
    """
    can = device.type == "cpu" and dtype == torch.float32 and not compile_network
    if name == "auto":
        measured = platform.machine().lower() in ("x86_64", "amd64")
        return "openvino" if can and measured and graphs.is_installed() else "torch"
    if name == "openvino" and not can:
        raise ConfigError(
            f"engine openvino needs a cpu, float32 and no torch.compile; got {device.type}, "
            f"{str(dtype).removeprefix('torch.')}, compile {'on' if compile_network else 'off'}"
        )
    return name


def use_threads(count: int | None = None) -> None:
    """Let torch use `count` threads, and compute float32 in full precision on every device.

    Without a count, torch gets one thread for each CPU that this container may use. OpenCV gets one
    thread: its calls already run in as many decode threads.
    """
    torch.set_num_threads(count or usable_cpus())
    cv2.setNumThreads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def faults_as_errors() -> Iterator[None]:
    """Convert torch's device errors to ours; errors of the computation itself pass through.

    Raises:
        OutOfDeviceMemory: there was not enough memory.
        DeviceFault: the device failed, after which no call on it works.
    """
    try:
        yield
    except torch.OutOfMemoryError as err:
        torch.cuda.empty_cache()
        raise OutOfDeviceMemory(str(err)) from err
    except torch.AcceleratorError as err:
        raise DeviceFault(str(err)) from err


def memory_bytes(device: torch.device) -> dict[str, int]:
    """Memory that this process holds on a device: in use, and cached for later use.

    Empty for a CPU, which has no memory of its own.
    """
    if device.type == "cuda":
        allocated = torch.cuda.memory_allocated(device)
        return {"allocated": allocated, "cached": torch.cuda.memory_reserved(device) - allocated}
    if device.type == "mps":
        allocated = torch.mps.current_allocated_memory()
        return {"allocated": allocated, "cached": torch.mps.driver_allocated_memory() - allocated}
    return {}


def torch_build() -> str:
    """Torch's version, and the CUDA that it was built for."""
    return f"{torch.__version__}, built for CUDA {torch.version.cuda or 'none'}"


def describe(device: torch.device) -> str:
    """The device in words: its name and, for a GPU, its CUDA version and memory."""
    if device.type != "cuda":
        return f"{device.type}, {torch.get_num_threads()} threads"
    properties = torch.cuda.get_device_properties(device)
    memory_gib = properties.total_memory / 2**30
    return f"{properties.name}, {memory_gib:.0f} GiB, CUDA {torch.version.cuda}"
