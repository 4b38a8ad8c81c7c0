"""Descriptors that are left, and one that is kept for when there are none: then nothing can be imported."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from ...memory import reserve

SOME = 8
"""As many are to be left beside what tasks and data take: a guess. The start of a worker that takes another's
place needs four."""

_SHARE_OF_LIMIT = 4  # and where there are few in all, this part of them


def some_are_left(descriptor: int) -> bool:
    """Tell whether this process may open some more; `descriptor` is any that it has."""
    try:
        lowest = os.dup(descriptor)  # of those that are free: all below it are taken
    except OSError:
        return False
    os.close(lowest)
    limit = descriptor_limit()
    return lowest < limit - min(SOME, limit // _SHARE_OF_LIMIT)


class _Spare:
    """A descriptor that is closed when nobody refers to this object any more."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        with suppress(OSError):  # a task may have closed it
            os.close(self.descriptor)


def fill_spare() -> bool:
    """Keep a descriptor in the reserve of this process; False if hardly any other is left."""
    spare = _spare()
    if spare is None:
        try:
            spare = _Spare(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return False
        reserve.insert(0, spare)  # a list lets go of its last first: to close this one may take that memory
    return some_are_left(spare.descriptor)


def make_room() -> None:
    """Give the reserve up, where a function has left hardly any other descriptor."""
    spare = _spare()
    if spare is not None and not some_are_left(spare.descriptor):
        reserve.clear()


def _spare() -> _Spare | None:
    return reserve[0] if reserve and isinstance(reserve[0], _Spare) else None


if sys.platform == "win32":

    def descriptor_limit() -> int:
        """Return how many descriptors this process may have."""
        return 8192  # of the C runtime

else:
    import resource

    def descriptor_limit() -> int:
        """Return how many descriptors this process may have."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return sys.maxsize if limit == resource.RLIM_INFINITY else limit
