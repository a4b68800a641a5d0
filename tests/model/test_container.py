"""Threads and memory from the container's share."""

import os
from pathlib import Path

import pytest

from distilpose.model.container import (
    cpu_quota,
    machine_memory_bytes,
    memory_limit_bytes,
    resident_bytes,
    usable_cpus,
)


def test_the_quota_of_cgroup_v2_is_divided_by_its_period(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n", "ascii")
    assert cpu_quota(tmp_path) == 1.5


def test_cgroup_v2_can_be_without_a_quota(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n", "ascii")
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(("quota_us", "cpus"), [("200000", 2.0), ("-1", None)])
def test_the_quota_of_cgroup_v1_is_read_and_can_be_missing(
    tmp_path: Path, quota_us: str, cpus: float | None
) -> None:
    folder = tmp_path / "cpu"
    folder.mkdir()
    (folder / "cpu.cfs_quota_us").write_text(quota_us, "ascii")
    (folder / "cpu.cfs_period_us").write_text("100000", "ascii")
    assert cpu_quota(tmp_path) == cpus


def test_no_cgroup_means_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    assert usable_cpus(tmp_path) == len(os.sched_getaffinity(0))


def test_a_quota_below_one_cpu_is_one_thread(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n", "ascii")
    assert usable_cpus(tmp_path) == 1


@pytest.mark.parametrize(
    ("name", "text", "limit"),
    [
        ("memory.max", "4294967296\n", 1 << 32),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "4294967296", 1 << 32),
        ("memory/memory.limit_in_bytes", "9223372036854771712", None),
    ],
)
def test_the_limit_of_memory_is_read_from_either_cgroup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, limit: int | None
) -> None:
    monkeypatch.setattr("distilpose.model.container.machine_memory_bytes", lambda: 1 << 40)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "ascii")
    assert memory_limit_bytes(tmp_path) == limit


def test_no_cgroup_means_no_limit_of_memory(tmp_path: Path) -> None:
    assert memory_limit_bytes(tmp_path) is None


def test_a_process_holds_part_of_the_machines_memory() -> None:
    before = resident_bytes()
    held = bytearray(b"x" * (64 << 20))
    assert before + len(held) // 2 < resident_bytes() < machine_memory_bytes()
