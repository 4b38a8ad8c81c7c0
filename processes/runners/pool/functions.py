"""The functions of a run on their way to the workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...pickling import dump
from . import wire
from .variants import Patterns

if TYPE_CHECKING:
    from ...pickling import Buffer
    from .child import Child


class Functions:
    """Numbers functions; each is serialized when it is first seen, and sent once to each worker."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, int]] = {}  # by id(), which the kept object keeps valid
        self._frames: dict[int, list[Buffer]] = {}
        self._patterns = Patterns()
        self._pattern_of: dict[int, int] = {}  # of those that are variants of another

    def number_of(self, function: object, task_name: str) -> int:
        """Return a function's number.

        Raises
        ------
        SerializationError
            If it cannot be serialized.
        """
        known = self._known.get(id(function))
        if known is None:
            number = len(self._known) + 1
            self._frames[number] = self._frame(function, number, task_name)
            known = self._known[id(function)] = (function, number)
        return known[1]

    def _frame(self, function: object, number: int, task_name: str) -> list[Buffer]:
        variant = self._patterns.variant(function)
        if variant is not None:
            pattern, own = variant
            self._pattern_of[number] = pattern
            return wire.frame(wire.VARIANT, number, wire.PATTERN.pack(pattern), own)
        data = dump(function, task_name=task_name, what="func").data
        self._patterns.add(function, number)
        return wire.frame(wire.FUNCTION, number, data)

    def give(self, child: Child, number: int) -> None:
        """Send a worker a function, unless it has it; of a variant the pattern first."""
        if number not in child.functions:
            if (pattern := self._pattern_of.get(number)) is not None:
                self.give(child, pattern)
            child.functions.add(number)
            child.send(self._frames[number])
