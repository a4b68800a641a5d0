"""OpenVINO: the side effects of its import, and its graphs compared with the networks."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distilpose.model import networks
from distilpose.model.configs import network_config
from distilpose.model.errors import ConfigError
from distilpose.model.networks import Student
from distilpose.model.runtime.openvino import graphs
from distilpose.model.runtime.openvino.conversion import convert
from golden_rules import filled_state, golden_arrays, image_batch, scaled_error

EXPORTED = 1e-4
OPTIONS = graphs.options(threads=1, precision="float32")


class Answers(nn.Module):
    """A student without its tokens."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, crops_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out = self.student(crops_BCHW)
        return out.xy_crop, out.raw_score, out.sigma_cell


def test_importing_it_loads_nothing_that_reports() -> None:
    program = (
        "import sys\n"
        "from distilpose.model.runtime.openvino.graphs import import_openvino\n"
        "import_openvino('frontend.pytorch.ts_decoder')\n"
        "print([name for name in sys.modules if 'telemetry' in name or 'openvino.tools' in name])"
    )
    output = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert output.strip() == "[]"


@pytest.mark.parametrize(
    "name", ["distilpose-s", pytest.param("distilpose-l", marks=pytest.mark.slow)]
)
def test_a_graph_answers_as_published(name: str) -> None:
    student = networks.construct(network_config(name))
    student.load_state_dict(filled_state(name))
    assert isinstance(student, Student)
    batch, want = image_batch(), golden_arrays(f"net_{name}")

    graph = convert(
        Answers(student).eval(),
        batch[:1],
        input_name="crops",
        output_names=["pred", "score", "sigma"],
    )
    pred, score, sigma = graphs.run(graphs.compiled(graph, OPTIONS), batch.numpy())

    assert scaled_error(pred, want["pred"]) <= EXPORTED
    assert scaled_error(score, want["score"][..., 0]) <= EXPORTED
    assert scaled_error(sigma, want["sigma"]) <= EXPORTED


def test_an_input_need_not_be_contiguous() -> None:
    graph = convert(nn.Flatten(), torch.zeros(1, 2, 3), input_name="x", output_names=["y"])
    rows = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    [flat] = graphs.run(graphs.compiled(graph, OPTIONS), rows[:, :, ::-1])
    assert flat.tolist() == [[2, 1, 0, 5, 4, 3], [8, 7, 6, 11, 10, 9]]


def test_a_program_of_one_shape_leaves_the_graph_to_others() -> None:
    graph = convert(nn.Flatten(), torch.zeros(1, 2, 3), input_name="x", output_names=["y"])
    two_rows = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    [own] = graphs.run(graphs.compiled(graph, OPTIONS, shape=(2, 2, 3)), two_rows)
    [shared] = graphs.run(graphs.compiled(graph, OPTIONS), two_rows[:1])
    assert own.tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert shared.tolist() == [[0, 1, 2, 3, 4, 5]]


class Untranslatable(nn.Module):
    """Uses an operation that OpenVINO does not know."""

    def forward(self, values: Tensor) -> Tensor:
        answer: Tensor = torch.special.bessel_j0(values)
        return answer


_DROPPED_ELSEWHERE = """
import os, signal, threading
import torch
from distilpose.model.runtime.openvino import graphs
from distilpose.model.runtime.openvino.conversion import convert

signal.signal(signal.SIGTERM, lambda *_: print("heard"))
graph = convert(torch.nn.Flatten(), torch.zeros(1, 2), input_name="x", output_names=["y"])
programs = [graphs.compiled(graph, graphs.options(threads=1, precision="float32"))]
thread = threading.Thread(target=programs.clear)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_signals_are_heard_after_a_program_was_dropped_by_another_thread() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _DROPPED_ELSEWHERE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "heard\n")


def test_what_it_cannot_express_is_a_typed_error_that_names_the_way_out() -> None:
    with pytest.raises(ConfigError, match="OpenVINO cannot run Untranslatable, but torch can"):
        convert(Untranslatable(), torch.zeros(1, 3), input_name="x", output_names=["y"])


def test_where_it_is_missing_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "is_installed", lambda: False)
    with pytest.raises(ConfigError, match=r"pip install 'distilpose\[openvino\]'"):
        graphs.import_openvino()
