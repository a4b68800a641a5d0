"""Programs that are kept and restored."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from distilpose.model.files.cache import FileCache
from distilpose.model.runtime.openvino import graphs
from distilpose.model.runtime.openvino.conversion import convert
from distilpose.model.runtime.openvino.kept import Kept
from distilpose.model.runtime.openvino.programs import Programs, Shape
from distilpose.model.runtime.precision import Precision

PIXELS = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)


@pytest.fixture(scope="module")
def graph() -> graphs.Graph:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 8, 3)).eval()
    return convert(network, torch.zeros(1, 3, 16, 16), input_name="x", output_names=["y"])


class Counted:
    """Gives the graph, and counts how often it is asked for one."""

    def __init__(self, graph: graphs.Graph) -> None:
        self._graph = graph
        self.shapes: list[Shape] = []

    def __call__(self, shape: Shape) -> graphs.Graph:
        self.shapes.append(shape)
        return self._graph

    def programs(
        self, folder: Path, *, precision: Precision = "float32", weights: str = "w"
    ) -> Programs:
        kept = Kept(FileCache(folder), {"weights": weights})
        return Programs(self, precision=precision, threads=1, kept=kept)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_restored_program_answers_the_same_bit_for_bit(
    graph: graphs.Graph, tmp_path: Path, precision: Precision
) -> None:
    counted = Counted(graph)
    [compiled] = counted.programs(tmp_path, precision=precision).run(PIXELS)
    again = counted.programs(tmp_path, precision=precision)
    [restored] = again.run(PIXELS)
    np.testing.assert_array_equal(restored, compiled)
    np.testing.assert_array_equal(again.run(PIXELS)[0], compiled)
    assert counted.shapes == [PIXELS.shape]


def test_each_shape_precision_and_network_has_its_own(graph: graphs.Graph, tmp_path: Path) -> None:
    counted = Counted(graph)
    counted.programs(tmp_path).run(PIXELS)
    counted.programs(tmp_path).run(PIXELS)
    assert len(counted.shapes) == 1
    counted.programs(tmp_path).run(PIXELS[:1])
    counted.programs(tmp_path, precision="bfloat16").run(PIXELS)
    counted.programs(tmp_path, weights="other").run(PIXELS)
    assert len(counted.shapes) == 4


def test_another_cpu_compiles_what_one_converted(
    graph: graphs.Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(graph)
    kept = Kept(FileCache(tmp_path), {"weights": "w"})
    kept.graph({}, lambda: graph)
    counted.programs(tmp_path).run(PIXELS)
    monkeypatch.setattr(graphs, "cpu", lambda: {"FULL_DEVICE_NAME": "another"})
    counted.programs(tmp_path).run(PIXELS)
    assert len(counted.shapes) == 2
    assert Kept(FileCache(tmp_path), {"weights": "w"}).has_graph({})


def test_those_in_the_cache_are_restored_together_and_no_others(
    graph: graphs.Graph, tmp_path: Path
) -> None:
    counted = Counted(graph)
    first = counted.programs(tmp_path)
    for count in (1, 2):
        first.run(PIXELS[:count])
    later = counted.programs(tmp_path)
    later.restore([(1, 3, 16, 16), (2, 3, 16, 16), (3, 3, 16, 16)])
    (tmp_path / "emptied").mkdir()
    for file in tmp_path.glob("*"):
        file.rename(tmp_path / "emptied" / file.name) if file.is_file() else None
    for count in (1, 2):
        np.testing.assert_array_equal(later.run(PIXELS[:count])[0], first.run(PIXELS[:count])[0])
    assert len(counted.shapes) == 2


def test_a_file_that_cannot_be_restored_is_replaced(
    graph: graphs.Graph, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counted = Counted(graph)
    [expected] = counted.programs(tmp_path).run(PIXELS)
    [file] = tmp_path.iterdir()
    FileCache(tmp_path).put(file.stem, b"of another version")
    [answer] = counted.programs(tmp_path).run(PIXELS)
    np.testing.assert_array_equal(answer, expected)
    assert "a network in the cache is of no use, and is made again" in caplog.text
    counted.programs(tmp_path).run(PIXELS)
    assert len(counted.shapes) == 2


def test_without_a_cache_it_is_compiled_each_time(graph: graphs.Graph) -> None:
    counted = Counted(graph)
    for _ in range(2):
        programs = Programs(counted, precision="float32", threads=1)
        programs.restore([PIXELS.shape])
        programs.run(PIXELS)
    assert len(counted.shapes) == 2
