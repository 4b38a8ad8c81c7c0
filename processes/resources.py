"""What tasks need while they run, and which of those that are ready can have it."""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from fractions import Fraction

    Amount = int | float | Fraction
    Amounts = Mapping[str, int | Fraction]

NOTHING: Amounts = {"": 0}  # what a task needs that needs nothing
FEW_KINDS = 32  # of tasks, by how much they need of each of some resources


def exact(amounts: Mapping[str, float]) -> dict[str, int | Fraction]:
    """Take amounts for the decimal numbers that they were written as: sums of floats leave a little over."""
    if all(isinstance(amount, int) for amount in amounts.values()):
        return {name: int(amount) for name, amount in amounts.items()}
    from fractions import Fraction  # it takes 2 ms to import

    return {
        name: amount if isinstance(amount, int) else Fraction(float.__repr__(amount))
        for name, amount in amounts.items()
    }


class ReadyTrees:
    """Ready tasks by rank, of which the first one that can have what it needs is found without a look at all.

    Those that need the same resources stand in one tree; where these are several, those that need as much of
    each, if there are few such kinds. The first one of a tree is looked for anew only where a task has come
    or gone, or where there is another amount now of what they need: and then not as long as even the least
    of that is lacking, or as a task of another tree goes before all of this one's.

    Parameters
    ----------
    needs : mapping of int to mapping
        What each task needs, by its rank; the lowest rank first.
    ready : iterable of int
        The ranks of those that are ready.
    """

    __slots__ = ("_changed", "_firsts", "_heap", "_needs", "_ready", "_seen", "_tree_of", "_trees_with")

    def __init__(self, needs: Mapping[int, Amounts], ready: Iterable[int]) -> None:
        self._needs = needs
        self._ready: set[int] = set()  # of those that need anything
        self._heap: list[int] = []  # these, and some that are ready no more
        alike: dict[frozenset[str], dict[int, Amounts]] = {}
        for rank, need in needs.items():
            alike.setdefault(frozenset(need or NOTHING), {})[rank] = need or NOTHING
        self._tree_of: dict[int, _Tree] = {}  # by rank
        self._trees_with: dict[str, list[_Tree]] = {}  # by the name of a resource
        for names, by_rank in alike.items():
            for kind in _kinds(by_rank) if len(names) > 1 else [by_rank]:
                tree = _Tree(names, kind)
                self._tree_of.update(dict.fromkeys(kind, tree))
                for name in names:
                    self._trees_with.setdefault(name, []).append(tree)
        self._firsts: dict[_Tree, int] = {}  # of the trees that have one
        self._seen: dict[str, Amount] = {}  # what was available then
        self._changed: set[_Tree] = set()
        for rank in ready:
            self.add(rank)

    def add(self, rank: int) -> None:
        """Add a task that is ready."""
        tree = self._tree_of[rank]
        tree.add(rank)
        self._note_change(tree)
        if self._needs[rank]:
            self._ready.add(rank)
            heappush(self._heap, rank)

    def remove(self, rank: int) -> None:
        """Remove one that is ready no more."""
        tree = self._tree_of[rank]
        tree.remove(rank)
        self._note_change(tree, may_start=tree.lowest < inf)
        self._ready.discard(rank)

    def head(self) -> int | None:
        """Tell the lowest rank of those that need anything, whether it can be had or not."""
        while self._heap and self._heap[0] not in self._ready:
            heappop(self._heap)
        return self._heap[0] if self._heap else None

    def first(self, available: Amounts) -> int | None:
        """Tell the lowest rank of those that can have what they need; None if none can."""
        for name, amount in available.items():
            if self._seen.get(name) is not amount:
                self._seen[name] = amount
                for tree in self._trees_with.get(name, ()):
                    self._note_change(tree, may_start=tree.least_of(name) <= amount)
        best = min(self._firsts.values(), default=inf)
        for tree in sorted(self._changed, key=_lowest):
            if tree.lowest >= best:
                break
            self._changed.discard(tree)
            rank = tree.first(available)
            if rank is not None:
                self._firsts[tree] = rank
                best = min(best, rank)
        return None if best == inf else int(best)

    def _note_change(self, tree: _Tree, *, may_start: bool = True) -> None:
        self._firsts.pop(tree, None)
        if may_start:
            self._changed.add(tree)
        else:
            self._changed.discard(tree)


def _lowest(tree: _Tree) -> float:
    return tree.lowest


def _kinds(needs: Mapping[int, Amounts]) -> list[Mapping[int, Amounts]]:
    """Part tasks by how much they need, unless that makes many parts."""
    kinds: dict[frozenset[tuple[str, Amount]], dict[int, Amounts]] = {}
    for rank, need in needs.items():
        kinds.setdefault(frozenset(need.items()), {})[rank] = need
    return [*kinds.values()] if len(kinds) <= FEW_KINDS else [needs]


class _Tree:
    """Ready tasks that all need the same resources.

    It is a binary tree with a leaf for each task. Each node has, for each resource, the least that a ready
    task below it needs. Where all need as much, or one resource alone, all that is done costs O(log V). Else
    what is least of each may be of different tasks: then more is looked at.

    Attributes
    ----------
    lowest : float
        The lowest rank of those that are ready, whether it can have what it needs or not; infinite for none.
    """

    __slots__ = ("_leaf_of", "_least", "_leaves", "_needs", "_ranks", "lowest")

    def __init__(self, names: Iterable[str], needs: Mapping[int, Amounts]) -> None:
        self._needs = needs
        self._ranks = list(needs)
        self._leaves = 1 << (len(needs) - 1).bit_length()
        self._leaf_of = {rank: self._leaves + place for place, rank in enumerate(self._ranks)}
        # By name; node n has the nodes 2n and 2n + 1 below it.
        self._least: dict[str, list[Amount]] = {name: [inf] * (2 * self._leaves) for name in names}
        self.lowest = inf

    def add(self, rank: int) -> None:
        for name, amount in self._needs[rank].items():
            self._set(name, rank, amount)
        self.lowest = min(self.lowest, rank)

    def remove(self, rank: int) -> None:
        for name in self._least:
            self._set(name, rank, inf)
        if rank == self.lowest:
            self.lowest = self._find_lowest()

    def least_of(self, name: str) -> Amount:
        """Tell the least of a resource that one of those that are ready needs; infinite if none is ready."""
        return self._least[name][1]

    def _find_lowest(self) -> float:
        least = next(iter(self._least.values()))
        if least[1] == inf:
            return inf
        node = 1
        while node < self._leaves:
            node *= 2
            if least[node] == inf:
                node += 1
        return self._ranks[node - self._leaves]

    def first(self, available: Amounts) -> int | None:
        nodes = [1]
        while nodes:
            node = nodes.pop()
            if all(least[node] <= available.get(name, 0) for name, least in self._least.items()):
                if node >= self._leaves:
                    return self._ranks[node - self._leaves]
                nodes += (2 * node + 1, 2 * node)
        return None

    def _set(self, name: str, rank: int, amount: Amount) -> None:
        least = self._least[name]
        node = self._leaf_of[rank]
        least[node] = amount
        while node > 1:
            node //= 2
            amount = min(least[2 * node], least[2 * node + 1])
            if least[node] == amount:
                break
            least[node] = amount
