"""Graphs that are kept."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from distilpose.model.files.cache import FileCache
from distilpose.model.runtime.openvino import graphs
from distilpose.model.runtime.openvino.conversion import convert
from distilpose.model.runtime.openvino.kept import Kept

VALUES = np.random.default_rng(0).random((2, 5), np.float32)
OPTIONS = graphs.options(threads=1, precision="float32")


class Network:
    """Is converted to a graph, which is counted."""

    def __init__(self) -> None:
        self.conversions = 0
        self._module = nn.Linear(5, 3)

    def __call__(self) -> graphs.Graph:
        self.conversions += 1
        return convert(self._module, torch.zeros(1, 5), input_name="x", output_names=["y"])


def answer(graph: graphs.Graph) -> list[list[float]]:
    [values] = graphs.run(graphs.compiled(graph, OPTIONS), VALUES)
    rows: list[list[float]] = values.tolist()
    return rows


def test_a_graph_is_converted_once(tmp_path: Path) -> None:
    network = Network()
    first = Kept(FileCache(tmp_path), {"weights": "w"})
    assert not first.has_graph({"canvas": (1, 2)})
    expected = answer(first.graph({"canvas": (1, 2)}, network))
    second = Kept(FileCache(tmp_path), {"weights": "w"})
    assert second.has_graph({"canvas": (1, 2)})
    assert answer(second.graph({"canvas": (1, 2)}, network)) == expected
    assert network.conversions == 1


def test_each_network_and_canvas_has_its_own(tmp_path: Path) -> None:
    network = Network()
    for weights in "ab":
        for canvas in ((1, 2), (2, 1)):
            Kept(FileCache(tmp_path), {"weights": weights}).graph({"canvas": canvas}, network)
    assert network.conversions == 4


@pytest.mark.parametrize("lost", [0, 1])
def test_half_a_graph_is_converted_again(tmp_path: Path, lost: int) -> None:
    network = Network()
    kept = Kept(FileCache(tmp_path), {"weights": "w"})
    kept.graph({}, network)
    sorted(tmp_path.iterdir())[lost].unlink()
    assert not kept.has_graph({})
    kept.graph({}, network)
    assert network.conversions == 2


def test_a_damaged_graph_is_converted_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = Network()
    kept = Kept(FileCache(tmp_path), {"weights": "w"})
    expected = answer(kept.graph({}, network))
    for file in tmp_path.iterdir():
        FileCache(tmp_path).put(file.stem, b"no graph")
    assert answer(kept.graph({}, network)) == expected
    assert "a network in the cache is of no use, and is made again" in caplog.text
    assert network.conversions == 2
