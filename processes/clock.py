"""The clocks of runs that go on where a test has stopped the time: how long something takes is told by them.

Tools that stop it (freezegun) replace `time.monotonic` wherever a module has it: a retry would wait for ever.
When something happened is told by `time.time`, as by all else in the program.
"""

from __future__ import annotations

import time


class _Real:
    monotonic = staticmethod(time.monotonic)
    perf_counter = staticmethod(time.perf_counter)


def monotonic() -> float:
    """Return what `time.monotonic` does, in seconds."""
    return _Real.monotonic()


def perf_counter() -> float:
    """Return what `time.perf_counter` does, in seconds."""
    return _Real.perf_counter()
