"""Where Linux keeps what it limits and counts for this process: its control group; see cgroups(7)."""

from __future__ import annotations

_ROOT = "/sys/fs/cgroup"


def group_folders(controller: str = "") -> list[str]:
    """Return the folders of this process's control group and those above it, the nearest first.

    With a controller such as ``memory``, those of the first version of control groups. There may be none, and
    in a container some may not be there.
    """
    for line in (read("/proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            root = f"{_ROOT}/{controller}".rstrip("/")
            names = path.strip("/").split("/") if path.strip("/") else []
            return ["/".join((root, *names[:depth])) for depth in range(len(names), -1, -1)]
    return []


def read(file: str) -> str | None:
    """Return what a file says; None where it is not there, or not for us."""
    try:
        # The name of a group may be any bytes.
        with open(file, encoding="utf-8", errors="surrogateescape") as text:
            return text.read()
    except OSError:
        return None
