"""Several processes give the gradients of one."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from distilpose.model.train import distributed

PROGRAM = """
import sys
import torch
from distilpose.model.networks import build
from distilpose.model.train import distributed
from distilpose.model.train.feed.batch import TrainBatch
from distilpose.model.train.helpers import Helped
from distilpose.model.train.settings import LossSettings
from distilpose.model.train.objectives import student_objective, teacher_objective

name, frozen, out = sys.argv[1], sys.argv[2] == "frozen", sys.argv[3]
torch.set_num_threads(1)
rank, world_size = distributed.join()
torch.manual_seed(0)
network = build(name).eval()  # BatchNorm by its averages, which all processes share
crops = torch.rand(4, 3, *((64, 48) if name == "tokenpose-s" else (256, 192)))
xy = torch.rand(4, 17, 2) * torch.tensor([190.0, 254.0])
share = slice(rank, None, world_size)
known = torch.ones(4, 17)[share]
batch = TrainBatch(crops[share], xy[share], known, known < 0)
point = "token" if frozen else "map"
loss = LossSettings(point=point, map=0.01 * (point == "map"))
helped = Helped(network, loss)
shared = distributed.shared_gradients(helped, some_unused=frozen)
of = student_objective if name == "distilpose-n" else teacher_objective
objective = of(shared, loss)
if frozen:  # and a step later it thaws
    helped.freeze_trunk(True)
    sum(objective(batch.crops_BCHW, batch.targets(), 1.0).values()).backward()
    helped.freeze_trunk(False)
sum(objective(batch.crops_BCHW, batch.targets(), 1.0).values()).backward()
agreed = distributed.agreed(float(rank + 1), torch.device("cpu"))
if rank == 0:
    gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    torch.save({"gradients": gradients, "agreed": agreed}, out)
distributed.leave()
"""


def run(folder: Path, processes: int, *arguments: str) -> dict[str, object]:
    program, out = folder / "program.py", folder / f"{processes}.pt"
    program.write_text(PROGRAM)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, f"--nproc-per-node={processes}"] if processes > 1 else [sys.executable]
    subprocess.run(
        [*command, str(program), *arguments, str(out)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    saved: dict[str, object] = torch.load(out, weights_only=True)
    return saved


def test_alone_there_is_one_process_and_nothing_to_agree_on() -> None:
    assert distributed.join() == (0, 1)
    assert distributed.agreed(0.25, torch.device("cpu")) == 0.25


def test_a_process_alone_joins_and_leaves_nobody() -> None:
    with distributed.joined() as (rank, world_size):
        assert (rank, world_size) == (0, 1)
        assert not torch.distributed.is_initialized()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "how"),
    [("tokenpose-s", "free"), ("distilpose-n", "frozen"), ("tokenpose-n", "free")],
)
def test_two_processes_give_the_gradients_of_one_over_the_whole_batch(
    tmp_path: Path, name: str, how: str
) -> None:
    one, two = (run(tmp_path, processes, name, how) for processes in (1, 2))
    assert two["agreed"] == 1.0
    expected, got = one["gradients"], two["gradients"]
    assert isinstance(expected, dict)
    assert isinstance(got, dict)
    assert expected.keys() == got.keys()
    for parameter, gradient in expected.items():
        assert (got[parameter] - gradient).norm() <= 1e-5 * gradient.norm(), parameter
