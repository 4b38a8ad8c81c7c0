"""What tasks need while they run, and which of those that are ready can have it."""

from __future__ import annotations

import sys
from bisect import bisect_right
from heapq import heappop, heappush
from math import lcm
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Amounts = Mapping[str, int]

NEVER = sys.maxsize  # the rank of what does not exist

NOTHING: Amounts = {"": 0}  # what a task needs that needs nothing


def in_whole_numbers(amounts: Iterable[Mapping[str, float]]) -> list[dict[str, int]]:
    """Scale amounts such that all are whole numbers, of which sums are exact.

    Floats count as the decimal numbers that they were written as: sums of them leave a little over.
    """
    amounts = list(amounts)
    if all(isinstance(amount, int) for one in amounts for amount in one.values()):
        return [{name: int(amount) for name, amount in one.items()} for one in amounts]
    from fractions import Fraction  # it takes 2 ms to import

    exact = [
        {
            name: Fraction(amount if isinstance(amount, int) else float.__repr__(amount))
            for name, amount in one.items()
        }
        for one in amounts
    ]
    scale = lcm(*[amount.denominator for one in exact for amount in one.values()])
    return [{name: int(amount * scale) for name, amount in one.items()} for one in exact]


class ReadyKinds:
    """Ready tasks by rank, of which the first one that can have what it needs is found without a look at all.

    Tasks that need the same are of one *kind*, of which the first alone is looked at. Each kind waits at one
    of the resources that it needs: until there is enough of that, it is not looked at. Then it can start, or
    lacks another one, at which it waits from then on.

    Parameters
    ----------
    needs : mapping of int to mapping
        What each task needs, by its rank.
    ready : iterable of int
        The ranks of those that are ready.
    """

    __slots__ = ("_in_need", "_kind_of", "_line", "_queues", "_ready")

    def __init__(self, needs: Mapping[int, Amounts], ready: Iterable[int]) -> None:
        kinds: dict[frozenset[tuple[str, int]], _Kind] = {}
        self._kind_of: dict[int, _Kind] = {}  # by rank
        for rank, need in needs.items():
            alike = frozenset(need.items())
            if alike not in kinds:
                kinds[alike] = _Kind(need or NOTHING)
            self._kind_of[rank] = kinds[alike]
        needed: dict[str, list[_Kind]] = {}
        for kind in kinds.values():
            for name in kind.needs:
                needed.setdefault(name, []).append(kind)
        self._queues = {name: _Queue(name, of_name) for name, of_name in needed.items()}
        # A heap of resources, by the lowest rank that each may have to offer. Some entries are out of date.
        self._line: list[tuple[int, str]] = []
        self._ready: set[int] = set()
        # A heap of those that need anything, and of some that are ready no more.
        self._in_need: list[int] = []
        for rank in ready:
            self.add(rank)

    def add(self, rank: int) -> None:
        """Add a task that is ready."""
        kind = self._kind_of[rank]
        self._ready.add(rank)
        heappush(kind.ranks, rank)
        self._queues[kind.waits_at].put(kind, kind.ranks[0])
        self._put_in_line(kind.waits_at, rank)
        if kind.needs is not NOTHING:
            heappush(self._in_need, rank)

    def remove(self, rank: int) -> None:
        """Remove one that is ready no more."""
        kind = self._kind_of[rank]
        self._ready.discard(rank)
        self._queues[kind.waits_at].put(kind, self._first_ready(kind.ranks))

    def head(self) -> int:
        """Tell the lowest rank of those that need anything, whether it can be had or not; NEVER for none."""
        return self._first_ready(self._in_need)

    def first(self, available: Amounts) -> int | None:
        """Tell the lowest rank of those that can have what they need; None if none can."""
        while self._line:
            rank, name = self._line[0]
            queue = self._queues[name]
            if rank != queue.in_line_by:  # out of date
                heappop(self._line)
            elif (found := queue.first(available.get(name, 0))) > rank:
                heappop(self._line)
                queue.in_line_by = NEVER
                self._put_in_line(name, found)
            else:
                kind = self._kind_of[rank]
                lacking = kind.lacks(available)
                if lacking is None:
                    return rank
                queue.put(kind, NEVER)
                self._queues[lacking].put(kind, rank)
                kind.waits_at = lacking
        return None

    def note_more(self, names: Iterable[str], available: Amounts) -> None:
        """Note that there is more of some resources than at an earlier look."""
        for name in names:
            if (queue := self._queues.get(name)) is not None:
                self._put_in_line(name, queue.first(available[name]))

    def _put_in_line(self, name: str, rank: int) -> None:
        queue = self._queues[name]
        if rank < queue.in_line_by:
            queue.in_line_by = rank
            heappush(self._line, (rank, name))

    def _first_ready(self, ranks: list[int]) -> int:
        """Return the lowest rank in a heap that is ready, without those before it; NEVER for none."""
        while ranks and ranks[0] not in self._ready:
            heappop(ranks)
        return ranks[0] if ranks else NEVER


class _Kind:
    """Tasks that need the same.

    Attributes
    ----------
    needs : mapping
        What that is.
    ranks : list of int
        A heap of those that are ready, and of some that are ready no more.
    waits_at : str
        The resource at which they wait.
    """

    __slots__ = ("needs", "ranks", "waits_at")

    def __init__(self, needs: Amounts) -> None:
        self.needs = needs
        self.ranks: list[int] = []
        self.waits_at = next(iter(needs))

    def lacks(self, available: Amounts) -> str | None:
        """Name a resource of which there is too little; None if there is enough of all."""
        for name, amount in self.needs.items():
            if available.get(name, 0) < amount:
                return name
        return None


class _Queue:
    """Kinds that wait at one resource, in a binary tree whose leaves are all that need it, by how much.

    Attributes
    ----------
    in_line_by : int
        The rank by which the resource stands in line; NEVER if it does not.
    """

    __slots__ = ("_amounts", "_leaf_of", "_lowest", "in_line_by")

    def __init__(self, name: str, kinds: Sequence[_Kind]) -> None:
        kinds = sorted(kinds, key=lambda kind: kind.needs[name])
        self._amounts = [kind.needs[name] for kind in kinds]
        self._leaf_of = {kind: len(kinds) + place for place, kind in enumerate(kinds)}
        # The lowest rank below each node; node n has the nodes 2n and 2n + 1 below it.
        self._lowest = [NEVER] * (2 * len(kinds))
        self.in_line_by = NEVER

    def put(self, kind: _Kind, rank: int) -> None:
        """Note the first rank of a kind; NEVER if it does not wait here."""
        lowest, node = self._lowest, self._leaf_of[kind]
        lowest[node] = rank
        while node > 1:
            if (beside := lowest[node ^ 1]) < rank:  # `min` would take three times as long
                rank = beside
            node //= 2
            if lowest[node] == rank:
                break
            lowest[node] = rank

    def first(self, available: int) -> int:
        """Tell the lowest rank of those that need no more than there is; NEVER for none."""
        lowest, found = self._lowest, NEVER
        node, end = len(self._amounts), len(self._amounts) + bisect_right(self._amounts, available)
        while node < end:  # from the leaves up: what is between both ends stands below others there, too
            if lowest[node] < found:
                found = lowest[node]
            if lowest[end - 1] < found:
                found = lowest[end - 1]
            node, end = (node + 1) // 2, end // 2
        return found
