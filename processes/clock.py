"""The monotonic clock of runs, which goes on where a test has stopped the time.

Tools that stop it (freezegun) replace `time.monotonic` wherever a module has it: a retry would wait for ever.
"""

from __future__ import annotations

import time


class _Real:
    monotonic = staticmethod(time.monotonic)


def monotonic() -> float:
    """Return what `time.monotonic` does, in seconds."""
    return _Real.monotonic()
