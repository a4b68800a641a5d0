"""Which device computes, and how."""

import cv2
import pytest
import torch

from distilpose.model import devices
from distilpose.model.errors import ConfigError

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


def test_precision_is_float32_on_a_cpu_unless_asked_for() -> None:
    assert devices.choose_dtype("auto", CPU) is torch.float32
    assert devices.choose_dtype("bfloat16", CPU) is torch.bfloat16


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="'int3' is unknown; known: auto, float32, bfloat16"):
        devices.choose_dtype("int3", CPU)


def test_a_cpu_does_not_compile_unless_asked_to() -> None:
    assert not devices.choose_compile("auto", CPU)
    assert devices.choose_compile("on", CPU)
    assert not devices.choose_compile("off", torch.device("cuda"))


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
