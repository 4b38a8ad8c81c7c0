"""How many processors this process may use."""

from __future__ import annotations

import math
import os

from .cgroup import group_folders, read


def usable_cpus() -> int:
    """Count the processors that this process may use.

    The affinity mask counts, and on Linux the quota of the control group (v2) that the process is in
    and of those above it: a container that may use 1.5 processors has 2.

    Returns
    -------
    int
        At least 1.
    """
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no such call
        cpus = os.cpu_count() or 1
    return max(1, math.ceil(min(cpus, _cgroup_quota())))


def _cgroup_quota() -> float:
    """Return the processors that the control groups allow; infinite where nothing limits them."""
    quota = math.inf
    for group in group_folders():
        try:
            limit, period = (read(f"{group}/cpu.max") or "").split()
        except ValueError:
            continue  # the root group has no such file
        if limit != "max":
            quota = min(quota, int(limit) / int(period))
    return quota
