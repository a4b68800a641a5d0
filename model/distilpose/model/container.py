"""The number of CPUs this process may use: the container's quota, not the host's cores."""

import math
import os
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")


def cpu_quota(root: Path = CGROUP_ROOT) -> float | None:
    """CPUs granted by the cgroup's CFS quota, or None without one.

    *Source:* Linux kernel documentation, cgroup v2 `cpu.max`; v1 `cpu.cfs_quota_us` over
    `cpu.cfs_period_us`.
    """
    if (v2 := root / "cpu.max").exists():
        quota, period = v2.read_text("ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    for folder in ("cpu", "cpu,cpuacct"):
        v1 = root / folder / "cpu.cfs_quota_us"
        if v1.exists() and (quota_us := int(v1.read_text("ascii"))) > 0:
            return quota_us / int((v1.parent / "cpu.cfs_period_us").read_text("ascii"))
    return None


def usable_cpus(root: Path = CGROUP_ROOT) -> int:
    """Whole CPUs to plan threads for: the smaller of affinity and quota, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = affinity or os.cpu_count() or 1
    quota = cpu_quota(root)
    return max(1, min(cores, math.floor(quota) if quota else cores))
