"""What the nodes of a graph do, and what must come out.

Every node gets the results of the nodes that it depends on and returns its depth: one more than the deepest
of them. So a result that is lost, mixed up or passed to the wrong node is seen.
"""

from __future__ import annotations

from hashlib import pbkdf2_hmac
from time import sleep, thread_time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from shapes import Graph

    Functions = list[Callable[..., int]]

BURN_SECONDS = 0.25


def depth(*below: int) -> int:
    """Do next to nothing."""
    return 1 + max(below, default=0)


def depth_from(first: int) -> Callable[..., int]:
    """Make a closure that does next to nothing."""
    return lambda *below: 1 + max(below, default=first)


def burn(*below: int) -> int:
    """Use up the processor for a fixed time: processor time, so that what others use is not counted."""
    end = thread_time() + BURN_SECONDS
    while thread_time() < end:
        sum(range(1000))
    return depth(*below)


def hash_on(iterations: int, *below: int) -> int:
    """Compute for a time that grows with a number; it takes no memory and gives up the interpreter's lock."""
    pbkdf2_hmac("sha256", b"", b"", iterations)
    return depth(*below)


def pause(seconds: float, *below: int) -> int:
    """Leave the processor alone for a fixed time."""
    sleep(seconds)
    return depth(*below)


WORK: dict[str, Callable[[Graph], Functions]] = {
    "no-op": lambda graph: [depth] * len(graph),
    "closures": lambda graph: [depth_from(0) for _ in graph],
    "burn": lambda graph: [burn] * len(graph),
}


def expected_results(graph: Graph) -> list[int]:
    """Return the depth of each node."""
    results: list[int] = []
    for _, dependencies in graph:
        results.append(depth(*(results[index] for index in dependencies)))
    return results
