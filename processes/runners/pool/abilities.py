"""What this system can do for the pool; the pool does without where it must."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # see surroundings
import errno
import os
import sys
from _frozen_importlib_external import PathFinder  # what importlib.machinery takes it from
from contextlib import suppress

CHILDREN_FILE = "/proc/self/task/{}/children"


def _can_guard() -> bool:
    # Tried, and not only looked for: an older kernel lacks the call, and containers may refuse it.
    try:
        os.close(os.pidfd_open(os.getpid()))
    except AttributeError:
        return False
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            return False
    # Python can be built without ctypes, which is needed for prctl(2); to import it takes 0.4 ms.
    has_ctypes = PathFinder.find_spec("_ctypes") is not None or "_ctypes" in sys.builtin_module_names
    return has_ctypes and os.path.exists(CHILDREN_FILE.format(os.getpid()))


CAN_GUARD = _can_guard()
"""Whether each worker has a guard, and a descriptor that tells of its end: Linux 5.3 or later, with /proc.

Elsewhere the pool looks for dead workers from time to time, and kills what descends from a worker as far as
psutil finds it: children of a task that is stopped may survive it, and a worker that computes when its
parent is killed ends with its task.
"""

STACK_SIGNAL: int | None = getattr(signal, "SIGRTMAX", getattr(signal, "SIGUSR2", None))
"""What makes a worker write its Python stack: a signal that programs leave alone; None on Windows."""

CAN_TAKE_BACK = sys.platform != "win32"
"""Whether a worker and its parent can read from one pipe; not on Windows, where pipes always wait.

There a worker is given one attempt at a time, so that there is nothing to take back.
"""

CAN_YIELD = hasattr(os, "sched_yield")
"""Whether a thread can offer its processor to others without going to sleep: not on Windows."""


def flush_c_streams() -> None:
    """Write what C code has printed and the C library keeps back, if Python was built with ctypes."""
    with suppress(Exception):
        import ctypes

        ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None).fflush(None)


def anonymous_file(name: str) -> int:
    """Open a file that no folder has: on Linux in memory, where it has a name for those who look there.

    Raises
    ------
    OSError
        If there is no room for it; elsewhere also if there is no folder to make it in.
    """
    if hasattr(os, "memfd_create"):
        with suppress(OSError):  # an older kernel lacks it, and containers may refuse it
            return os.memfd_create(name)
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
