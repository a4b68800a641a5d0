"""The choice of device, precision and runtime."""

import cv2
import pytest
import torch

from distilpose.model.errors import ConfigError
from distilpose.model.runtime import devices
from distilpose.model.runtime.openvino import graphs

CPU = torch.device("cpu")


def test_the_cpu_is_always_there() -> None:
    assert devices.choose_device("cpu") == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without CUDA")
def test_a_device_that_is_not_there_is_refused_and_the_others_named() -> None:
    with pytest.raises(ConfigError, match=r"'cuda' is not available here; found: .*cpu"):
        devices.choose_device("cuda")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="'tpu' is not available here"):
        devices.choose_device("tpu")


def test_torch_stays_in_float32_on_a_cpu_unless_asked_for_another_precision() -> None:
    assert devices.choose_precision("auto", CPU, "torch") == "float32"
    assert devices.choose_precision("bfloat16", CPU, "torch") == "bfloat16"


@pytest.mark.parametrize(("native", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_openvino_takes_bfloat16_where_the_cpu_computes_in_it(
    native: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "computes_bfloat16", lambda: native)
    assert devices.choose_precision("auto", CPU, "openvino") == chosen
    assert devices.choose_precision("float32", CPU, "openvino") == "float32"


def test_bfloat16_is_refused_where_openvino_would_emulate_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graphs, "computes_bfloat16", lambda: False)
    with pytest.raises(ConfigError, match="this CPU does not compute in bfloat16 by OpenVINO"):
        devices.choose_precision("bfloat16", CPU, "openvino")


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="'int3' is unknown; known: auto, float32, bfloat16"):
        devices.choose_precision("int3", CPU, "torch")


def test_a_cpu_does_not_compile_unless_asked_to() -> None:
    assert not devices.choose_compile("auto", CPU)
    assert devices.choose_compile("on", CPU)
    assert not devices.choose_compile("off", torch.device("cuda"))


def chosen(name: devices.EngineChoice, *, device: str = "cpu", compiled: bool = False) -> str:
    return devices.choose_engine(name, torch.device(device), compile_network=compiled)


@pytest.fixture
def on_x86(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


@pytest.mark.usefixtures("on_x86")
def test_openvino_runs_on_an_x86_cpu() -> None:
    assert chosen("auto") == "openvino"
    assert chosen("auto", device="cuda") == "torch"
    assert chosen("auto", compiled=True) == "torch"


@pytest.mark.usefixtures("on_x86")
def test_torch_runs_where_openvino_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distilpose.model.runtime.openvino.graphs.is_installed", lambda: False)
    assert chosen("auto") == "torch"


def test_torch_runs_on_a_cpu_that_was_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert chosen("auto") == "torch"
    assert chosen("openvino") == "openvino"


def test_torch_runs_where_it_is_asked_for() -> None:
    assert chosen("torch") == "torch"


@pytest.mark.parametrize(
    ("device", "compiled", "got"),
    [("cuda", False, "cuda, compile off"), ("cpu", True, "cpu, compile on")],
)
def test_openvino_is_refused_where_it_does_not_run(device: str, compiled: bool, got: str) -> None:
    with pytest.raises(ConfigError, match=f"needs a cpu and no torch.compile; got {got}"):
        chosen("openvino", device=device, compiled=compiled)


def test_threads_are_set_and_float32_means_float32() -> None:
    before, before_cv2 = torch.get_num_threads(), cv2.getNumThreads()
    try:
        devices.use_threads(1)
        assert torch.get_num_threads() == 1
        assert not torch.backends.cuda.matmul.allow_tf32
        assert devices.describe(CPU) == "cpu, 1 threads"
    finally:
        torch.set_num_threads(before)
        cv2.setNumThreads(before_cv2)


def test_memory_of_a_gpu_is_reported_as_parts_that_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 5)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 12)
    assert devices.memory_bytes(torch.device("cuda")) == {"allocated": 5, "cached": 7}


def test_a_cpu_has_no_memory_of_its_own() -> None:
    assert devices.memory_bytes(torch.device("cpu")) == {}
