"""What a task can change for the next one on its worker, and how it is put back.

Put back are: working directory, umask, environment, sys.path, recursion limit, handlers of signals that have
a name, blocked signals and interval timers. Not put back, since nothing can: modules that were changed, what
C libraries keep, limits that were lowered. For threads left behind see :mod:`.left_threads`.
"""

from __future__ import annotations

import os
import signal
import sys

# Without the enums of the signal module, whose making takes ten times as long as all else here.
from _signal import getsignal  # type: ignore[import-not-found]
from contextlib import suppress

if sys.platform != "win32":
    from _signal import pthread_sigmask

# Those with a name: the real-time signals in between would take as long as all else here.
_SIGNALS = sorted(map(int, signal.valid_signals() & set(signal.Signals)))
_TIMERS = [
    getattr(signal, name)
    for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")
    if hasattr(signal, name)
]
_ENVIRONMENT = os.environ._data  # type: ignore[attr-defined]  # noqa: SLF001 - not decoded: 20 µs less
_HAS_MASK = sys.platform != "win32"


class Surroundings:
    """The state of this process in which every task is to begin."""

    def __init__(self) -> None:
        self._folder = -1
        with suppress(OSError):  # a folder that may not be read is not put back
            self._folder = os.open(".", os.O_RDONLY)
        self._umask = _umask()
        self._environment = dict(_ENVIRONMENT)
        self._decoded_environment = dict(os.environ)
        self._path = list(sys.path)
        self._recursion_limit = sys.getrecursionlimit()
        self._handlers = [getsignal(number) for number in _SIGNALS]
        self._blocked = pthread_sigmask(signal.SIG_BLOCK, ()) if _HAS_MASK else ()

    def restore(self) -> bool:
        """Put back what a task has changed; False if that cannot be."""
        try:
            self._restore()
        except (OSError, ValueError):
            return False
        return True

    def close(self) -> None:
        """Let go of the working directory."""
        if self._folder >= 0:
            os.close(self._folder)

    def _restore(self) -> None:
        if self._folder >= 0:
            os.fchdir(self._folder)  # takes less time than a look at where we are
        os.umask(self._umask)
        if self._environment != _ENVIRONMENT:
            os.environ.clear()
            os.environ.update(self._decoded_environment)
        if sys.path != self._path:
            sys.path[:] = self._path
        if sys.getrecursionlimit() != self._recursion_limit:
            sys.setrecursionlimit(self._recursion_limit)
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        if list(map(getsignal, _SIGNALS)) != self._handlers:
            for number, handler in zip(_SIGNALS, self._handlers, strict=True):
                if getsignal(number) != handler and handler is not None:
                    signal.signal(number, handler)
        if _HAS_MASK:
            pthread_sigmask(signal.SIG_SETMASK, self._blocked)


def _umask() -> int:
    """Read the umask, which can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask
