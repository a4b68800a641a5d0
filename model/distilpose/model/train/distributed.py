"""The same entry for one process and for many: all the code that `torchrun` makes different."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


def join() -> tuple[int, int]:
    """The rank of this process and their number; joins the others if torchrun started it."""
    if "RANK" not in os.environ:
        return 0, 1
    if not distributed.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        if backend == "nccl":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group(backend)
    return distributed.get_rank(), distributed.get_world_size()


@contextmanager
def joined() -> Iterator[tuple[int, int]]:
    """As `join`, for as long as the context lasts."""
    try:
        yield join()
    finally:
        leave()


def leave() -> None:
    """Leave the group of processes, if there is one."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def shared_gradients(network: nn.Module, *, some_unused: bool = False) -> nn.Module:
    """The network with its gradients averaged over all processes; BatchNorm stays per process.

    `some_unused` allows steps that do not use every parameter, at the cost of a search in each.
    """
    if not distributed.is_initialized():
        return network
    return DistributedDataParallel(
        network, broadcast_buffers=False, find_unused_parameters=some_unused
    )


def agreed(value: float, device: torch.device) -> float:
    """The first process's value, on every process, so that all stop at the same step."""
    if not distributed.is_initialized():
        return value
    tensor = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.broadcast(tensor, src=0)
    return float(tensor)
