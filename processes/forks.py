"""How often a process was forked, and locks that a program which forks beside its threads finds open."""

from __future__ import annotations

import os
import threading

TYPE_CHECKING = False  # typing is not imported: workers import this module
if TYPE_CHECKING:
    from typing import Any

behind = 0
"""How many forks lie between this process and the one that has imported this module."""


def _note_fork() -> None:
    global behind
    behind += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def fork_safe_lock() -> Any:
    """Make a reentrant lock of a module's: a fork waits until no other thread has it.

    In the new process such a thread is not there to release it. No thread may take two of these at a time: it
    and a fork could wait for each other.
    """
    lock = threading.RLock()  # reentrant: a signal's handler may fork while its own thread has it
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock
