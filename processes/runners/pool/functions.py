"""The functions of a run on their way to the workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...pickling import dump
from . import wire
from .variants import Patterns

if TYPE_CHECKING:
    from ...pickling import Buffer


class SentFunction:
    """A function as workers get it.

    Attributes
    ----------
    number : int
        Names it within the run.
    frame : list of bytes-like
        Brings it to a worker.
    pattern : SentFunction or None
        What it is a variant of, if it is one; a worker needs that first.
    function : object
        The function itself, kept so that no other has its id.
    """

    __slots__ = ("frame", "function", "number", "pattern")

    def __init__(
        self, function: object, number: int, frame: list[Buffer], pattern: SentFunction | None
    ) -> None:
        self.function = function
        self.number = number
        self.frame = frame
        self.pattern = pattern


class Functions:
    """Serializes each function of a run once, when it is first seen."""

    def __init__(self) -> None:
        self._by_id: dict[int, SentFunction] = {}
        self._by_number: list[SentFunction] = []
        self._patterns = Patterns()

    def find(self, function: object, task_name: str) -> SentFunction:
        """Return a function as workers get it.

        Raises
        ------
        SerializationError
            If it cannot be serialized.
        """
        found = self._by_id.get(id(function))
        if found is None:
            found = self._by_id[id(function)] = self._serialize(function, task_name)
            self._by_number.append(found)
        return found

    def _serialize(self, function: object, task_name: str) -> SentFunction:
        number = len(self._by_number)
        variant = self._patterns.variant(function)
        if variant is None:
            data = dump(function, task_name=task_name, what="func").data
            self._patterns.add(function, number)
            return SentFunction(function, number, wire.frame(wire.FUNCTION, number, data), None)
        pattern, own = variant
        frame = wire.frame(wire.VARIANT, number, wire.PATTERN.pack(pattern), own)
        return SentFunction(function, number, frame, self._by_number[pattern])
