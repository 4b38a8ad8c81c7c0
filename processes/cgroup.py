"""Where Linux keeps what it limits and counts for this process: its control group; see cgroups(7)."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def group_folders(controller: str = "") -> list[Path]:
    """Return the folders of this process's control group and those above it, the nearest first.

    In a container some of them may not be there.

    Parameters
    ----------
    controller : str, optional
        Of control groups of the first version, as in ``memory``; by default the second version's.

    Returns
    -------
    list of Path
        Empty where there are none.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            root = _ROOT / controller
            group = root / path.lstrip("/")
            return [group, *(parent for parent in group.parents if parent.is_relative_to(root))]
    return []
