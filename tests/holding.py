"""Objects to be let go of, and a count of those left, for workers that are many: they import no pytest."""

from __future__ import annotations

import gc

SIZE = 33_333


class Holder:
    def __init__(self) -> None:
        self.held = list(map(str, range(SIZE)))

    def count(self) -> int:
        return count_alive(self.held)

    def __call__(self) -> int:
        return self.count()


def count_alive(held: list[str]) -> int:
    """Count the lists of that size that this process has, after the first: the argument is one."""
    assert len(held) == SIZE
    gc.collect()
    return sum(type(found) is list and len(found) == SIZE for found in gc.get_objects())
