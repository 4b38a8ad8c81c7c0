"""How much memory there is, how much a process has, and what is kept for when there is none left.

Worker processes import this.
"""

from __future__ import annotations

import os
import sys
from functools import cache

_RESERVED_BYTES = 32 << 20  # of address space; a thread's stack, for one, takes 8 MiB

reserve: list[object] = []
"""Where it holds something, clearing it makes room.

A function may fail for lack of memory, as under RLIMIT_AS, while what it has filled is still alive: its
variables are to be told. What tells of them needs memory too.
"""


def fill_reserve() -> bool:
    """Fill :data:`reserve`, where the system limits address space; False if there is no room."""
    if sys.platform == "linux" and not reserve:
        import mmap

        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # and read only: it counts against no other limit
        try:
            reserve.append(mmap.mmap(-1, _RESERVED_BYTES, private, mmap.PROT_READ))
        except OSError:
            return False
    return True


@cache  # a tenth of what a run of a few short tasks takes on warm workers
def usable_memory() -> int:
    """Return how much memory this process and its workers may have, in bytes.

    It is the machine's, or less where control groups limit it. It is looked up once.
    """
    from .cgroup import group_folders, read

    memory = _machine_memory()
    for controller, name in (("", "memory.max"), ("memory", "memory.limit_in_bytes")):
        for group in group_folders(controller):
            try:
                memory = min(memory, int(read(f"{group}/{name}") or ""))
            except ValueError:
                continue  # there is no such file, or it says "max"
    return memory


def _machine_memory() -> int:
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    import psutil

    return int(psutil.virtual_memory().total)


if sys.platform == "linux":

    def can_look_at_others() -> bool:
        """Tell whether other processes can be looked at, by their ids.

        There may be no /proc, or one that knows processes by the ids of another PID namespace, as after
        ``unshare --pid`` without ``--mount-proc``: then what is found under an id is somebody else.
        """
        try:
            return os.readlink("/proc/self") == str(os.getpid())
        except OSError:
            return False

    def own_memory(pid: int) -> int:
        """Return the bytes of memory that a process shares with nobody; 0 if it is gone."""
        _, resident, shared = _memory(pid)
        return resident - shared

    def mapped_memory(pid: int) -> int:
        """Return the bytes of memory that a process can reach, there or not; 0 if it is gone."""
        return _memory(pid)[0]

    def _memory(pid: int) -> tuple[int, int, int]:
        name = "self" if pid == os.getpid() else pid  # whatever our id is there
        try:
            with open(f"/proc/{name}/statm", "rb") as file:
                mapped, resident, shared, *_ = map(int, file.read().split())
        except OSError:
            return 0, 0, 0
        return mapped * _PAGE, resident * _PAGE, shared * _PAGE

    _PAGE = os.sysconf("SC_PAGE_SIZE")

else:

    def can_look_at_others() -> bool:
        """Tell whether other processes can be looked at, by their ids."""
        return True

    def own_memory(pid: int) -> int:
        """Return the bytes of memory that a process has, shared or not; 0 if it is gone."""
        import psutil

        try:
            return int(psutil.Process(pid).memory_info().rss)
        except psutil.Error:
            return 0

    mapped_memory = own_memory
