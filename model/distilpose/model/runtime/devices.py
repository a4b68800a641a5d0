"""Choose the device, precision, runtime and number of threads for the networks."""

import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias, cast

import cv2
import torch

from distilpose.model.container import usable_cpus
from distilpose.model.errors import ConfigError, DeviceFault, OutOfDeviceMemory
from distilpose.model.runtime.openvino import graphs
from distilpose.model.runtime.precision import PRECISIONS, Precision

Runtime: TypeAlias = Literal["torch", "openvino"]
EngineChoice: TypeAlias = Literal["auto"] | Runtime


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


def choose_compile(choice: Literal["auto", "on", "off"], device: torch.device) -> bool:
    """Return True if networks should be compiled; auto needs CUDA and, for Triton, a C compiler."""
    if choice != "auto":
        return choice == "on"
    return device.type == "cuda" and bool(shutil.which("cc") or shutil.which("gcc"))


def choose_engine(name: EngineChoice, device: torch.device, *, compile_network: bool) -> Runtime:
    """The runtime called `name`; auto is OpenVINO on an x86 CPU where it is installed.

    It was measured to be faster than torch there; elsewhere it has not been measured.

    Raises:
        ConfigError: OpenVINO cannot run on this device, or with torch.compile.
    """
    can = device.type == "cpu" and not compile_network
    if name == "auto":
        measured = platform.machine().lower() in ("x86_64", "amd64")
        return "openvino" if can and measured and graphs.is_installed() else "torch"
    if name == "openvino" and not can:
        raise ConfigError(
            f"engine openvino needs a cpu and no torch.compile; got {device.type}, "
            f"compile {'on' if compile_network else 'off'}"
        )
    return name


def choose_precision(name: str, device: torch.device, runtime: Runtime) -> Precision:
    """The precision called `name`; auto is bfloat16 where the hardware computes in it.

    On a GPU torch knows that, and on a CPU OpenVINO. Torch on a CPU stays in float32.

    Raises:
        ConfigError: the name is unknown, or OpenVINO would only emulate bfloat16 on this CPU.
    """
    if name not in ("auto", *PRECISIONS):
        raise ConfigError(f"dtype {name!r} is unknown; known: auto, {', '.join(PRECISIONS)}")
    if name == "auto":
        return "bfloat16" if _computes_bfloat16(device, runtime) else "float32"
    if name == "bfloat16" and runtime == "openvino" and not graphs.computes_bfloat16():
        raise ConfigError(
            "dtype bfloat16: this CPU does not compute in bfloat16 by OpenVINO; take float32 or "
            "auto, or engine torch, which emulates it slowly"
        )
    return cast("Precision", name)


def _computes_bfloat16(device: torch.device, runtime: Runtime) -> bool:
    if runtime == "openvino":
        return graphs.computes_bfloat16()
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def torch_dtype(precision: Precision) -> torch.dtype:
    """Torch's type of numbers in this precision."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]


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
