"""Exceptions as bytes, with all that they hold, whatever their classes do.

Pickle asks the exception's class how to copy it, loses causes, contexts, tracebacks and groups' members'
tracebacks, and fails as a whole where one attribute cannot be serialized. Here no code of the class is run:
an exception is made with its builtin base's ``__new__``, and its contents are put back one by one.

An exception and all that hang on it (cause, context, members, other exceptions among its arguments and
attributes) become a flat table, a row each, that names others by their row: chains may be long, and rings
are no trouble. A content is, in a row,

- itself, where it is a number, a text, None;
- ``(row,)``, where it is an exception of the table;
- ``(data, type)``, a pickle of its own and its type's name. What cannot be pickled, or not be read back, is
  replaced by its repr.
"""

from __future__ import annotations

import builtins
import pickle
import sys
import threading
from contextlib import suppress
from itertools import islice
from types import GetSetDescriptorType, MemberDescriptorType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from .exceptions import StandInError
from .failure import bounded_repr, bounded_reprs, exception_text, local_variables, traceback_of
from .pickling import ATOMS, PROTOCOL, Pickled, dump_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

FRAMES_WITH_VARIABLES: Final = 20  # the innermost; who looks at more with a debugger, seldom does
VARIABLE_CHARACTERS: Final = 500  # of each of their variables

_BASE_SLOTS: Final = vars(BaseException)


class _Tables(threading.local):
    """The tables being written or read in this thread, outermost first.

    An attribute may lead back to the exception that holds it. Such a place is written as the number of
    the table and the row, which are the same when it is read.
    """

    def __init__(self) -> None:
        self.open: list[list[BaseException]] = []


_tables = _Tables()


class VariableText(str):
    """The repr of a variable of a frame that was left behind; a debugger prints it without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


# ---- Writing ---------------------------------------------------------------------------------------------


def dump_exception(exception: BaseException, *, to_sender: bool = False) -> Pickled:
    """Serialize an exception.

    What is returned was read back already (all but the tracebacks), and is plain therefore.

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
    place = _place_of(exception)
    if place is not None:
        return Pickled(pickle.dumps(place, PROTOCOL), True, False)
    writer = _Writer(exception, to_sender)
    return Pickled(pickle.dumps(writer.rows(), PROTOCOL), True, writer.home_only)


def _place_of(exception: BaseException) -> tuple[int, int] | None:
    """Return the table that is being written and has this exception, and its row."""
    for number, table in enumerate(_tables.open):
        for row, other in enumerate(table):
            if other is exception:
                return number, row
    return None
