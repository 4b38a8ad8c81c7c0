"""How many processors this process may use."""

from __future__ import annotations

import math
import os
import sys

from .cgroup import group_folders, read


def usable_cpus() -> int:
    """Count the processors that this process may use: one at least.

    The affinity mask counts, or what Python was told by ``-X cpu_count`` or ``PYTHON_CPU_COUNT`` (3.13), and
    on Linux the quota of the control group that the process is in and of those above it: a container that may
    use 1.5 processors has 2.
    """
    if sys.version_info >= (3, 13):
        cpus = os.process_cpu_count() or 1
    else:
        try:
            cpus = len(os.sched_getaffinity(0))
        except AttributeError:  # macOS and Windows have no such call
            cpus = os.cpu_count() or 1
    return max(1, math.ceil(min(cpus, _cgroup_quota())))


def _cgroup_quota() -> float:
    """Return the processors that the control groups allow; infinite where nothing limits them."""
    quotas = [read(f"{group}/cpu.max") or "" for group in group_folders()]
    quotas += [
        f"{read(f'{group}/cpu.cfs_quota_us')} {read(f'{group}/cpu.cfs_period_us')}"
        for group in group_folders("cpu")
    ]
    return min(map(_processors, quotas), default=math.inf)


def _processors(quota: str) -> float:
    """Return how many processors a quota is: the time that may be used, and in what time."""
    try:
        limit, period = map(int, quota.split())
    except ValueError:
        return math.inf  # there is no such file, as in the root group, or it says "max"
    return limit / period if limit > 0 and period > 0 else math.inf  # in the first version -1 is no limit
