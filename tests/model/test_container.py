"""The number of threads from the container's quota."""

import os
from pathlib import Path

import pytest

from distilpose.model.container import cpu_quota, usable_cpus


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
