"""The choice of device, precision and runtime."""

import sys

import pytest
import torch

from distilpose.model.errors import ConfigError
from distilpose.model.runtime import devices
from distilpose.model.runtime.openvino import graphs
from distilpose.model.runtime.pytorch import devices as torch_devices


@pytest.fixture
def on_x86(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


def test_the_cpu_is_always_there() -> None:
    assert devices.choose_device("cpu") == "cpu"


@pytest.mark.usefixtures("on_x86")
def test_without_a_driver_the_choice_needs_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_GPU_DRIVERS", ())
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setitem(sys.modules, "distilpose.model.runtime.pytorch.devices", None)
    assert devices.choose_device("auto") == "cpu"


@pytest.mark.usefixtures("on_x86")
def test_with_a_driver_torch_is_asked_for_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_GPU_DRIVERS", ("/dev/null",))
    monkeypatch.setattr(torch_devices, "available", lambda: ["cuda", "cpu"])
    assert devices.choose_device("auto") == "cuda"


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without CUDA")
def test_a_device_that_is_not_there_is_refused_and_the_others_named() -> None:
    with pytest.raises(ConfigError, match=r"'cuda' is not available here; found: .*cpu"):
        devices.choose_device("cuda")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="'tpu' is not available here"):
        devices.choose_device("tpu")


def test_torch_stays_in_float32_on_a_cpu_unless_asked_for_another_precision() -> None:
    assert devices.choose_precision("auto", "cpu", "torch") == "float32"
    assert devices.choose_precision("bfloat16", "cpu", "torch") == "bfloat16"


@pytest.mark.parametrize(("native", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_openvino_takes_bfloat16_where_the_cpu_computes_in_it(
    native: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "computes_bfloat16", lambda: native)
    assert devices.choose_precision("auto", "cpu", "openvino") == chosen
    assert devices.choose_precision("float32", "cpu", "openvino") == "float32"


def test_bfloat16_is_refused_where_openvino_would_emulate_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graphs, "computes_bfloat16", lambda: False)
    with pytest.raises(ConfigError, match="this CPU does not compute in bfloat16 by OpenVINO"):
        devices.choose_precision("bfloat16", "cpu", "openvino")


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="'int3' is unknown; known: auto, float32, bfloat16"):
        devices.choose_precision("int3", "cpu", "torch")


def test_a_cpu_does_not_compile_unless_asked_to() -> None:
    assert not devices.choose_compile("auto", "cpu")
    assert devices.choose_compile("on", "cpu")
    assert not devices.choose_compile("off", "cuda")


def chosen(
    name: devices.EngineChoice, *, device: devices.DeviceKind = "cpu", compiled: bool = False
) -> str:
    return devices.choose_engine(name, device, compile_network=compiled)


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
def test_openvino_is_refused_where_it_does_not_run(
    device: devices.DeviceKind, compiled: bool, got: str
) -> None:
    with pytest.raises(ConfigError, match=f"needs a cpu and no torch.compile; got {got}"):
        chosen("openvino", device=device, compiled=compiled)
