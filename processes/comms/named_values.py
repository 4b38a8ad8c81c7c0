"""What a report holds, by name: the arguments of tasks, and what is in values.

It runs no code of the user's, but for what an object that is partly called says of its parameters.
"""

from __future__ import annotations

import sys
from collections import deque
from contextlib import suppress
from itertools import chain, islice, repeat
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import TYPE_CHECKING

from ..failure import chain_of, entries_of, local_variables
from ..graph import bind
from ..parameters import bound_values, named_arguments
from ..reprs import DICTS
from ..serialization.shared_globals import names_in

if sys.version_info >= (3, 14):
    from string.templatelib import Interpolation, Template
else:
    Interpolation: Any = None
    Template: Any = None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, TypeGuard

    from ..execution_report import ProcessExecutionReport, TaskReportEntry

MAX_MEMBERS = 10_000  # looked at in one container, and of a group of exceptions

_PLAIN = (str, bytes, *DICTS, list, tuple, set, frozenset)


def arguments_of(entry: TaskReportEntry, names: Sequence[str]) -> Iterator[tuple[str, object]]:
    """Give a task's arguments by the names of its parameters; if it has failed, results passed to it too."""
    if entry.error is not None:
        yield from named_arguments(names, entry.error.args)
        yield from entry.error.kwargs.items()
    yield from named_arguments(names, entry.args)
    yield from entry.kwargs.items()


def results_passed(
    report: ProcessExecutionReport, entry: TaskReportEntry, names: Sequence[str]
) -> Iterator[tuple[str, object]]:
    """Give the results of other tasks that a task was passed, by the names of its parameters."""
    if entry.name in report.passed:
        sources = [report.entries.get(name) for name in report.dependencies[entry.name]]
        needed = [None if source is None else source.result for source in sources]
        args, kwargs = bind(entry.args, {}, report.passed[entry.name], needed)
        yield from list(named_arguments(names, args))[len(entry.args) :]
        yield from kwargs.items()


def variables_of(exception: BaseException) -> Iterator[tuple[str, object]]:
    """Give texts and dicts among what a failure holds: variables of all its frames, attributes of exceptions.

    What a task has read from its environment, a library that it calls may tell in its error. Other objects
    of a secret's name are often none: parsers call ``token`` what they read.
    """
    for one in islice(chain_of(exception), MAX_MEMBERS):
        frames = (local_variables(entry.tb_frame).items() for entry in entries_of(one))
        for name, value in chain(_attributes(one), *frames):
            kind = type(value)
            if issubclass(kind, (str, bytes)):
                yield name, value
            elif kind in DICTS:
                yield "", value


def members_of(value: Any) -> list[tuple[str, object]]:
    """Return what is in a container or an object, or what a function is bound to, by name."""
    kind = type(value)
    for mapping in DICTS:
        if issubclass(kind, mapping):
            members = ((key_of(key), member) for key, member in _first(mapping.items, value))
            return [*_said_beside(mapping, value), *members]
    if kind is Template:
        return [(part.expression, part.value) for part in value.interpolations]
    if kind is Interpolation:
        return [(value.expression, value.value)]
    if is_pair(value):
        return [(key_of(value[0]), value[1])]
    for container in (list, tuple, set, frozenset, deque):
        if issubclass(kind, container):
            fields = vars(kind).get("_fields")  # of a named tuple
            names = fields if isinstance(fields, tuple) else repeat("")
            return list(zip(names, _first(container.__iter__, value), strict=False))
    if issubclass(kind, (type, ModuleType)):
        return []
    return [*bound_values(value), *_attributes(value)]


def _said_beside(mapping: type[dict[Any, Any]], value: Any) -> Iterator[tuple[str, object]]:
    """Give what ``{"name": "token", "value": …}`` says, as lists of variables, cookies and parameters do."""
    for key in ("name", "Name", "key", "Key"):
        if _is_text(name := mapping.get(value, key)):
            yield from ((key_of(name), mapping.get(value, other)) for other in ("value", "Value"))


def globals_of(function: Any) -> Iterator[tuple[str, object]]:
    """Give the globals that a function names, and the functions beside it, which name others.

    An object of a secret's name is none itself: what is in it has names of its own.
    """
    among = function.__globals__
    for name in names_in(function.__code__):
        value: Any = dict.get(among, name)
        kind = type(value)
        if kind is not FunctionType:
            yield name if kind in _PLAIN else "", value
        elif value.__globals__ is among:
            yield "", value


def _attributes(value: object) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for owner in type(value).__mro__:
        among = vars(owner)
        # Not what a class of the user's has put there: a proxy may stand for something that is not there.
        place: Any = among.get("__dict__")
        if type(place) in (GetSetDescriptorType, MemberDescriptorType):
            with suppress(AttributeError, TypeError):  # it has none, or a strange one
                found += _first(dict.items, place.__get__(value))
        if "__slots__" in among:
            for name, slot in among.items():
                if type(slot) is MemberDescriptorType:
                    with suppress(AttributeError):  # a slot that is empty
                        found.append((name, slot.__get__(value)))
    return found


def _first(members: Callable[[Any], Iterable[Any]], container: Any) -> list[Any]:
    """Take what is looked at of a container's members; at once, as another thread may change it meanwhile."""
    try:
        return list(islice(members(container), MAX_MEMBERS))
    except RuntimeError:  # without the GIL that is not at once, and to take all of them is
        return list(members(container))[:MAX_MEMBERS]


def _is_text(value: object) -> TypeGuard[str | bytes]:
    # Not by `isinstance`, which asks the value for its class: a weak proxy whose object is gone raises.
    return issubclass(type(value), (str, bytes))


def is_pair(value: object) -> bool:
    """Tell whether a value is a name with what it names."""
    return type(value) is tuple and len(value) == 2 and _is_text(value[0])


def key_of(key: object) -> str:
    """Return the key of a mapping as a name; empty if it is no text."""
    if not _is_text(key):
        return ""
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else key
