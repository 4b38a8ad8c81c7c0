"""The workers that wait for the next run of a ``with`` block."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING
from weakref import WeakSet

from ...forks import fork_safe_lock
from .launch import inheritance

if TYPE_CHECKING:
    from .child import Child

_moving = fork_safe_lock()  # guards what all shelves hold: runs in several threads share one
_shelves: WeakSet[Shelf] = WeakSet()


class Shelf:
    """Takes the workers of a run that has ended, and gives them to the next.

    Parameters
    ----------
    room : int
        How many workers it keeps where there is no run, and for each one besides while there are several.

    Attributes
    ----------
    blocks : int
        How many ``with`` blocks, one within the other, keep it open.
    """

    def __init__(self, room: int) -> None:
        self.blocks = 0
        self._room = room
        self._runs = 0
        self._children: list[Child] = []
        self._closed = False
        _shelves.add(self)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        # A copy of its runner has no workers yet: these stay with the block that has started them.
        return type(None), ()

    def begin_run(self) -> None:
        """Note that a run begins."""
        with _moving:
            self._runs += 1

    def end_run(self, children: list[Child]) -> list[Child]:
        """Keep the workers of a run that ends; return those for which there is no room, to be ended."""
        with _moving:
            if self._closed:
                return children
            children = self._children + children
            room = self._room * max(1, self._runs)
            self._runs -= 1
            self._children = children[-room:]
            return children[:-room]

    def take(self) -> Child | None:
        """Give a worker that lives, and has what it would have if it started now; None if there is none."""
        while (child := self._pop()) is not None:
            if child.process.poll() is not None:
                child.close()
            elif child.inherited == inheritance():
                break
            else:
                end([child])
        return child

    def _pop(self) -> Child | None:
        with _moving:
            return self._children.pop() if self._children else None

    def close(self) -> None:
        """End all workers, and take none any more."""
        with _moving:
            self._closed = True
            children, self._children = self._children, []
        end(children)

    def leave_to_parent(self) -> None:
        """In a process that was forked: leave the workers to the one that has started them."""
        self._runs = 0
        while self._children:
            self._children.pop().leave_to_parent()


def _leave_all_to_parent() -> None:
    for shelf in _shelves:
        shelf.leave_to_parent()


if hasattr(os, "register_at_fork"):
    # At once: a program that becomes a daemon closes all descriptors; their numbers are soon other files'.
    os.register_at_fork(after_in_child=_leave_all_to_parent)


def end(children: list[Child]) -> None:
    """Ask all to end, then wait for each."""
    with ExitStack() as ends:  # if a signal raises in one of these steps, the others are taken all the same
        steps = [*(child.leave for child in children), *(child.close for child in children)]
        for step in reversed(steps):
            ends.callback(step)
