"""Choose the precision of a run: as configured, or whichever is faster in a trial.

Not every CPU that supports bfloat16 is faster with it than with float32, and one without support is
many times slower; only a trial can show it.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Final, cast

import torch
from torch import nn

from distilpose.model.configs import CROP_HEIGHT, CROP_WIDTH
from distilpose.model.runtime import devices
from distilpose.model.runtime.devices import DeviceKind
from distilpose.model.runtime.precision import Precision

_TIMED: Final = 2
_CROPS_AT_MOST: Final = 16


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return the autocast context for this precision on this device."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def choose(device: torch.device, seconds: Callable[[Precision], float]) -> tuple[Precision, str]:
    """The best precision for a device, and a line with the reason.

    On a CPU it is the one that takes fewer `seconds`; on a GPU bfloat16 if supported.
    """
    if device.type != "cpu":
        chosen = devices.choose_precision("auto", cast("DeviceKind", device.type), "torch")
        return chosen, f"{chosen} on {device.type}"
    wide, narrow = seconds("float32"), seconds("bfloat16")
    chosen = "bfloat16" if narrow < wide else "float32"
    return chosen, f"{chosen}: a trial took {wide:.2f} s in float32, {narrow:.2f} s in bfloat16"


def trial_seconds(network: nn.Module, precision: Precision, *, batch_size: int) -> float:
    """CPU time of one forward and backward pass of a copy of `network`, the best of a few.

    Unlike wall time, it excludes other work on the same cores. At most 16 crops are used; the
    network's weights, buffers and gradients stay unchanged.
    """
    device = next(network.parameters()).device
    trained = deepcopy(network).train()
    crops_BCHW = torch.full((min(batch_size, _CROPS_AT_MOST), 3, CROP_HEIGHT, CROP_WIDTH), 0.5)
    crops_BCHW = crops_BCHW.to(device, memory_format=torch.channels_last)
    seconds = []
    for _ in range(1 + _TIMED):
        began = time.process_time()
        with autocast(precision, device):
            out = trained(crops_BCHW)
        total = torch.stack([tensor.float().square().mean() for tensor in out]).sum()
        total.backward()  # type: ignore[no-untyped-call]  # torch's own
        seconds.append(time.process_time() - began)
    return min(seconds[1:])
