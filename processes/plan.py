"""One run's state machine: which task waits, is ready, runs, or has ended.

Pure: no clock, no thread, no I/O. A whole run costs O(V + E) plus the ready heaps, and nothing is ever
looked through again.
"""

from __future__ import annotations

from enum import IntEnum
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from .resources import NEVER, ReadyKinds

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .graph import Graph
    from .resources import Amounts


class State(IntEnum):
    """Where a task stands within a run."""

    WAITING = 0
    READY = 1
    RUNNING = 2
    DELAYED = 3
    SUCCEEDED = 4
    FAILED = 5
    SKIPPED = 6


WAITING, READY, RUNNING, DELAYED, SUCCEEDED, FAILED, SKIPPED = State

MOVES: dict[State, frozenset[State]] = {
    WAITING: frozenset({READY, SKIPPED}),
    READY: frozenset({RUNNING}),
    RUNNING: frozenset({DELAYED, SUCCEEDED, FAILED}),
    DELAYED: frozenset({READY}),
    SUCCEEDED: frozenset(),
    FAILED: frozenset(),
    SKIPPED: frozenset(),
}


class Plan:
    """What is left to do in one run.

    Tasks are named by their index in the graph. Among the ready ones the order is: higher priority,
    then the longer chain below, then topological order. A chain is as long as its tasks take together; as
    long as nothing is known of that, all take the same. Ready tasks are kept by group: tasks of one group
    compete for the same slots.

    Parameters
    ----------
    graph : Graph
        The tasks and their dependencies.
    groups : sequence of int
        The group of each task, numbered from 0.
    durations : sequence of float, optional
        How long each task is expected to take, in seconds.
    needs : sequence of mapping, optional
        What each task needs of the run's resources; None if none needs any.

    Attributes
    ----------
    ranks : list of int
        The place of each task in that order; 0 goes first.
    unfinished : int
        How many tasks have not yet succeeded, failed or been skipped.
    """

    def __init__(
        self,
        graph: Graph,
        groups: Sequence[int],
        durations: Sequence[float] | None = None,
        needs: Sequence[Amounts] | None = None,
    ) -> None:
        size = len(graph.names)
        self._dependants = graph.dependants
        self._names = graph.names
        self._groups = groups
        self._unmet = [len(dependencies) for dependencies in graph.dependencies]
        self._states = [WAITING if unmet else READY for unmet in self._unmet]
        self.unfinished = size
        # Sorting is stable, so the last sort decides first.
        lengths = graph.heights if durations is None else graph.bottom_levels(durations)
        order = sorted(range(size), key=lengths.__getitem__, reverse=True)
        self._has_priorities = any(task.priority for task in graph.tasks)
        if self._has_priorities:
            order.sort(key=lambda task: graph.tasks[task].priority, reverse=True)
        self._order = order
        self.ranks = [0] * size
        for rank, task in enumerate(order):
            self.ranks[task] = rank
        self._heaps: list[list[int]] = [[] for _ in range(max(groups, default=0) + 1)]
        for task, unmet in enumerate(self._unmet):
            if not unmet:
                self._heaps[groups[task]].append(self.ranks[task])
        for heap in self._heaps:
            heapify(heap)
        self._kinds: dict[int, ReadyKinds] = {}  # for heaps, where tasks need resources
        if needs is not None:
            self._needs = [needs[task] for task in order]  # by rank, as what follows
            self._priorities = [graph.tasks[task].priority for task in order]
            for group in {group for group, need in zip(groups, needs, strict=True) if need}:
                by_rank = {rank: needs[task] for rank, task in enumerate(order) if groups[task] == group}
                self._kinds[group] = ReadyKinds(by_rank, self._heaps[group])
                self._heaps[group] = []

    def state(self, task: int) -> State:
        """Tell where a task stands."""
        return self._states[task]

    def rank_of_next(self, group: int, available: Amounts) -> int | None:
        """Tell the rank (0 goes first) of the best ready task of a group that can have what it needs.

        None if there is no such task.
        """
        if group in self._kinds:
            return self._kinds[group].first(available)
        heap = self._heaps[group]
        return heap[0] if heap else None

    def note_more(self, names: Collection[str], available: Amounts) -> None:
        """Note that there is more of some resources than when the next task was asked for."""
        for kinds in self._kinds.values():
            kinds.note_more(names, available)

    def reserved_from(self, rank: int, available: Amounts) -> list[str]:
        """Tell which resources a task of that rank is not given, though there is some of them.

        What the first in line lacks is not given to tasks of lower priority: as smaller ones come and go, it
        would never have enough. Schedulers of batch jobs call that a reservation.
        """
        if not self._has_priorities:
            return []
        head = min([kinds.head() for kinds in self._kinds.values()], default=NEVER)
        if head == NEVER or self._priorities[head] <= self._priorities[rank]:
            return []
        return [name for name, amount in self._needs[head].items() if amount > available[name]]

    def rank_below(self, task: int) -> int:
        """Tell the best rank of what depends on a task directly; NEVER if nothing does."""
        return min(map(self.ranks.__getitem__, self._dependants[task]), default=NEVER)

    def count_ready(self, group: int) -> int:
        """Tell how many tasks of a group are ready, if none of the group needs resources; else 0."""
        return len(self._heaps[group])

    def take(self, group: int, rank: int | None = None) -> int:
        """Start the best ready task of a group; where some need resources, the one of this rank."""
        if rank is None or group not in self._kinds:
            rank = heappop(self._heaps[group])
        else:
            self._kinds[group].remove(rank)
        task = self._order[rank]
        if self._states[task] is not READY:
            raise self._refusal(task, RUNNING)
        self._states[task] = RUNNING
        return task

    def succeed(self, task: int) -> list[int]:
        """End a task well; return the tasks that became ready by it."""
        if self._states[task] is not RUNNING:
            raise self._refusal(task, SUCCEEDED)
        self._states[task] = SUCCEEDED
        self.unfinished -= 1
        unmet = self._unmet
        ready = []
        for dependant in self._dependants[task]:
            unmet[dependant] = left = unmet[dependant] - 1
            if not left:
                # One that was skipped still has an unmet dependency: the one that did not succeed.
                self._make_ready(dependant)
                ready.append(dependant)
        return ready

    def take_over(self, tasks: Collection[int]) -> None:
        """Let tasks have succeeded before any is started.

        Parameters
        ----------
        tasks : collection of int
            The tasks, in topological order, and all that they depend on among them.
        """
        for task in tasks:
            self._move(task, RUNNING)
            self.succeed(task)
            if kinds := self._kinds.get(self._groups[task]):
                kinds.remove(self.ranks[task])
        for heap in self._heaps:
            heap[:] = [rank for rank in heap if self._states[self._order[rank]] is READY]
            heapify(heap)

    def fail(self, task: int) -> list[int]:
        """End a task badly; return the tasks below it that are skipped now, in topological order."""
        self._move(task, FAILED)
        self.unfinished -= 1
        skipped = []
        reached = [task]
        while reached:
            for dependant in self._dependants[reached.pop()]:
                if self._states[dependant] is not SKIPPED:
                    self._move(dependant, SKIPPED)
                    skipped.append(dependant)
                    reached.append(dependant)
        self.unfinished -= len(skipped)
        return sorted(skipped)

    def delay(self, task: int) -> None:
        """Set a running task aside until :meth:`resume`."""
        self._move(task, DELAYED)

    def resume(self, task: int) -> None:
        """Make a delayed task ready again."""
        if self._states[task] is not DELAYED:
            raise self._refusal(task, READY)
        self._make_ready(task)

    def _make_ready(self, task: int) -> None:
        self._states[task] = READY
        group, rank = self._groups[task], self.ranks[task]
        if group in self._kinds:
            self._kinds[group].add(rank)
        else:
            heappush(self._heaps[group], rank)

    def _move(self, task: int, state: State) -> None:
        if state not in MOVES[self._states[task]]:
            raise self._refusal(task, state)
        self._states[task] = state

    def _refusal(self, task: int, state: State) -> RuntimeError:
        move = f"from {self._states[task].name} to {state.name}"
        return RuntimeError(f"Task {self._names[task]!r} cannot go {move} [this is a bug in processes]")
