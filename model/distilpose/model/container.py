"""The CPUs and the memory this process may use: the container's share, not the host's."""

import math
import os
import resource
import sys
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


def memory_limit_bytes(root: Path = CGROUP_ROOT) -> int | None:
    """The memory that the cgroup may use, or None without a limit below the machine's memory.

    *Source:* Linux kernel documentation, cgroup v2 `memory.max`; v1 `memory.limit_in_bytes`.
    """
    for path in (root / "memory.max", root / "memory" / "memory.limit_in_bytes"):
        if path.exists():
            text = path.read_text("ascii").strip()
            limit = None if text == "max" else int(text)
            return limit if limit is not None and limit < machine_memory_bytes() else None
    return None


def machine_memory_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def resident_bytes() -> int:
    """The memory this process holds now; its peak so far where the system does not say."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
