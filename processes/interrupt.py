"""Tells a real Ctrl-C, and what signals raise, from what a task's function raised itself."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal.getsignal takes six times as long
import os
import signal
import sys
import threading
from functools import partial
from math import inf
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, Self

from .clock import monotonic
from .failure import entries_of

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from types import CodeType, FrameType

LOOK_SECONDS = 0.2
"""How long the thread of a run may wait before Python looks for signals, and for what others raise in it.

A signal that comes just before a system call begins to wait does not end that wait, and on Windows none does.
Nor does an exception that another thread raises there, as time limits do that Prefect and dramatiq have.
"""


_SIGNALS: Final = sorted(_signal.valid_signals())


def is_for_program(error: BaseException) -> bool:
    """Tell whether an exception is none of a task's, though it was raised in code that a task has called.

    SystemExit and the like end a program, and what a signal's handler raises has struck there by chance. A
    Ctrl-C has been noted, and ends the run.
    """
    if isinstance(error, KeyboardInterrupt):
        return False
    return not isinstance(error, Exception) or is_raised_in(error, handlers_of_signals())


def is_of_signal(error: BaseException) -> bool:
    """Tell whether a signal has led to an exception: Ctrl-C, or one that the program has a handler for."""
    return isinstance(error, KeyboardInterrupt) or is_raised_in(error, handlers_of_signals())


def is_of_debugger(error: BaseException) -> bool:
    """Tell whether somebody has quit pdb in a task's function, which is to end the program."""
    bdb = sys.modules.get("bdb")
    return bdb is not None and is_raised_in(error, (bdb.Bdb.trace_dispatch.__code__,))


def handlers_of_signals() -> frozenset[CodeType]:
    """Return the code of the program's handlers of signals, as they are installed now.

    What they raise is for the program, whatever it strikes; but not what Ctrl-C raises in a run.
    """
    handlers = [handler for number in _SIGNALS if callable(handler := _signal.getsignal(number))]
    return frozenset(code for handler in handlers if (code := _code_of(handler)) is not None)


def _code_of(handler: Any) -> CodeType | None:
    while isinstance(handler, partial):
        handler = handler.func
    code: CodeType | None = getattr(handler, "__code__", getattr(handler.__call__, "__code__", None))
    return None if code is Interrupt.handle.__code__ else code


def is_raised_in(error: BaseException, codes: Container[CodeType]) -> bool:
    """Tell whether an exception has passed through one of some functions."""
    return any(entry.tb_frame.f_code in codes for entry in entries_of(error))


class Interrupt:
    """Notes a SIGINT for as long as a run lasts, and what else Python's own handler of that is to handle.

    That handler raises KeyboardInterrupt wherever the main thread stands. During a run this one
    does so only inside a user's code, which may take long, and the second time in observers too; anywhere
    else it makes a note and wakes the run, which ends at its next step, in good order. It takes the place of
    Python's handler alone, also where a program has put that there for SIGTERM, say: a handler that the user
    installed is left as it is. Outside the main thread nothing is done.

    Parameters
    ----------
    end_run : callable
        Ends the run at its next step; called from the signal handler.
    inside : container of CodeType
        The code whose callees are the user's.
    telling : CodeType
        The code whose callees are observers.
    outside : CodeType
        The code of the run itself.

    Attributes
    ----------
    happened : bool
        True once a SIGINT came.
    happened_at : float
        When the first one came, on the monotonic clock.
    """

    def __init__(
        self, end_run: Callable[[], object], inside: Container[CodeType], telling: CodeType, outside: CodeType
    ) -> None:
        self.happened = False
        self.happened_at = inf
        self._end_run = end_run
        self._inside = inside
        self._telling = telling
        self._outside = outside
        self._outer: Interrupt | None = None  # of the run whose task started this one
        self._previous: dict[int, Any] = {}  # the handlers whose place it has taken, by signal

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._pid = os.getpid()
            handlers = [(number, _signal.getsignal(number)) for number in _SIGNALS]
            for number, handler in handlers:
                if (outer := _interrupt_of(handler)) is not None:
                    self._outer = outer
                elif handler is not signal.default_int_handler:
                    continue
                self._previous[number] = handler
                _signal.signal(number, self.handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, previous in self._previous.items():
            # Where the user's function has put a handler in our place, that one stays.
            if _signal.getsignal(number) == self.handle:
                _signal.signal(number, previous)
        self._pid = 0
        del self._end_run  # it holds the run, which holds this

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a SIGINT, or another signal that is to do the same."""
        if os.getpid() != self._pid:  # forked during the run, which is none of its own; or the run is over
            self._previous.get(number, signal.default_int_handler)(number, frame)
            return
        again = self.happened
        self.note()
        while frame is not None and frame.f_code is not self._outside:
            if frame.f_code in self._inside or (again and frame.f_code is self._telling):
                raise KeyboardInterrupt
            frame = frame.f_back

    def note(self) -> None:
        """Remember a SIGINT, for the runs around this one too."""
        if not self.happened:
            self.happened, self.happened_at = True, monotonic()
        self._end_run()
        if self._outer is not None:
            self._outer.note()


def _interrupt_of(handler: object) -> Interrupt | None:
    """Return what a handler of a signal belongs to, if it is that of a run."""
    if type(handler) is MethodType and isinstance(handler.__self__, Interrupt):
        return handler.__self__
    return None
