"""Functions of one code that differ in what they have closed over: the code travels once.

A loop that makes a closure for each task makes as many functions of the same code. To serialize a function by
value takes fifty times as long as to serialize the numbers and texts in which it differs from the one before.
"""

from __future__ import annotations

import pickle
from operator import attrgetter, is_
from types import CellType, FunctionType

from ...pickling import dump_simple_arguments

TYPE_CHECKING = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from .functions import SentFunction

MOST_BYTES = 1 << 14  # of what a function has for itself: it travels with each of its attempts

_NAMES = ("__name__", "__qualname__", "__module__", "__doc__")  # the same for a variant and its pattern
_names = attrgetter(*_NAMES)


class Patterns:
    """The functions of which variants may follow."""

    def __init__(self) -> None:
        # By the ids of code and globals, which the kept function keeps valid.
        self._patterns: dict[tuple[int, int], tuple[FunctionType, SentFunction]] = {}

    def variant(self, function: object) -> tuple[SentFunction, bytes] | None:
        """Find the pattern of a function, and in what the function differs from it.

        Returns
        -------
        tuple of SentFunction and bytes, or None
            The pattern, and what makes the function of it; None where there is no pattern, or where the
            function differs in more.
        """
        if type(function) is not FunctionType:
            return None
        found = self._patterns.get((id(function.__code__), id(function.__globals__)))
        if found is None:
            return None
        pattern, sent = found
        data = _own_values(function) if _differ_in_values_alone(function, pattern) else None
        return None if data is None else (sent, data)

    def add(self, function: object, sent: SentFunction) -> None:
        """Let a function that has been serialized be a pattern, if there may be variants of it."""
        # What has a "<" in its name cannot be imported by that name: it is a lambda, or local to a function.
        if (
            type(function) is FunctionType
            and "<" in function.__qualname__
            and _own_values(function) is not None  # or loading it might fail where none of its variants would
        ):
            self._patterns[id(function.__code__), id(function.__globals__)] = (function, sent)


def make_variant(pattern: FunctionType, data: bytes | memoryview) -> FunctionType:
    """Make a function of its pattern and what :meth:`Patterns.variant` tells of it."""
    values, keyword_defaults = pickle.loads(data)  # noqa: S301 - from our own parent
    code = pattern.__code__
    cells = tuple(map(CellType, values[: len(code.co_freevars)]))
    defaults = values[len(cells) :] or None
    function = FunctionType(code, pattern.__globals__, pattern.__name__, defaults, cells)
    function.__kwdefaults__ = keyword_defaults or None
    if pattern.__annotations__:
        function.__annotations__ = dict(pattern.__annotations__)
    if _names(function) != _names(pattern):
        for name in _NAMES:
            setattr(function, name, getattr(pattern, name))
    return function


def _differ_in_values_alone(function: FunctionType, pattern: FunctionType) -> bool:
    annotations, of_pattern = function.__annotations__, pattern.__annotations__
    return (
        not (function.__dict__ or pattern.__dict__)
        and not getattr(function, "__type_params__", None)  # from Python 3.12 on
        and all(map(is_, _names(function), _names(pattern)))  # of the same code they are the same objects
        and len(annotations) == len(of_pattern)
        and (not annotations or all(map(is_, annotations.values(), of_pattern.values())))
    )


def _own_values(function: FunctionType) -> bytes | None:
    """Serialize what a function has for itself, cells and defaults; None unless all is numbers and text."""
    try:
        values = [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:
        return None  # a cell is empty
    data = dump_simple_arguments((*values, *(function.__defaults__ or ())), function.__kwdefaults__ or {})
    return None if data is None or len(data) > MOST_BYTES else data
