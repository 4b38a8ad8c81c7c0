"""Functions of one code that differ in what they have closed over: the code travels once.

A loop that makes a closure for each task makes as many functions of the same code. To serialize a function by
value takes fifty times as long as to serialize the numbers and texts in which it differs from the one before.
What they differ in beyond that goes as arguments do: it is serialized for each attempt, and does not stay in
the worker.
"""

from __future__ import annotations

import pickle
from operator import attrgetter, is_
from types import CellType, FunctionType

from ...annotations import ARE_DEFERRED, Evaluated, as_attribute
from ...serialization.pickling import ATOMS, PROTOCOL, dump_simple_arguments, is_simple

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Any

MOST_BYTES = 1 << 14  # of what a function has for itself: it travels with each of its attempts

_NAMES = ("__name__", "__qualname__", "__module__", "__doc__")  # the same for a variant and its pattern
_names = attrgetter(*_NAMES)


class Variant:
    """How a function is made of another.

    Attributes
    ----------
    pattern : FunctionType
        The other.
    data : bytes
        What is small of the values that the function has closed over and of its defaults.
    bound : tuple
        The rest of these.
    """

    __slots__ = ("bound", "data", "pattern")

    def __init__(self, pattern: FunctionType, data: bytes, bound: tuple[Any, ...] = ()) -> None:
        self.pattern = pattern
        self.data = data
        self.bound = bound


class Patterns:
    """The functions of which variants may follow."""

    def __init__(self) -> None:
        # By the ids of code and globals, which the pattern keeps valid.
        self._patterns: dict[tuple[int, int], _Pattern] = {}

    def add(self, function: object) -> None:
        """Let a function that has been serialized be a pattern, if there may be variants of it."""
        # What has a "<" in its name cannot be imported by that name: it is a lambda, or local to a function.
        if type(function) is FunctionType and "<" in function.__qualname__:
            values = _values(function)
            if values is not None:
                pattern = _Pattern(function, values)
                self._patterns[id(function.__code__), id(function.__globals__)] = pattern

    def variant(self, function: object) -> Variant | None:
        """Find out how to make a function of one before it; None if there is none, or if more differs."""
        if type(function) is not FunctionType:
            return None
        pattern = self._patterns.get((id(function.__code__), id(function.__globals__)))
        if pattern is None or not pattern.differs_in_values_alone(function):
            return None
        values, theirs = _values(function), pattern.values
        if values is None or len(values) != len(theirs) or not is_simple(function.__kwdefaults__):
            return None
        # What is a global too is one object with that in the worker, so it can be no argument.
        shared = [] if ATOMS.issuperset(map(type, values)) else _global_places(function, values)
        if not _are_same(values, theirs, shared):
            return None
        # Where the pattern has more than numbers and text, it must be what the function has there: reading it
        # might fail where the function would not need it.
        if _are_same(values, theirs, pattern.not_simple):
            data = _pack(values, function, {*pattern.not_simple, *shared}, ())
            if data is not None:
                return Variant(pattern.function, data)
        rest = [place for place in range(len(values)) if place not in shared]
        for bound in ([place for place in rest if not is_simple(values[place])], rest):
            data = _pack(values, function, shared, bound)
            if data is not None:
                made_of = pattern.function if shared else pattern.without_values
                return Variant(made_of, data, tuple([values[place] for place in bound]))
        return None


class _Pattern:
    __slots__ = ("annotated", "function", "has_attributes", "names", "not_simple", "values", "without_values")

    def __init__(self, function: FunctionType, values: tuple[Any, ...]) -> None:
        self.function = function
        self.names = _names(function)
        self.annotated = _annotated_with(function)
        self.has_attributes = _has_attributes(function)
        self.values = values
        self.not_simple = [place for place, value in enumerate(values) if not is_simple(value)]
        self.without_values = _with_values(
            function, tuple([CellType() for _ in function.__code__.co_freevars])
        )

    def differs_in_values_alone(self, function: FunctionType) -> bool:
        """Tell whether another function of the same code has the same attributes but for its values."""
        if (
            self.has_attributes
            or _has_attributes(function)
            or not all(map(is_, _names(function), self.names))
        ):
            return False
        annotated = _annotated_with(function)
        return len(annotated) == len(self.annotated) and all(map(is_, annotated, self.annotated))


def _are_same(values: tuple[Any, ...], others: tuple[Any, ...], places: Sequence[int]) -> bool:
    for place in places:  # noqa: SIM110 - all() takes twice as long, and most often there are none
        if values[place] is not others[place]:
            return False
    return True


def _global_places(function: FunctionType, values: tuple[Any, ...]) -> list[int]:
    """Tell which values of a function are globals of its module too."""
    from ...serialization.shared_globals import name_of_shared

    among = function.__globals__
    return [place for place, value in enumerate(values) if name_of_shared(among, value) is not None]


def make_variant(pattern: FunctionType, data: bytes | memoryview, bound: Sequence[Any] = ()) -> FunctionType:
    """Make a function of what :meth:`Patterns.variant` tells of it."""
    values, keyword_defaults, *places = pickle.loads(data)  # noqa: S301 - from our own parent
    if places:
        as_there, of_bound = places
        values = list(values)
        theirs = _values(pattern)
        for place in as_there:
            assert theirs is not None
            values[place] = theirs[place]
        for place, value in zip(of_bound, bound, strict=True):
            values[place] = value
    cells = tuple([CellType(value) for value in values[: len(pattern.__code__.co_freevars)]])
    function = _with_values(pattern, cells, tuple(values[len(cells) :]))
    function.__kwdefaults__ = keyword_defaults or None
    return function


def _with_values(
    pattern: FunctionType, cells: tuple[CellType, ...], defaults: tuple[Any, ...] = ()
) -> FunctionType:
    function = FunctionType(pattern.__code__, pattern.__globals__, None, defaults or None, cells)
    for name, value in as_attribute(pattern).items():
        setattr(function, name, value)
    if _names(function) != _names(pattern):
        for name in _NAMES:
            setattr(function, name, getattr(pattern, name))
    return function


def _has_attributes(function: FunctionType) -> bool:
    """Tell whether a function has more than all have: attributes, or type parameters (Python 3.12)."""
    return bool(function.__dict__ or getattr(function, "__type_params__", None))


def _annotated_with(function: Any) -> tuple[Any, ...]:
    """Return objects that are the same for functions of one code if they are annotated alike."""
    annotate = function.__annotate__ if ARE_DEFERRED else None
    if annotate is None or type(annotate) is Evaluated:
        return tuple(function.__annotations__.values())
    values = _values(annotate) if type(annotate) is FunctionType else None
    return (annotate,) if values is None else (annotate.__code__, *values)


def _values(function: FunctionType) -> tuple[Any, ...] | None:
    """Return what a function has for itself, in its cells and as defaults; None if a cell is empty."""
    try:
        values = tuple([cell.cell_contents for cell in function.__closure__ or ()])
    except ValueError:
        return None
    return values + (function.__defaults__ or ())


def _pack(
    values: tuple[Any, ...], function: FunctionType, as_there: Collection[int], bound: Collection[int]
) -> bytes | None:
    """Serialize what is small of a function's values; None if it is not."""
    keyword_defaults = function.__kwdefaults__ or {}
    if not (as_there or bound):
        data = dump_simple_arguments(values, keyword_defaults)
    elif all(is_simple(value) for place, value in enumerate(values) if place not in (*as_there, *bound)):
        small = [None if place in (*as_there, *bound) else value for place, value in enumerate(values)]
        data = pickle.dumps((small, keyword_defaults, tuple(as_there), tuple(bound)), PROTOCOL)
    else:
        data = None
    return None if data is None or len(data) > MOST_BYTES else data
