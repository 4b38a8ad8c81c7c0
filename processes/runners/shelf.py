"""Workers that wait for the next run of a ``with`` block."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar
from weakref import WeakSet

from ..forks import fork_safe_lock
from .block import Block, BlockRunner

if TYPE_CHECKING:
    from typing import Any


class _Warm(Protocol):
    """A worker that may serve several runs, one after the other."""

    def is_fit(self) -> bool:
        """Tell whether it lives, and has what it would have if it started now."""

    def leave(self) -> None:
        """Ask it to end."""

    def close(self) -> object:
        """Wait for its end."""

    def leave_to_parent(self) -> None:
        """Let go of it in a process that was forked from the one that has started it."""


_W = TypeVar("_W", bound=_Warm)

_moving = fork_safe_lock()  # guards what all shelves hold: runs in several threads share one
_shelves: WeakSet[Shelf[Any]] = WeakSet()


class Shelf(Block, Generic[_W]):
    """Takes the workers of a run that has ended, and gives them to the next.

    Parameters
    ----------
    room : int
        How many workers it keeps where there is no run, and for each one besides while there are several.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._runs = 0
        self._workers: list[_W] = []
        self._closed = False
        _shelves.add(self)

    def begin_run(self) -> None:
        """Note that a run begins."""
        with _moving:
            self._runs += 1

    def keep(self, worker: _W) -> bool:
        """Keep a worker of a run that ends; False if it is to end, since the blocks have been left."""
        with _moving:
            if not self._closed:
                self._workers.append(worker)
            return not self._closed

    def end_run(self) -> list[_W]:
        """Note that a run ends; return those workers for which there is no room, to be ended."""
        with _moving:
            room = self._room * max(1, self._runs)
            self._runs -= 1
            leaving, self._workers = self._workers[:-room], self._workers[-room:]
            return leaving

    def take(self) -> _W | None:
        """Give a worker that is fit for a run; None if there is none."""
        while (worker := self._pop()) is not None:
            with ExitStack() as unless_fit:
                unless_fit.callback(end, [worker])  # also where a signal raises
                if worker.is_fit():
                    unless_fit.pop_all()
                    return worker
        return None

    def _pop(self) -> _W | None:
        with _moving:
            return self._workers.pop() if self._workers else None

    def close(self) -> None:
        """End all workers, and take none any more."""
        with _moving:
            self._closed = True
            workers, self._workers = self._workers, []
        end(workers)

    def leave_to_parent(self) -> None:
        """In a process that was forked: leave the workers to the one that has started them."""
        self._runs = 0
        while self._workers:
            self._workers.pop().leave_to_parent()


def _leave_all_to_parent() -> None:
    for shelf in _shelves:
        shelf.leave_to_parent()


if hasattr(os, "register_at_fork"):
    # At once: a program that becomes a daemon closes all descriptors; their numbers are soon other files'.
    os.register_at_fork(after_in_child=_leave_all_to_parent)


def end(workers: list[_W]) -> None:
    """Ask all to end, then wait for each."""
    with ExitStack() as ends:  # if a signal raises in one of these steps, the others are taken all the same
        steps = [*(worker.leave for worker in workers), *(worker.close for worker in workers)]
        for step in reversed(steps):
            ends.callback(step)


class WarmRunner(BlockRunner[Shelf[_W]], Generic[_W]):
    """A runner whose workers stay from run to run of a ``with`` block."""

    max_workers: int

    def _begin_block(self) -> Shelf[_W]:
        return Shelf(self.max_workers)
