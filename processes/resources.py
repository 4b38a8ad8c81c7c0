"""What tasks need while they run, and which of those that are ready can have it."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from fractions import Fraction

    Amount = int | float | Fraction
    Amounts = Mapping[str, int | Fraction]
    # The lowest rank that may be offered; a number, as an older place may have the same rank.
    _Place = tuple[float, int]
    _Entry = tuple[float, int, "_Tree | _Waiting"]  # a place, and who stands there

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
    each, if there are few such kinds. Trees stand in line, by the first task that each may have to offer. One
    that lacks a resource when its turn comes waits for that, with others that need as much of it. Where there
    is that much again, the first of these is in line for all of them.

    Parameters
    ----------
    needs : mapping of int to mapping
        What each task needs, by its rank; the lowest rank first.
    ready : iterable of int
        The ranks of those that are ready.
    """

    __slots__ = ("_heap", "_later", "_line", "_needs", "_numbers", "_ready", "_tree_of", "_waiting")

    def __init__(self, needs: Mapping[int, Amounts], ready: Iterable[int]) -> None:
        self._needs = needs
        self._ready: set[int] = set()  # of those that need anything
        self._heap: list[int] = []  # these, and some that are ready no more
        alike: dict[frozenset[str], dict[int, Amounts]] = {}
        for rank, need in needs.items():
            alike.setdefault(frozenset(need or NOTHING), {})[rank] = need or NOTHING
        self._tree_of: dict[int, _Tree] = {}  # by rank
        for names, by_rank in alike.items():
            for kind in _kinds(by_rank) if len(names) > 1 else [by_rank]:
                self._tree_of.update(dict.fromkeys(kind, _Tree(names, kind)))
        self._line: list[_Entry] = []  # a heap
        self._numbers = count()
        # By what they lack, and how much they need of it.
        self._waiting: dict[str, dict[Amount, _Waiting]] = {}
        # Those whose first task cannot start: another one can, or lacks something else.
        self._later: set[_Tree] = set()
        for rank in ready:
            self.add(rank)

    def add(self, rank: int) -> None:
        """Add a task that is ready."""
        tree = self._tree_of[rank]
        tree.add(rank)
        self._put_in_line(tree)
        if self._needs[rank]:
            self._ready.add(rank)
            heappush(self._heap, rank)

    def remove(self, rank: int) -> None:
        """Remove one that is ready no more."""
        tree = self._tree_of[rank]
        tree.remove(rank)
        self._put_in_line(tree)
        self._ready.discard(rank)

    def head(self) -> int | None:
        """Tell the lowest rank of those that need anything, whether it can be had or not."""
        while self._heap and self._heap[0] not in self._ready:
            heappop(self._heap)
        return self._heap[0] if self._heap else None

    def first(self, available: Amounts) -> int | None:
        """Tell the lowest rank of those that can have what they need; None if none can."""
        looked_at: set[_Tree] = set()  # whose first task cannot start now
        while (entry := _first_in(self._line)) is not None:
            line, source = self._line, entry[2]
            if isinstance(source, _Waiting):
                line = source.line
                waits = _first_in(line)
                if waits is None or source.amount > available.get(source.name, 0):
                    heappop(self._line)
                    source.place = None
                    continue
                if waits[0] != entry[0]:
                    self._open(source)
                    continue
            rank, _, tree = line[0]
            assert isinstance(tree, _Tree)
            if tree in looked_at or (found := tree.first(available)) == rank:
                return int(rank)
            heappop(line)
            self._set_aside(tree, found, available)
            looked_at.add(tree)
        return None

    def note_more(self, names: Iterable[str], available: Amounts) -> None:
        """Note that there is more of some resources than at an earlier look."""
        for name in names:
            waiting = self._waiting.get(name, {})
            for one in [one for amount, one in waiting.items() if amount <= available[name]]:
                if (first := _first_in(one.line)) is None:
                    del waiting[one.amount]
                elif one.place is None or one.place[0] != first[0]:
                    self._open(one)
            for tree in [tree for tree in self._later if name in tree.names]:
                self._put_in_line(tree)

    def _put_in_line(self, tree: _Tree) -> None:
        self._later.discard(tree)
        tree.place = None
        if tree.lowest < inf:
            self._enter(self._line, tree.lowest, tree)

    def _open(self, waiting: _Waiting) -> None:
        self._enter(self._line, waiting.line[0][0], waiting)

    def _enter(self, line: list[_Entry], rank: float, source: _Tree | _Waiting) -> None:
        source.place = (rank, next(self._numbers))
        heappush(line, (*source.place, source))

    def _set_aside(self, tree: _Tree, found: int | None, available: Amounts) -> None:
        """Put a tree where it belongs whose first task cannot start, but perhaps another one."""
        self._later.discard(tree)
        lacking = [name for name in tree.names if tree.least_of(name) > available.get(name, 0)]
        if lacking:
            name, amount = lacking[0], tree.least_of(lacking[0])
            lines = self._waiting.setdefault(name, {})
            if amount not in lines:
                lines[amount] = _Waiting(name, amount)
            self._enter(lines[amount].line, tree.lowest, tree)
            return
        self._later.add(tree)
        tree.place = None
        if found is not None:
            self._enter(self._line, found, tree)


class _Waiting:
    """Trees that wait until there is so much of a resource.

    Attributes
    ----------
    line : list of tuple
        A heap of them, some out of date.
    place : tuple or None
        Where one entry stands in line for all of them, while there may be as much as they need.
    """

    __slots__ = ("amount", "line", "name", "place")

    def __init__(self, name: str, amount: Amount) -> None:
        self.name = name
        self.amount = amount
        self.line: list[_Entry] = []
        self.place: _Place | None = None


def _first_in(line: list[_Entry]) -> _Entry | None:
    """Return the first entry that is not out of date."""
    while line and line[0][2].place != line[0][:2]:
        heappop(line)
    return line[0] if line else None


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
    place : tuple or None
        Where it stands in a line; what else lines have of it is out of date.
    """

    __slots__ = ("_leaf_of", "_least", "_leaves", "_needs", "_ranks", "lowest", "names", "place")

    def __init__(self, names: Iterable[str], needs: Mapping[int, Amounts]) -> None:
        self.names = names
        self._needs = needs
        self._ranks = list(needs)
        self._leaves = 1 << (len(needs) - 1).bit_length()
        self._leaf_of = {rank: self._leaves + place for place, rank in enumerate(self._ranks)}
        # By name; node n has the nodes 2n and 2n + 1 below it.
        self._least: dict[str, list[Amount]] = {name: [inf] * (2 * self._leaves) for name in names}
        self.lowest = inf
        self.place: _Place | None = None

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
