"""The devices as torch knows them: threads, memory."""

from collections.abc import Iterator

import cv2
import pytest
import torch

from distilpose.model.runtime.pytorch.devices import TorchDevice, available, use_threads


def test_the_cpu_is_always_there_and_comes_last() -> None:
    assert available()[-1] == "cpu"


@pytest.fixture
def threads_kept() -> Iterator[None]:
    before, before_cv2 = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before)
    cv2.setNumThreads(before_cv2)


@pytest.mark.usefixtures("threads_kept")
def test_threads_are_set_and_float32_means_float32() -> None:
    use_threads(1)
    assert torch.get_num_threads() == cv2.getNumThreads() == 1
    assert not torch.backends.cuda.matmul.allow_tf32
    assert TorchDevice("cpu").describe() == "cpu, 1 threads"


def test_memory_of_a_gpu_is_reported_as_parts_that_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 5)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 12)
    assert TorchDevice("cuda").memory_bytes() == {"allocated": 5, "cached": 7}


def test_a_cpu_has_no_memory_of_its_own() -> None:
    assert TorchDevice("cpu").memory_bytes() == {}
