"""Descriptors that are left: who has none cannot even import a module."""

from __future__ import annotations

import os
import sys

SOME = 8
"""As many are to be left beside what tasks and data take: a guess. A worker that takes the place of another
needs four more while it starts."""

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
