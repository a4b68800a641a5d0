"""The devices that torch knows: what they are, what they hold, and how they fail."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch

from distilpose.model.container import usable_cpus
from distilpose.model.errors import DeviceFault, OutOfDeviceMemory
from distilpose.model.runtime.devices import ComputeDevice, DeviceKind
from distilpose.model.runtime.precision import Precision


class TorchDevice(ComputeDevice):
    """A device that torch runs networks on, with the threads that torch uses now."""

    __slots__ = ()

    def __init__(self, kind: DeviceKind) -> None:
        super().__init__(kind, torch.get_num_threads())

    def describe(self) -> str:
        """The device in words: its name and, for a GPU, its CUDA version and memory."""
        if self.kind != "cuda":
            return super().describe()
        properties = torch.cuda.get_device_properties(self.kind)
        memory_gib = properties.total_memory / 2**30
        return f"{properties.name}, {memory_gib:.0f} GiB, CUDA {torch.version.cuda}"

    def memory_bytes(self) -> dict[str, int]:
        """Memory that this process holds on a device: in use, and cached for later use."""
        if self.kind == "cuda":
            allocated = torch.cuda.memory_allocated(self.kind)
            cached = torch.cuda.memory_reserved(self.kind) - allocated
            return {"allocated": allocated, "cached": cached}
        if self.kind == "mps":
            allocated = torch.mps.current_allocated_memory()
            cached = torch.mps.driver_allocated_memory() - allocated
            return {"allocated": allocated, "cached": cached}
        return super().memory_bytes()


def available() -> list[DeviceKind]:
    """The devices that torch finds here, the fastest first."""
    there: dict[DeviceKind, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    return [device for device, present in there.items() if present]


def cuda_computes_bfloat16() -> bool:
    """Return True if the GPU multiplies in bfloat16 itself."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


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


def torch_build() -> str:
    """Torch's version, and the CUDA that it was built for."""
    return f"{torch.__version__}, built for CUDA {torch.version.cuda or 'none'}"
