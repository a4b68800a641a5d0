"""Choose the device, precision and runtime for the networks. Torch is imported only to ask it."""

import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

from distilpose.model.errors import ConfigError
from distilpose.model.runtime.openvino import graphs
from distilpose.model.runtime.precision import PRECISIONS, Precision

DeviceKind: TypeAlias = Literal["cuda", "mps", "cpu"]
Runtime: TypeAlias = Literal["torch", "openvino"]
EngineChoice: TypeAlias = Literal["auto"] | Runtime

_GPU_DRIVERS: Final = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Devices of NVIDIA's and AMD's drivers on Linux, and of WSL's for both."""


@dataclass(frozen=True, slots=True)
class ComputeDevice:
    """The device that a network runs on; a CPU, unless torch knows more of it."""

    kind: DeviceKind
    threads: int
    """On the CPU; a GPU hardly needs them."""

    def describe(self) -> str:
        """The device in words."""
        return f"{self.kind}, {self.threads} threads"

    def memory_bytes(self) -> dict[str, int]:
        """Memory that this process holds on the device: in use, and cached for later use.

        Empty for a CPU, which has no memory of its own.
        """
        return {}


def choose_device(name: str) -> DeviceKind:
    """The device called `name`: cuda, mps, cpu, or auto for the first of these available.

    Raises:
        ConfigError: the device is not available.
    """
    if name == "cpu" or (name == "auto" and not _may_have_gpu()):
        return "cpu"
    from distilpose.model.runtime.pytorch.devices import available  # noqa: PLC0415 - takes seconds

    there = available()
    if name == "auto":
        return there[0]
    for kind in there:
        if kind == name:
            return kind
    raise ConfigError(f"device {name!r} is not available here; found: {', '.join(there)}")


def _may_have_gpu() -> bool:
    """Return False for an x86 machine with Linux on which no driver of a GPU is loaded."""
    known = platform.system() == "Linux" and _is_x86()
    return not known or any(Path(driver).exists() for driver in _GPU_DRIVERS)


def _is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


def choose_compile(choice: Literal["auto", "on", "off"], device: DeviceKind) -> bool:
    """Return True if networks should be compiled; auto needs CUDA and, for Triton, a C compiler."""
    if choice != "auto":
        return choice == "on"
    return device == "cuda" and bool(shutil.which("cc") or shutil.which("gcc"))


def choose_engine(name: EngineChoice, device: DeviceKind, *, compile_network: bool) -> Runtime:
    """The runtime called `name`; auto is OpenVINO on an x86 CPU where it is installed.

    It was measured to be faster than torch there; elsewhere it has not been measured.

    Raises:
        ConfigError: OpenVINO cannot run on this device, or with torch.compile.
    """
    can = device == "cpu" and not compile_network
    if name == "auto":
        return "openvino" if can and _is_x86() and graphs.is_installed() else "torch"
    if name == "openvino" and not can:
        raise ConfigError(
            f"engine openvino needs a cpu and no torch.compile; got {device}, "
            f"compile {'on' if compile_network else 'off'}"
        )
    return name


def choose_precision(name: str, device: DeviceKind, runtime: Runtime) -> Precision:
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


def _computes_bfloat16(device: DeviceKind, runtime: Runtime) -> bool:
    if runtime == "openvino":
        return graphs.computes_bfloat16()
    if device != "cuda":
        return False
    from distilpose.model.runtime.pytorch.devices import cuda_computes_bfloat16  # noqa: PLC0415 - takes seconds

    return cuda_computes_bfloat16()
