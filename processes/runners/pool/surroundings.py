"""What a task can change for the next one on its worker, and how it is put back.

Put back are: working directory, umask, environment with the time zone, sys.path, recursion limit, handlers
of signals that have a name, blocked signals and interval timers. Not put back: modules that were changed,
hooks and streams in `sys`, what C libraries keep, limits that were lowered. For threads left behind see
:mod:`.fitness`.

Signals are looked at only if the module `signal` has been imported, which no module of a worker does before
a task needs it: nothing else in Python changes what is looked at, and that takes longer than all the rest.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what signal is made of
import os
import sys
from contextlib import suppress

from .settings import enter, find_folder, leave_zone

# Those with a name: the real-time signals in between would take as long as all else here.
_SIGNALS = sorted(
    _signal.valid_signals() & {number for name, number in vars(_signal).items() if name.startswith("SIG")}
)
_TIMERS = [number for name, number in vars(_signal).items() if name.startswith("ITIMER_")]
_ENVIRONMENT = os.environ._data  # type: ignore[attr-defined]  # noqa: SLF001 - not decoded: 20 µs less
_CAN_OPEN_FOLDERS = hasattr(os, "fchdir")  # not on Windows, where nobody moves or removes one that is in use
_HAS_MASK = sys.platform != "win32"


class Surroundings:
    """The state of this process in which every task is to begin."""

    def __init__(self) -> None:
        self._folder: int | str = find_folder()
        if _CAN_OPEN_FOLDERS:
            with suppress(OSError):  # one that may not be read is found again by its path
                self._folder = os.open(".", os.O_RDONLY)
        self._umask = _umask()
        self._environment = dict(_ENVIRONMENT)
        self._decoded_environment = dict(os.environ)
        self._path = list(sys.path)
        self._recursion_limit = sys.getrecursionlimit()
        self._handlers = [_signal.getsignal(number) for number in _SIGNALS]
        self._blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, ()) if _HAS_MASK else ()

    def restore(self) -> bool:
        """Put back what a task has changed; False if that cannot be."""
        try:
            self._restore()
        except (OSError, ValueError):
            return False
        return True

    def close(self) -> None:
        """Let go of the working directory."""
        if isinstance(self._folder, int):
            os.close(self._folder)

    def _restore(self) -> None:
        enter(self._folder)
        os.umask(self._umask)
        if self._environment != _ENVIRONMENT:
            zone = os.environ.get("TZ")
            os.environ.clear()
            os.environ.update(self._decoded_environment)
            leave_zone(zone)
        if sys.path != self._path:
            sys.path[:] = self._path
        if sys.getrecursionlimit() != self._recursion_limit:
            sys.setrecursionlimit(self._recursion_limit)
        if "signal" in sys.modules:
            self._restore_signals()

    def _restore_signals(self) -> None:
        for timer in _TIMERS:
            _signal.setitimer(timer, 0)
        if list(map(_signal.getsignal, _SIGNALS)) != self._handlers:
            for number, handler in zip(_SIGNALS, self._handlers, strict=True):
                if _signal.getsignal(number) != handler and handler is not None:
                    _signal.signal(number, handler)
        if _HAS_MASK:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, self._blocked)


def _umask() -> int:
    """Read the umask, which can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask
