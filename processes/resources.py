"""What tasks need while they run, and which of those that are ready can have it."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from fractions import Fraction

    Amount = int | float | Fraction
    Amounts = Mapping[str, int | Fraction]


def exact(amounts: Mapping[str, float]) -> dict[str, int | Fraction]:
    """Take amounts for the decimal numbers that they were written as: sums of floats leave a little over."""
    if all(isinstance(amount, int) for amount in amounts.values()):
        return {name: int(amount) for name, amount in amounts.items()}
    from fractions import Fraction  # it takes 2 ms to import

    return {
        name: amount if isinstance(amount, int) else Fraction(float.__repr__(amount))
        for name, amount in amounts.items()
    }


class ReadyTree:
    """Ready tasks by rank, of which the first one that can have what it needs is found without a look at all.

    It is a binary tree with a leaf for each rank. Each node has, for each resource, the least that a ready
    task below it needs. With one resource all that is done costs O(log V). With several, what is least of
    each may be of different tasks: then more is looked at.

    Parameters
    ----------
    needs : sequence of mapping
        What the task of each rank needs.
    ready : iterable of int
        The ranks of those that are ready.
    """

    __slots__ = ("_least", "_leaves", "_needs")

    def __init__(self, needs: Sequence[Amounts], ready: Iterable[int]) -> None:
        self._needs = needs
        self._leaves = 1 << (len(needs) - 1).bit_length()
        names = {name for need in needs for name in need}
        # By name; node n has the nodes 2n and 2n + 1 below it.
        self._least: dict[str, list[Amount]] = {name: [inf] * (2 * self._leaves) for name in names}
        for rank in ready:
            self.add(rank)

    def add(self, rank: int) -> None:
        """Add a task that is ready."""
        for name in self._least:
            self._set(name, rank, self._needs[rank].get(name, 0))

    def remove(self, rank: int) -> None:
        """Remove one that is ready no more."""
        for name in self._least:
            self._set(name, rank, inf)

    def first(self, available: Amounts) -> int | None:
        """Tell the lowest rank of those that can have what they need; None if none can."""
        nodes = [1]
        while nodes:
            node = nodes.pop()
            if all(least[node] <= available[name] for name, least in self._least.items()):
                if node >= self._leaves:
                    return node - self._leaves
                nodes += (2 * node + 1, 2 * node)
        return None

    def _set(self, name: str, rank: int, amount: Amount) -> None:
        least = self._least[name]
        node = self._leaves + rank
        least[node] = amount
        while node > 1:
            node //= 2
            amount = min(least[2 * node], least[2 * node + 1])
            if least[node] == amount:
                break
            least[node] = amount
