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
    function : object
        The function itself, kept so that no other has its id.
    frame : list of bytes-like
        Brings it to a worker; empty for a variant.
    pattern : SentFunction or None
        What it is a variant of, if it is one; a worker needs that first.
    own : bytes
        What makes a variant of its pattern, for the frame of each attempt; else empty.
    """

    __slots__ = ("frame", "function", "number", "own", "pattern")

    def __init__(
        self,
        number: int,
        function: object,
        frame: list[Buffer],
        pattern: SentFunction | None = None,
        own: bytes = b"",
    ) -> None:
        self.number = number
        self.function = function
        self.frame = frame
        self.pattern = pattern
        self.own = own


class Functions:
    """Serializes each function of a run once, when it is first seen."""

    def __init__(self) -> None:
        self._by_id: dict[int, SentFunction] = {}
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
        return found

    def _serialize(self, function: object, task_name: str) -> SentFunction:
        number = len(self._by_id)
        if (variant := self._patterns.variant(function)) is not None:
            pattern, values = variant
            own = wire.VARIANT_HEAD.pack(pattern.number, len(values)) + values
            return SentFunction(number, function, [], pattern, own)
        data = dump(function, task_name=task_name, what="func").data
        sent = SentFunction(number, function, wire.frame(wire.FUNCTION, number, data))
        self._patterns.add(function, sent)
        return sent
