"""Exceptions as bytes, with all that they hold, whatever their classes do.

Pickle asks an exception's class how to copy it, loses causes, contexts, tracebacks and half of what builtin
exceptions hold, and fails as a whole where one attribute cannot be serialized. Here no code of the class is
run: an exception is made by its builtin base's ``__new__``, and its contents are put back one by one.

An exception and all that hangs on it (cause, context, members, exceptions among its arguments and
attributes) become a flat table of rows that name each other by number: chains may be long, and rings are
no trouble. A content of a row is

- itself, where it is a number, a text, or None;
- ``(row,)``, where it is an exception of the table;
- ``(data, type)``, its own pickle and its type's name.

What cannot be pickled, or not be read back, is replaced by its repr. A class that cannot be made elsewhere
is replaced by one of the same name, made on the spot: see :class:`processes.exceptions.StandInError`.
"""

from __future__ import annotations

import builtins
import pickle
import sys
import threading
from contextlib import suppress
from types import GetSetDescriptorType, MemberDescriptorType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from .exceptions import StandInError
from .failure import bounded_repr, bounded_reprs, exception_text, local_variables, traceback_of
from .pickling import ATOMS, PROTOCOL, Pickled, dump_value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

FRAMES_WITH_VARIABLES: Final = 20  # the innermost: who debugs a failure seldom looks further up
VARIABLE_CHARACTERS: Final = 500  # of each of their variables

_SLOTS: Final = vars(BaseException)  # asked directly, a subclass's properties of these names do not run
_STATIC: Final = (BaseException, BaseExceptionGroup, object)  # what these hold is written by name


class VariableText(str):
    """The repr of a variable whose frame was left behind; a debugger shows it without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class _Tables(threading.local):
    """The tables that are being written or read in this thread, outermost first.

    A value inside an exception may lead back to it. Such a place is written as the number of the table and
    of the row, and these are the same when it is read.
    """

    def __init__(self) -> None:
        self.open: list[list[Any]] = []
        self.places: dict[int, tuple[int, int]] = {}  # of exceptions that are being written, by id


_tables = _Tables()


# ---- Writing ---------------------------------------------------------------------------------------------


def dump_exception(exception: BaseException, *, to_sender: bool = False) -> Pickled:
    """Serialize an exception.

    Whatever runs the user's code when it is read was read back here once.

    Parameters
    ----------
    exception : BaseException
        Anything that was raised.
    to_sender : bool, default False
        As for :func:`processes.pickling.dump`.

    Returns
    -------
    Pickled
    """
    place = _tables.places.get(id(exception))
    if place is not None:
        return Pickled(pickle.dumps(place, PROTOCOL), True, False)
    writer = _Writer(exception, to_sender)
    return Pickled(pickle.dumps(writer.write(), PROTOCOL), True, writer.home_only)


class _Writer:
    def __init__(self, exception: BaseException, to_sender: bool) -> None:
        self.home_only = False
        self._to_sender = to_sender
        self._table = [exception]
        self._row_of = {id(exception): 0}
        for one in self._table:  # which grows meanwhile
            for other in _linked(one):
                if id(other) not in self._row_of:
                    self._row_of[id(other)] = len(self._table)
                    self._table.append(other)

    def write(self) -> list[dict[str, Any]]:
        """Return the table's rows."""
        places = {key: (len(_tables.open), row) for key, row in self._row_of.items()}
        _tables.open.append(self._table)
        _tables.places.update(places)
        try:
            variables = _variables_of_frames(self._table)
            return [self._row(one, variables) for one in self._table]
        finally:
            _tables.open.pop()
            for key in places:
                del _tables.places[key]

    def _row(self, exception: BaseException, variables: dict[int, dict[str, str]]) -> dict[str, Any]:
        attributes = dict(_attributes(exception))
        notes = attributes.pop("__notes__", None)
        row = {
            "class": self._class(type(exception)),
            "stand_in": _stand_in_of(exception),
            "args": [self._content(argument) for argument in _arguments(exception)],
            "attributes": {name: self._content(value) for name, value in attributes.items()},
            "fields": {name: self._content(value) for name, value in _fields(exception)},
            "cause": self._row_of.get(id(_SLOTS["__cause__"].__get__(exception))),
            "context": self._row_of.get(id(_SLOTS["__context__"].__get__(exception))),
            "suppress_context": _SLOTS["__suppress_context__"].__get__(exception),
            "frames": _frames(exception, variables),
        }
        if isinstance(notes, list):
            row["notes"] = [self._content(note) for note in notes]
        elif notes is not None:
            row["notes"] = self._content(notes)
        if isinstance(exception, BaseExceptionGroup):
            row["message"] = _group_message(exception)
            row["members"] = [self._row_of[id(member)] for member in _members(exception)]
        return row

    def _class(self, cls: type[BaseException]) -> bytes:
        """Return a class's pickle, empty where there is none to be had."""
        try:
            if cls.__module__ != "__main__" and not _registered_by_value():
                with suppress(pickle.PicklingError, AttributeError):  # then it is no importable class
                    return pickle.dumps(cls, PROTOCOL)
            pickled = dump_value(cls, self._to_sender)
            pickle.loads(pickled.data)  # noqa: S301 - our own
        except KeyboardInterrupt:
            raise
        except BaseException:
            return b""
        self.home_only |= pickled.home_only
        return pickled.data

    def _content(self, value: Any) -> Any:
        kind = type(value)
        if kind in ATOMS:
            return value
        if id(value) in self._row_of:
            return (self._row_of[id(value)],)
        try:
            pickled = dump_value(value, self._to_sender)
            if not pickled.plain:
                pickle.loads(pickled.data)  # noqa: S301 - our own
        except KeyboardInterrupt:
            raise
        except BaseException:
            return bounded_repr(value)
        self.home_only |= pickled.home_only
        return pickled.data, kind.__name__


def _linked(exception: BaseException) -> Iterator[BaseException]:
    """Give the exceptions that an exception leads to directly."""
    contents = [_SLOTS["__cause__"].__get__(exception), _SLOTS["__context__"].__get__(exception)]
    contents += _arguments(exception)
    contents += _attributes(exception).values()
    contents += (value for _, value in _fields(exception))
    if isinstance(exception, BaseExceptionGroup):
        contents += _members(exception)
    return (content for content in contents if issubclass(type(content), BaseException))


def _arguments(exception: BaseException) -> tuple[Any, ...]:
    """Return an exception's ``args``; of a group without its members, which are written by themselves."""
    arguments: tuple[Any, ...] = _SLOTS["args"].__get__(exception)
    if isinstance(exception, BaseExceptionGroup) and _holds_members(arguments, exception):
        return ()
    return arguments


def _holds_members(arguments: tuple[Any, ...], group: BaseExceptionGroup[BaseException]) -> bool:
    return len(arguments) == 2 and type(arguments[1]) in (list, tuple) and tuple(arguments[1]) == _members(group)
